"""The accuracies that the claims are about, each with its interval."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from experiments.analysis.claims.inputs import AtStep, InRound, Source, read_inputs
from experiments.analysis.collection import Collection
from experiments.analysis.defended import curves_of_run
from experiments.analysis.statistics import Estimate, band
from fedmeta_flwr.records import CURVES

_NAMES: Mapping[str, str] = {
    "before": "before the attack",
    "attack": "right after",
    "first": "at the start",
    "last": "at the end",
}


@dataclass(frozen=True)
class Moment:
    """A round of a run, or local steps on its model.

    Attributes
    ----------
    run, name : str
        One of `catalog.MEASURED_RUNS`, and the moment in words.
    source : InRound or AtStep
        Where its counts are, without the curve.
    """

    run: str
    name: str
    source: InRound | AtStep


@dataclass(frozen=True)
class Measured:
    """The four accuracies of a moment: estimates by curve, and notes on the round or the number of steps."""

    moment: Moment
    estimates: Mapping[str, Estimate]
    notes: tuple[str, ...]


def moments(collection: Collection) -> Iterator[Moment]:
    """Yield the moments to show of each run: before and right after the attack, at the end, then along local steps."""
    for run in collection.runs:
        attacked = collection.config(run)["attack-round"] > 0
        for when in ("before", "attack", "last") if attacked else ("first", "last"):
            yield Moment(run, _NAMES[when], InRound(run, when, ""))
        for source in _along_steps(collection, run) if attacked else ():
            if collection.has_steps(run, source.along):
                yield Moment(run, _NAMES["attack"], source)
                yield Moment(run, _NAMES["before"], replace(source, when="before"))


def _along_steps(collection: Collection, run: str) -> Iterator[AtStep]:
    """Yield the points to show of each step curve.

    For fine-tuning within an episode these are the usual number of steps and the last one; for local steps before it,
    none and few. For the head, "none" is left out, because it is the accuracy of the round itself.
    """
    for along, step_curve in curves_of_run(collection, run).items():
        if step_curve.is_of_episode:
            yield AtStep(run, "attack", along, "ordinary", "")
            yield AtStep(run, "attack", along, "all", "")
            continue
        if along != "head":
            yield AtStep(run, "attack", along, "none", "")
        yield AtStep(run, "attack", along, "few", "")


def measure(collection: Collection, moment: Moment) -> Measured:
    """Estimate the four accuracies of a moment; raises `ResultsError`, `CountsError` as `read_inputs` does."""
    sources: dict[str, Source] = {curve: replace(moment.source, curve=curve) for curve in CURVES}
    inputs = read_inputs(collection, sources)
    return Measured(moment, band(inputs.points), inputs.notes)
