"""The defense of a recorded run. No code that a result file names is run: only built-in defenses are made."""

from collections.abc import Mapping
from typing import Any

from experiments.analysis.collection import Collection
from experiments.catalog import RUNS
from fedmeta_flwr.config.registry import RegistryError, names
from fedmeta_flwr.defenses import Defense, StepCurve, make_defense
from fedmeta_flwr.defenses.recorded import RecordedDefense
from fedmeta_flwr.defenses.step_curves import curves_of, head_curves
from fedmeta_flwr.records import ResultsError, step_curves_of

_ABSENT = "none"  # of a run of the catalog that names no defense


def defense_of(record: Mapping[str, Any]) -> Defense:
    """Return the defense of a run.

    Parameters
    ----------
    record : mapping
        The first record of the result file: ``config``, and ``defense`` if the defense is custom.

    Returns
    -------
    Defense
        A built-in defense; or a `RecordedDefense`, whose label is its name if the record does not describe it.

    Raises
    ------
    ResultsError
        If the record describes the defense in another form.
    """
    settings = record["config"]
    name = settings.get("defense", _ABSENT)
    try:
        if name in names("defense"):
            return make_defense(name, settings.get("defense-options", ""))
        if "defense" in record:
            return RecordedDefense.from_json(record["defense"])
    except RegistryError:
        pass  # options of another version
    except ValueError as error:
        raise ResultsError(f"first record of a result file: {error}") from error
    return RecordedDefense(str(name))


def defense_of_run(collection: Collection, run: str) -> Defense:
    """Return the defense of a run of the catalog: the recorded one, or else that of the catalog."""
    recorded = next(iter(collection.runs[run].values())).run if run in collection.runs else {}
    return defense_of({**recorded, "config": {**RUNS[run].settings, **recorded.get("config", {})}})


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
