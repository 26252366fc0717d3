"""Estimates with intervals, from counts per seed, client and episode.

Every number is a weighted sum of accuracies (a *contrast*: a difference has weights -1 and 1), paired by seed, client
and episode, with an interval by `experiments.analysis.bootstrap`; half-lives are in `experiments.analysis.half_life`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self, TypeVar

import numpy as np

from experiments.analysis.bootstrap import interval, resampled
from fedmeta_flwr.records import ClientEvaluation


class CountsError(ValueError):
    """Counts cannot be used or paired; the message says what was expected, what was found, and where."""


@dataclass(frozen=True, eq=False)
class EpisodeCounts:
    """Hits and trials of one curve at one point (a round, a step, a run of an experiment), over all seeds.

    Attributes
    ----------
    seeds, clients : tuple of int
        The runs' seeds, and the partition ids of the clients that evaluated.
    hits, trials : np.ndarray
        Int64, shape (seeds, clients, episodes); 0 <= hits <= trials, trials from 1.

    Raises
    ------
    CountsError
        If there is no seed, client or episode, a shape differs, or a count is out of range.
    """

    seeds: tuple[int, ...]
    clients: tuple[int, ...]
    hits: np.ndarray
    trials: np.ndarray

    def __post_init__(self) -> None:
        expected = (len(self.seeds), len(self.clients), *self.hits.shape[2:3])
        if self.hits.shape != expected or self.trials.shape != expected or not self.hits.size:
            shapes = f"{self.hits.shape} and {self.trials.shape}"
            raise CountsError(f"expected hits and trials of shape (seeds, clients, episodes), none 0, found {shapes}")
        wrong = np.argwhere((self.trials < 1) | (self.hits < 0) | (self.hits > self.trials))
        if len(wrong):
            seed, client, episode = wrong[0]
            found = f"{self.hits[tuple(wrong[0])]} of {self.trials[tuple(wrong[0])]}"
            where = f"seed {self.seeds[seed]}, client {self.clients[client]}, episode {episode}"
            raise CountsError(f"{where}: expected 0 <= hits <= trials and trials from 1, found {found}")

    def accuracy(self) -> float:
        """Return all hits over all trials, in 0..1."""
        return float(self.hits.sum() / self.trials.sum())

    @property
    def sizes(self) -> tuple[int, int]:
        """How many seeds there are, and how many episodes over all seeds and clients."""
        return len(self.seeds), self.hits.size

    def of_seeds(self, seeds: Sequence[int]) -> Self:
        """Return the counts of some of the seeds, in that order; raises `CountsError` if one is missing."""
        if missing := [seed for seed in seeds if seed not in self.seeds]:
            raise CountsError(f"expected counts of the seeds {missing}, found {self.seeds}")
        rows = [self.seeds.index(seed) for seed in seeds]
        return replace(self, seeds=tuple(seeds), hits=self.hits[rows], trials=self.trials[rows])


_Name = TypeVar("_Name")

Curve = Mapping[int, EpisodeCounts]
"""A curve: round (or fine-tuning step) to its counts."""


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % interval, low <= value <= high.

    Attributes
    ----------
    value, low, high : float
        Accuracies and their differences as fractions, not percent.
    seeds, episodes : int
        Number of seeds, and of episodes over all seeds and clients. With one seed the interval is only over this
        seed's episodes and says nothing about other seeds: see `over_seeds`.
    """

    value: float
    low: float
    high: float
    seeds: int
    episodes: int

    @property
    def over_seeds(self) -> bool:
        """Whether the interval also applies to seeds that were not run."""
        return self.seeds > 1


def episode_counts(evaluations: Mapping[int, list[ClientEvaluation] | None], curve: str) -> EpisodeCounts:
    """Collect the counts of one curve.

    Parameters
    ----------
    evaluations : mapping of int to list of ClientEvaluation
        Seed to `results.RoundRecord.evaluation`.
    curve : str
        One of `results.CURVES`, or whatever names counts there.

    Returns
    -------
    EpisodeCounts
        Clients in the order of their partition ids.

    Raises
    ------
    CountsError
        If a seed has no evaluation or no such curve, or seeds and clients differ in episodes.
    """
    return merge([_one_seed(seed, evaluation or [], curve) for seed, evaluation in evaluations.items()])


