"""The statistics of the project: counts per seed, client and episode to values with intervals.

Every number is a weighted sum of accuracies (a *contrast*: a difference has weights -1 and 1), or a half-life. All have
the same hierarchical bootstrap: seeds are drawn with replacement, and in each drawn seed every client's episodes are,
the same for all terms of a contrast, because episodes are the same in every round and run of a seed.
A percentile interval over few seeds is too narrow, so its distance from the value is stretched by
``sqrt(s / (s - 1)) * t / 1.96`` (s seeds, Student's t with s - 1 degrees of freedom), as if seeds were a sample of
normal variables (Hesterberg 2015 stretches percentiles for the same reason).

Coverage of the 95 % interval of an accuracy, measured on made-up data: 1 000 samples of 3 clients x 20 episodes x 20
trials a cell, so +- 1.4 points around 95 %; the stretch is 9.2, 2.7, 1.9 and 1.6.

===============================================  =======  =======  =======  =======
standard deviation over seeds, over episodes     2 seeds  3 seeds  4 seeds  5 seeds
===============================================  =======  =======  =======  =======
10, 10 points                                    100 %    96 %     95 %     96 %
3, 15 points                                     100 %    100 %    100 %    99 %
1, 20 points                                     100 %    100 %    100 %    100 %
skewed: mean 91 %, logits' deviation 1.0, 0.7    98 %     91 %     88 %     90 %
10, 10 points, percentile without the stretch    63 %     77 %     82 %     85 %
===============================================  =======  =======  =======  =======

It errs on the safe side where seeds hardly differ, and is 4 to 7 points short from 3 seeds on where accuracies crowd
against 0 or 100 %. Two seeds decide next to nothing: a width of 80 points in the first three lines.

Sources: Efron & Tibshirani 1993, ch. 13 (percentile interval); Davison & Hinkley 1997, sec. 3.8 (hierarchical data:
drawing both levels counts the episodes' noise twice, hence too wide an interval where seeds hardly differ).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fedmeta_flwr.seeding import generator

RESAMPLES = 10_000
_BLOCK = 1_000
_NORMAL = 1.959964
_STUDENT = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)
_ROUNDING = 1e-9


class CountsError(ValueError):
    """Counts that cannot be used or paired; says what was expected, what was found, and where."""


@dataclass(frozen=True, eq=False)
class EpisodeCounts:
    """Hits and trials of one curve in one place (a round, a step, an arm of an experiment), over all seeds.

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
        How many seeds, and how many episodes over all seeds and clients, stand behind it. With one seed the interval
        is over this seed's episodes alone and says nothing of other seeds: see `over_seeds`.
    """

    value: float
    low: float
    high: float
    seeds: int
    episodes: int

    @property
    def over_seeds(self) -> bool:
        """Whether the interval speaks of seeds that were not run."""
        return self.seeds > 1


@dataclass(frozen=True)
class HalfLife(Estimate):
    """An estimate in rounds since the curve's first one.

    ``value`` and ``high`` are infinite where they lie beyond the ``observed_rounds`` ("> n rounds"); ``low`` is never
    above them.
    """

    observed_rounds: int

    @property
    def censored(self) -> bool:
        """Whether the excess had not yet fallen to its half in the last round."""
        return math.isinf(self.value)


def episode_counts(evaluations: Mapping[int, list[dict[str, Any]] | None], curve: str) -> EpisodeCounts:
    """Collect the counts of one curve.

    Parameters
    ----------
    evaluations : mapping of int to list of dict
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


