"""The defense of a recorded run, even if its code is no longer available."""

from collections.abc import Mapping
from typing import Any, NoReturn

from experiments.analysis.collection import Collection
from experiments.catalog import RUNS
from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.defenses import Defense, StepCurve, make_defense
from fedmeta_flwr.defenses.step_curves import curves_of, head_curves
from fedmeta_flwr.records import step_curves_of

_ABSENT = "none"  # of a run of the catalog that names no defense


class UnavailableDefense(Defense):
    """A custom defense whose code is not available; only its name is known."""

    def __init__(self, name: str) -> None:
        self.label = name

    def adapt(self, network: Any, context: Any) -> NoReturn:
        """Raise `RegistryError`."""
        raise RegistryError(f"defense: expected the code of {self.label!r}, found none")


def defense_of(config: Mapping[str, Any]) -> Defense:
    """Return the defense of recorded settings, or an `UnavailableDefense` if it cannot be made."""
    name = config.get("defense", _ABSENT)
    try:
        return make_defense(name, config.get("defense-options", ""))
    except RegistryError:
        return UnavailableDefense(name)


def defense_of_run(collection: Collection, run: str) -> Defense:
    """Return the defense of a run of the catalog: the recorded one, or else that of the catalog."""
    recorded = collection.config(run) if run in collection.runs else {}
    return defense_of({**RUNS[run].settings, **recorded})


def curves_of_run(collection: Collection, run: str) -> dict[str, StepCurve]:
    """Return the step curves that a run may have, by their names in results.

    These are the curves of a model with its head, those of the run's defense, and any others that were measured.
    """
    known = {**head_curves(), **curves_of(defense_of_run(collection, run))}
    curves = {along.curve.key: along.curve for along in known.values() if along.curve is not None}
    records = (record for results in collection.runs.get(run, {}).values() for record in results.evaluated())
    measured = {name for record in records for name in step_curves_of(record.evaluation or [])}
    others = sorted(measured - set(curves))
    return curves | {name: StepCurve(name, name.replace("_", " "), f"steps of {name}") for name in others}