def _one_seed(seed: int, evaluation: list[ClientEvaluation], curve: str) -> EpisodeCounts:
    if not evaluation or any(curve not in client.counts for client in evaluation):
        raise CountsError(f"seed {seed}: expected an evaluation with {curve!r} of every client, found none")
    clients = sorted(evaluation, key=lambda client: client.partition_id)
    counts = [client.counts[curve] for client in clients]
    if len(lengths := {len(numbers) for count in counts for numbers in (count.hits, count.trials)}) > 1:
        raise CountsError(f"seed {seed}: expected as many episodes of every client, found {sorted(lengths)}")
    hits = np.array([[count.hits for count in counts]], dtype=np.int64)
    trials = np.array([[count.trials for count in counts]], dtype=np.int64)
    return EpisodeCounts((seed,), tuple(client.partition_id for client in clients), hits, trials)


def merge(parts: Sequence[EpisodeCounts]) -> EpisodeCounts:
    """Join counts of different seeds; raises `CountsError` unless seeds differ, and clients and episodes agree."""
    if not parts:
        raise CountsError("expected the counts of at least one seed, found none")
    seeds = tuple(seed for part in parts for seed in part.seeds)
    if len(set(seeds)) < len(seeds):
        raise CountsError(f"expected every seed once, found {seeds}")
    if len(layouts := {(part.clients, part.hits.shape[2]) for part in parts}) > 1:
        raise CountsError(f"expected the same clients and number of episodes of every seed, found {sorted(layouts)}")
    hits, trials = (np.concatenate([getattr(part, kind) for part in parts]) for kind in ("hits", "trials"))
    return EpisodeCounts(seeds, parts[0].clients, hits, trials)


def paired(counts: Sequence[EpisodeCounts]) -> tuple[np.ndarray, np.ndarray]:
    """Return hits and trials, each of shape (counts, seeds, clients, episodes).

    Raises
    ------
    CountsError
        If there are none, or they differ in seeds, clients or number of episodes.
    """
    layouts = {(part.seeds, part.clients, part.hits.shape[2]) for part in counts}
    if len(layouts) != 1:
        raise CountsError(f"expected counts of the same (seeds, clients, episodes) to pair, found {sorted(layouts)}")
    return np.array([part.hits for part in counts]), np.array([part.trials for part in counts])


def contrast(terms: Sequence[tuple[float, EpisodeCounts]]) -> Estimate:
    """Estimate a weighted sum of accuracies, paired by seed, client and episode.

    Parameters
    ----------
    terms : sequence of (float, EpisodeCounts)
        Weight and counts. The interval stays within what accuracies in 0..1 allow.

    Returns
    -------
    Estimate

    Raises
    ------
    CountsError
        If there is no term, or terms differ in seeds, clients or number of episodes.
    """
    counts = [term for _, term in terms]
    draws = resampled(*paired(counts))
    weights = np.array([weight for weight, _ in terms])
    value = np.array([term.accuracy() for term in counts]) @ weights
    low, high = interval(value, draws @ weights, len(counts[0].seeds))
    least, most = weights[weights < 0].sum(), weights[weights > 0].sum()
    return Estimate(float(value), float(max(low, least)), float(min(high, most)), *counts[0].sizes)


def accuracy(counts: EpisodeCounts) -> Estimate:
    """Estimate an accuracy, in 0..1."""
    return contrast([(1.0, counts)])


def difference(first: EpisodeCounts, second: EpisodeCounts) -> Estimate:
    """Estimate the paired difference of two accuracies: second minus first; see `contrast`."""
    return contrast([(-1.0, first), (1.0, second)])


def band(points: Mapping[_Name, EpisodeCounts]) -> dict[_Name, Estimate]:
    """Estimate the accuracy at every point, such as the rounds of a curve; each interval is for its point only.

    Faster than `accuracy` of each; raises as `contrast` does.
    """
    counts = list(points.values())
    draws = resampled(*paired(counts))
    values = np.array([point.accuracy() for point in counts])
    low, high = np.clip(interval(values, draws, len(counts[0].seeds)), 0, 1)
    bounds = zip(values.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(*bound, *counts[0].sizes) for name, bound in zip(points, bounds, strict=True)}