def _one_seed(seed: int, evaluation: list[dict[str, Any]], curve: str) -> EpisodeCounts:
    if not evaluation or any(curve not in client["counts"] for client in evaluation):
        raise CountsError(f"seed {seed}: expected an evaluation with {curve!r} of every client, found none")
    clients = sorted(evaluation, key=lambda client: int(client["partition_id"]))
    counts = [client["counts"][curve] for client in clients]
    if len(lengths := {len(count[kind]) for count in counts for kind in ("hits", "trials")}) > 1:
        raise CountsError(f"seed {seed}: expected as many episodes of every client, found {sorted(lengths)}")
    hits, trials = (np.array([[count[kind] for count in counts]], dtype=np.int64) for kind in ("hits", "trials"))
    return EpisodeCounts((seed,), tuple(int(client["partition_id"]) for client in clients), hits, trials)


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
    _check_paired(counts)
    weights = np.array([weight for weight, _ in terms])
    value = np.array([term.accuracy() for term in counts]) @ weights
    low, high = _interval(value, _resampled(counts) @ weights, len(counts[0].seeds))
    least, most = weights[weights < 0].sum(), weights[weights > 0].sum()
    return Estimate(float(value), float(max(low, least)), float(min(high, most)), *_sizes(counts[0]))


def accuracy(counts: EpisodeCounts) -> Estimate:
    """Estimate an accuracy, in 0..1."""
    return contrast([(1.0, counts)])


def difference(first: EpisodeCounts, second: EpisodeCounts) -> Estimate:
    """Estimate the paired difference of two accuracies: second minus first; see `contrast`."""
    return contrast([(-1.0, first), (1.0, second)])


def mean_over_rounds(curve: Curve) -> Estimate:
    """Estimate the mean of a curve's accuracies over its rounds."""
    return contrast([(1 / len(curve), counts) for counts in curve.values()])


def band(curve: Curve) -> dict[int, Estimate]:
    """Estimate the accuracy in every round, for figures: intervals are pointwise, not simultaneous."""
    counts = list(curve.values())
    _check_paired(counts)
    values = np.array([point.accuracy() for point in counts])
    low, high = np.clip(_interval(values, _resampled(counts), len(counts[0].seeds)), 0, 1)
    bounds = zip(values.tolist(), low.tolist(), high.tolist(), strict=True)
    return {name: Estimate(*bound, *_sizes(counts[0])) for name, bound in zip(curve, bounds, strict=True)}


def seed_values(terms: Sequence[tuple[float, EpisodeCounts]]) -> dict[int, float]:
    """Return the contrast of each seed alone, by seed, without intervals; raises as `contrast` does."""
    _check_paired([counts for _, counts in terms])
    accuracies = [counts.hits.sum(axis=(1, 2)) / counts.trials.sum(axis=(1, 2)) for _, counts in terms]
    values = np.array([weight for weight, _ in terms]) @ np.array(accuracies)
    return dict(zip(terms[0][1].seeds, values.tolist(), strict=True))


def half_life(clean: EpisodeCounts, curve: Curve) -> HalfLife:
    """Estimate how many rounds a backdoor's excess over the clean baseline takes to fall to its half.

    The excess (mean over seeds) is first replaced by its `monotone_fit`, so that one noisy round neither ends nor
    prolongs it, and an excess that has fallen has fallen for good. The half-life is the first evaluated round in which
    the fit is at most half of its value in the first round; 0 where there was no excess to begin with. Nothing is
    interpolated between rounds, and nothing extrapolated: an exponential is not fitted, since the decay need not be one
    and the part that was not observed would rest on that alone.

    Parameters
    ----------
    clean : EpisodeCounts
        The baseline, such as the round before the attack.
    curve : mapping of int to EpisodeCounts
        Two rounds or more; the first is the one right after the attack.

    Returns
    -------
    HalfLife
        The interval holds the rounds at which "the excess is half of the first" is not rejected at 5 %, the same
        bootstrap as elsewhere (Brookmeyer & Crowley 1982 do so for a median survival time): it needs no half-life of
        a resample, which could be infinite.

    Raises
    ------
    CountsError
        If there are fewer than two rounds, or counts cannot be paired.
    """
    rounds = sorted(curve)
    if len(rounds) < 2:
        raise CountsError(f"expected a curve of two rounds or more, found {rounds}")
    counts = [clean, *(curve[name] for name in rounds)]
    _check_paired(counts)
    value = _above_half(np.array([point.accuracy() for point in counts]))
    low, high = _interval(value, _above_half(_resampled(counts)), len(clean.seeds))
    passed = [*(name - rounds[0] for name in rounds), math.inf]
    still_above = [int(np.flatnonzero(margin > _ROUNDING).max(initial=-1)) for margin in (value, high)]
    surely_above = int(np.argmin(np.append(low > _ROUNDING, False)))
    middle, longest = (passed[last + 1] for last in still_above)
    observed = rounds[-1] - rounds[0]
    return HalfLife(middle, min(passed[surely_above], observed), longest, *_sizes(clean), observed_rounds=observed)


