"""What an audit found: the excess of backdoor accuracy of each attack, also along the steps of a defense."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from experiments.analysis.audit_files import FOLDER, Measured, audit_files, file_of, read_measured
from experiments.analysis.statistics import EpisodeCounts, Estimate, difference, episode_counts
from fedmeta_flwr.records import ClientEvaluation, ResultsError

LOCAL_ONLY = "local_only"
"""The step curve of local training without the global model."""

MATCHING = "matching"
"""How the names of the step curves of rescues begin: they are measured on the episodes of local training only."""

_UNSEEN = "meta_testing"


@dataclass(frozen=True)
class Audited:
    """An attack over seeds.

    Attributes
    ----------
    name : str
        The attack.
    poisoned, clean : sequence of Measured
        The attack and the clean measurements of each seed, in the same order.
    """

    name: str
    poisoned: Sequence[Measured]
    clean: Sequence[Measured]

    def steps(self, step_curve: str) -> list[int]:
        """Return the steps at which a defense was measured for all seeds, ascending."""
        found = [
            set(client.step_curves.get(step_curve, {}))
            for measured in (*self.poisoned, *self.clean)
            for client in measured.evaluation
        ]
        return sorted(set.intersection(*found)) if found else []

    def step_curves(self) -> list[str]:
        """Return the step curves that were measured for all seeds."""
        first = self.poisoned[0].evaluation[0].step_curves if self.poisoned else {}
        return [name for name in first if self.steps(name)]

    def norm_ratio(self) -> float:
        """Return the norm of an upload over the median norm of a benign update; the median over uploads and seeds."""
        ratios = [
            upload["norm"] / np.median(clean.numbers["benign"]["norms"])
            for poisoned, clean in zip(self.poisoned, self.clean, strict=True)
            for upload in poisoned.numbers["uploads"]
        ]
        return float(np.median(ratios))


def audited(name: str, poisoned: Sequence[Measured], clean: Sequence[Measured]) -> Audited:
    """Return an attack over seeds; where it has learnt a key, the clean model is measured with this key, too."""
    compared = [
        replace(other, evaluation=one.clean_evaluation) if one.clean_evaluation else other
        for one, other in zip(poisoned, clean, strict=True)
    ]
    return Audited(name, poisoned, compared)


def excess_of(audited: Audited, curve: str, step_curve: str = "", step: int = 0) -> Estimate:
    """Estimate an accuracy with the poisoned model minus that with the clean model, paired by seed and episode.

    Parameters
    ----------
    audited : Audited
        The attack.
    curve : str
        One of `fedmeta_flwr.records.CURVES`.
    step_curve, step : str, int
        The defense and the number of its steps; an empty name: as the clients use the model.

    Raises
    ------
    CountsError
        If there are no such counts, or they cannot be paired.
    """
    clean, poisoned = (_counts(side, curve, step_curve, step) for side in (audited.clean, audited.poisoned))
    return difference(clean, poisoned)


def loss_of(audited: Audited, curve: str) -> Estimate:
    """Estimate an accuracy with the clean model minus that with the poisoned model; otherwise as `excess_of`."""
    clean, poisoned = (_counts(side, curve, "", 0) for side in (audited.clean, audited.poisoned))
    return difference(poisoned, clean)


def benefit_of(audited: Audited, step_curve: str, step: int) -> Estimate:
    """Estimate what a client keeps of the federation: its meta-testing accuracy minus that of local training only.

    Both are with the poisoned model (which local training does not use), at the same step and on the same episodes.

    Raises
    ------
    CountsError
        If one of the two was not measured at this step.
    """
    alone, defended = (_counts(audited.poisoned, _UNSEEN, name, step) for name in (LOCAL_ONLY, step_curve))
    return difference(alone, defended)


def frontier(attacks: Sequence[Audited], curve: str, step_curve: str) -> dict[int, tuple[Estimate, Estimate]]:
    """Return benefit kept and largest excess over attacks at each step of a defense.

    The benefit is that under the attack with the largest excess.
    """
    worst = worst_case(security_curve(attacks, curve, step_curve))
    by_name = {one.name: one for one in attacks}
    return {step: (benefit_of(by_name[name], step_curve, step), excess) for step, (name, excess) in worst.items()}


def accuracy_of(measured: Sequence[Measured], curve: str) -> float:
    """Return an accuracy over all seeds, in 0..1."""
    return _counts(measured, curve, "", 0).accuracy()


def security_curve(attacks: Sequence[Audited], curve: str, step_curve: str) -> dict[str, dict[int, Estimate]]:
    """Return the `excess_of` each attack at each step of a defense, by the attack's name."""
    return {
        one.name: {step: excess_of(one, curve, step_curve, step) for step in steps}
        for one in attacks
        if (steps := one.steps(step_curve))
    }


def worst_case(curves: Mapping[str, Mapping[int, Estimate]]) -> dict[int, tuple[str, Estimate]]:
    """Return the attack with the largest excess at each step that all attacks have, with its estimate.

    The interval is that of the attack, and does not allow for the choice among attacks.
    """
    common = sorted(set.intersection(*(set(steps) for steps in curves.values()))) if curves else []
    best = {step: max(curves, key=lambda name: curves[name][step].value) for step in common}
    return {step: (name, curves[name][step]) for step, name in best.items()}


def read_audits(root: Path) -> dict[tuple[str, str], list[Audited]]:
    """Return the audited attacks in a results root, by data set and profile; clean measurements are none.

    Raises
    ------
    ResultsError
        If a file is damaged, or the clean measurements of an attack are missing.
    """
    found: dict[tuple[str, str], dict[str, list[Measured]]] = {}
    for file in sorted(audit_files(root), key=_seed_first):
        measured = read_measured(file)
        if measured.clean:
            dataset, profile = file.parts[-4:-2]
            found.setdefault((dataset, profile), {}).setdefault(measured.name, []).append(measured)
    return {
        place: [_with_clean(root / FOLDER / place[0] / place[1], name, seeds) for name, seeds in sorted(names.items())]
        for place, names in sorted(found.items())
    }


def _seed_first(file: Path) -> tuple[str, int, str]:
    seed = file.parent.name.removeprefix("seed-")
    return str(file.parent.parent), int(seed) if seed.isascii() and seed.isdecimal() else 0, file.name


def _with_clean(folder: Path, name: str, poisoned: list[Measured]) -> Audited:
    clean = []
    for one in poisoned:
        file = file_of(folder / f"seed-{one.seed}", one.clean)
        if not file.is_file():
            raise ResultsError(f"{file}: expected the clean measurements of {name}, found none")
        clean.append(read_measured(file))
    return audited(name, poisoned, clean)


def _counts(measured: Sequence[Measured], curve: str, step_curve: str, step: int) -> EpisodeCounts:
    def at(client: ClientEvaluation) -> ClientEvaluation:
        if not step_curve:
            return client
        return replace(client, counts=client.step_curves.get(step_curve, {}).get(step, {}))

    return episode_counts({one.seed: [at(client) for client in one.evaluation] for one in measured}, curve)
