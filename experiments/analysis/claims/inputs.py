"""Places of the numbers of the claims table in a collection of runs, and how to read their counts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from experiments.analysis.collection import Collection, When
from experiments.analysis.defended import curves_of_run
from experiments.analysis.statistics import Curve, EpisodeCounts
from fedmeta_flwr.records import ResultsError

DEFENSE_STEPS = 50
"""Our choice: "few local steps" of a defense are at most 50; the poster gives no number."""

Which = Literal["none", "ordinary", "few", "all"]
"""Local steps: none, as many as in an evaluation, the most up to `DEFENSE_STEPS`, the most that were measured."""


@dataclass(frozen=True)
class InRound:
    """One curve in one round of a run.

    Attributes
    ----------
    run, curve : str
        One of `catalog.MEASURED_RUNS`, and of `results.CURVES`.
    when : str
        As in `Collection.points`, or the first or last evaluated round.
    """

    run: str
    when: When | Literal["first", "last"]
    curve: str

    def read(self, collection: Collection) -> tuple[EpisodeCounts, str]:
        """Return the counts, and a note on where they were found; raises as `Collection.points` does."""
        if self.when in ("before", "attack"):
            return collection.points(self.run, self.when, self.curve), ""
        number = (min if self.when == "first" else max)(_evaluated(collection, self.run, self.curve))
        return collection.points(self.run, number, self.curve), f"{self.when} round: {number}"


@dataclass(frozen=True)
class AtStep:
    """One curve after some local steps on the model of a round.

    Attributes
    ----------
    run, when, along, curve
        As in `Collection.steps`; `along` is the step curve.
    which : str
        See `Which`. The number is that of the attacked model also for the model before the attack, so that the two
        have as many steps.
    """

    run: str
    when: When
    along: str
    which: Which
    curve: str

    def read(self, collection: Collection) -> tuple[EpisodeCounts, str]:
        """Return the counts, and a note on the number of steps; raises `ResultsError` where they were not measured."""
        number = self._number(collection)
        measured = collection.steps(self.run, self.when, self.along, self.curve)
        if number not in measured:
            where = f"{self.run}, round {self.when!r}"
            raise ResultsError(f"{where}: expected {self.along} at step {number}, found steps {list(measured)}")
        return measured[number], f"{number} {curves_of_run(collection, self.run)[self.along].steps}"

    def _number(self, collection: Collection) -> int:
        measured = list(collection.steps(self.run, "attack", self.along, self.curve))
        ordinary = collection.config(self.run)["evaluate-inner-steps"]
        suits: dict[Which, Callable[[int], bool]] = {
            "none": lambda step: step == 0,
            "ordinary": lambda step: step == ordinary,
            "few": lambda step: step <= DEFENSE_STEPS,
            "all": lambda step: True,
        }
        if not (found := list(filter(suits[self.which], measured))):
            expected = f"{self.along} at {self.which} steps (ordinary: {ordinary}, few: up to {DEFENSE_STEPS})"
            raise ResultsError(f"{self.run}, round 'attack': expected {expected}, found steps {measured}")
        return max(found)


@dataclass(frozen=True)
class SharedEnd:
    """One curve in the last round that two runs both evaluated."""

    run: str
    other: str
    curve: str

    def read(self, collection: Collection) -> tuple[EpisodeCounts, str]:
        """Return the counts of `run`, and a note on the round; raises `ResultsError` where the runs share none."""
        both = [_evaluated(collection, run, self.curve) for run in (self.run, self.other)]
        if not (shared := set(both[0]) & set(both[1])):
            raise ResultsError(f"expected a round that {self.run} and {self.other} evaluated, found {both}")
        return collection.points(self.run, max(shared), self.curve), f"last round of both: {max(shared)}"


Source = InRound | AtStep | SharedEnd
"""A place whose `read` returns the counts and a note; the note is empty if there is nothing to add."""


@dataclass(frozen=True)
class Inputs:
    """Counts by name, all over the same seeds, and what a reader should know about them."""

    points: Mapping[str, EpisodeCounts]
    curves: Mapping[str, Curve]
    notes: tuple[str, ...]


def read_inputs(
    collection: Collection, sources: Mapping[str, Source], curves: Mapping[str, tuple[str, str]] | None = None
) -> Inputs:
    """Read what a claim or control needs, on the seeds that all of it has.

    Parameters
    ----------
    collection : Collection
        The runs.
    sources : mapping of str to Source
        At least one; name to place.
    curves : mapping of str to (str, str), optional
        Name to run and curve; rounds since the attack.

    Raises
    ------
    ResultsError, CountsError
        If a run, round, step or curve is missing, or no seed has all of it; names it.
    """
    found = {name: source.read(collection) for name, source in sources.items()}
    points = {name: counts for name, (counts, _) in found.items()}
    followed = {name: collection.rounds(run, curve) for name, (run, curve) in (curves or {}).items()}
    notes = [note for _, note in found.values() if note]
    notes += [f"{max(curve, default=0)} rounds after the attack observed" for curve in followed.values()]
    everything = [*points.values(), *(counts for curve in followed.values() for counts in curve.values())]
    seeds = _common_seeds(everything)
    if any(set(counts.seeds) != set(seeds) for counts in everything):
        notes.append(f"only on seeds {', '.join(map(str, seeds))}: the runs differ in theirs")
    return Inputs(
        {name: counts.of_seeds(seeds) for name, counts in points.items()},
        {name: {at: counts.of_seeds(seeds) for at, counts in curve.items()} for name, curve in followed.items()},
        tuple(dict.fromkeys(notes)),
    )


def _common_seeds(everything: list[EpisodeCounts]) -> tuple[int, ...]:
    seeds = tuple(sorted(set.intersection(*(set(counts.seeds) for counts in everything))))
    if not seeds:
        found = sorted({counts.seeds for counts in everything})
        raise ResultsError(f"expected a seed that all of the compared runs have, found seeds {found}")
    return seeds


def _evaluated(collection: Collection, run: str, curve: str) -> list[int]:
    """Return the evaluated server rounds, at least one."""
    if not (rounds := list(collection.by_server_round(run, curve))):
        raise ResultsError(f"{run}: expected an evaluated round, found none")
    return rounds
