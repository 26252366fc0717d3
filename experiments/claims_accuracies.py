"""The accuracies that the claims are about, at the moments that they speak of, each with its interval."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import get_args

from experiments.claims_inputs import AtStep, InRound, Source, read_inputs
from experiments.collection import Collection, When
from fedmeta_flwr.results import CURVES
from fedmeta_flwr.statistics import Estimate, accuracy

_NAMES: Mapping[str, str] = {
    "before": "before the attack",
    "attack": "right after",
    "first": "at the start",
    "last": "at the end",
}
_ALONG_STEPS = (
    AtStep("", "attack", "fine_tuning", "ordinary", ""),
    AtStep("", "attack", "fine_tuning", "all", ""),
    AtStep("", "attack", "matching", "none", ""),
    AtStep("", "attack", "matching", "few", ""),
    AtStep("", "attack", "head", "few", ""),
)


@dataclass(frozen=True)
class Moment:
    """A round of a run, or local steps on its model.

    Attributes
    ----------
    run, name : str
        One of `collection.RUNS`, and when, in words.
    source : InRound or AtStep
        Where its counts are, but for the curve.
    """

    run: str
    name: str
    source: InRound | AtStep


@dataclass(frozen=True)
class Measured:
    """The four accuracies of a moment: estimates by curve, and in which round or after how many steps."""

    moment: Moment
    estimates: Mapping[str, Estimate]
    notes: tuple[str, ...]


def moments(collection: Collection) -> Iterator[Moment]:
    """Yield what is shown of each run: rounds before, right after and at the end, then what it measured along steps."""
    for run in collection.runs:
        attacked = collection.config(run)["attack-round"] > 0
        for when in ("before", "attack", "last") if attacked else ("first", "last"):
            yield Moment(run, _NAMES[when], InRound(run, when, ""))
        for source in _ALONG_STEPS if attacked else ():
            if collection.steps(run, "attack", source.along, CURVES[0]):
                for when in reversed(get_args(When)):
                    yield Moment(run, _NAMES[when], replace(source, run=run, when=when))


def measure(collection: Collection, moment: Moment) -> Measured:
    """Estimate the four accuracies of a moment; raises `ResultsError`, `CountsError` as `read_inputs` does."""
    sources: dict[str, Source] = {curve: replace(moment.source, curve=curve) for curve in CURVES}
    inputs = read_inputs(collection, sources)
    return Measured(moment, {curve: accuracy(counts) for curve, counts in inputs.points.items()}, inputs.notes)