def _above_half(accuracies: np.ndarray) -> np.ndarray:
    """Return fitted excess minus half of its first value; the clean baseline comes first on the last axis."""
    fit = monotone_fit(accuracies[..., 1:] - accuracies[..., :1])
    return np.asarray(fit - fit[..., :1] / 2)


def monotone_fit(values: np.ndarray) -> np.ndarray:
    """Return the non-increasing sequence with the least squared distance, along the last axis.

    This is the pool-adjacent-violators fit, by the min-max formula of Robertson, Wright & Dykstra 1988, sec. 1.4,
    which does many sequences at once; time grows with the square of their length.
    """
    fit, length = np.full(values.shape, np.inf), values.shape[-1]
    sums = np.concatenate([np.zeros_like(fit[..., :1]), np.cumsum(values, axis=-1)], axis=-1)
    for start in range(length):
        means = (sums[..., start + 1 :] - sums[..., start, None]) / np.arange(1, length - start + 1)
        highest_from = np.flip(np.maximum.accumulate(np.flip(means, axis=-1), axis=-1), axis=-1)
        fit[..., start:] = np.minimum(fit[..., start:], highest_from)
    return fit


def _check_paired(counts: Sequence[EpisodeCounts]) -> None:
    layouts = {(part.seeds, part.clients, part.hits.shape[2]) for part in counts}
    if len(layouts) != 1:
        raise CountsError(f"expected counts of the same (seeds, clients, episodes) to pair, found {sorted(layouts)}")


def _sizes(counts: EpisodeCounts) -> tuple[int, int]:
    return len(counts.seeds), counts.hits.size


def _resampled(counts: Sequence[EpisodeCounts]) -> np.ndarray:
    """Return accuracies of shape (resamples, counts); a resample draws the same seeds and episodes for all counts."""
    shape = counts[0].hits.shape
    hits, trials = (
        np.array([getattr(part, kind).ravel() for part in counts], dtype=float).T for kind in ("hits", "trials")
    )
    blocks = (_drawn_times(shape, block) for block in range(RESAMPLES // _BLOCK))
    return np.concatenate([(times @ hits) / (times @ trials) for times in blocks])


def _drawn_times(shape: tuple[int, ...], block: int) -> np.ndarray:
    """Return how often each episode was drawn, shape (resamples of a block, seeds * clients * episodes)."""
    seeds, clients, episodes = shape
    rng = generator(0, "bootstrap", block, *shape)
    seed = rng.integers(seeds, size=(_BLOCK, seeds, 1, 1))
    episode = rng.integers(episodes, size=(_BLOCK, seeds, clients, episodes))
    resample, client = np.arange(_BLOCK).reshape(-1, 1, 1, 1), np.arange(clients).reshape(-1, 1)
    cell = ((resample * seeds + seed) * clients + client) * episodes + episode
    times = np.bincount(cell.ravel(), minlength=_BLOCK * math.prod(shape))
    return times.reshape(_BLOCK, -1).astype(float)


def _interval(value: np.ndarray, draws: np.ndarray, seeds: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the stretched percentile interval; draws of shape (resamples, ...), value of shape (...)."""
    low, high = np.quantile(draws, [0.025, 0.975], axis=0)
    stretch = math.sqrt(seeds / (seeds - 1)) * _student(seeds - 1) / _NORMAL if seeds > 1 else 1.0
    return np.minimum(value, value + stretch * (low - value)), np.maximum(value, value + stretch * (high - value))


def _student(dof: int) -> float:
    """Return the 97.5 % quantile of Student's t; above the table by Abramowitz & Stegun 1964, 26.7.5."""
    if dof <= len(_STUDENT):
        return _STUDENT[dof - 1]
    z = _NORMAL
    terms = (z, (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96, (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384)
    return math.fsum(term / dof**power for power, term in enumerate(terms))
