"""The records of one client in one round: its update or its evaluation, and their form in a result file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TRAIN_LOSS = "train-loss"
"""Metric of an update: the mean query loss of its local training."""


@dataclass(frozen=True)
class Counts:
    """Hits and trials of one curve, one entry per episode.

    Attributes
    ----------
    hits : list of int
        Number of queries that are a hit, from 0 to the number of trials.
    trials : list of int
        Number of queries.
    """

    hits: list[int]
    trials: list[int]


CurveCounts = Mapping[str, Counts]
"""By curve, such as those of `fedmeta_flwr.records.results.CURVES`."""


@dataclass(frozen=True)
class Arrival:
    """One update that was aggregated.

    Attributes
    ----------
    partition_id : int
        The client.
    sent_in_round : int
        Round of its instruction; an earlier one for a late update.
    latency_seconds : float
        Time from the beginning of the round to its arrival, simulated or by the wall clock.
    update_norm : float
        Euclidean norm, over all arrays, of the difference from the global arrays that it started from.
    metrics : Mapping
        The metrics that the client reported: names to numbers or lists of numbers.
    """

    partition_id: int
    sent_in_round: int
    latency_seconds: float
    update_norm: float
    metrics: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a result file."""
        return {**vars(self), "metrics": dict(self.metrics)}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Arrival":
        """Undo `to_json`; raises `TypeError` for anything else."""
        return cls(**entry)


@dataclass(frozen=True)
class ClientEvaluation:
    """The counts of one client.

    Attributes
    ----------
    partition_id : int
        The client.
    counts : Mapping of str to Counts
        Counts by curve.
    step_curves : Mapping of str to Mapping of int to Mapping of str to Counts
        Counts along local steps, if these were measured: by step curve, then by step, then by curve.
    """

    partition_id: int
    counts: CurveCounts
    step_curves: Mapping[str, Mapping[int, CurveCounts]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a result file, in which steps are texts."""
        entry: dict[str, Any] = {"partition_id": self.partition_id, "counts": _plain(self.counts)}
        if self.step_curves:
            entry["step_curves"] = {
                name: {str(step): _plain(counts) for step, counts in steps.items()}
                for name, steps in self.step_curves.items()
            }
        return entry

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "ClientEvaluation":
        """Undo `to_json`; raises `KeyError`, `TypeError` or `ValueError` for anything else."""
        step_curves = {
            name: {int(step): _counts(counts) for step, counts in steps.items()}
            for name, steps in entry.get("step_curves", {}).items()
        }
        return cls(entry["partition_id"], _counts(entry["counts"]), step_curves)


def _plain(counts: CurveCounts) -> dict[str, dict[str, list[int]]]:
    return {curve: {"hits": one.hits, "trials": one.trials} for curve, one in counts.items()}


def _counts(entry: Mapping[str, Mapping[str, list[int]]]) -> dict[str, Counts]:
    return {curve: Counts(**one) for curve, one in entry.items()}
