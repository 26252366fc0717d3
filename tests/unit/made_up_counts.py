"""Made-up counts with known answers."""

import numpy as np

from experiments.analysis.statistics import EpisodeCounts

TRIALS = 20


def counts_of(hits: np.ndarray, trials: int = TRIALS) -> EpisodeCounts:
    seeds, clients, _ = hits.shape
    return EpisodeCounts(tuple(range(seeds)), tuple(range(1, clients + 1)), hits, np.full(hits.shape, trials))


def constant(hits: int, seeds: int = 3, trials: int = 1024) -> EpisodeCounts:
    """Return counts without any noise: every episode of every seed has as many hits."""
    return counts_of(np.full((seeds, 2, 4), hits), trials)


def drawn(rng: np.random.Generator, seeds: int, episodes: int, spread: float) -> EpisodeCounts:
    """Draw seeds whose accuracies scatter around 0.6, and binomial hits in each."""
    share = np.clip(0.6 + spread * rng.standard_normal((seeds, 1, 1)), 0, 1)
    return counts_of(rng.binomial(TRIALS, np.broadcast_to(share, (seeds, 3, episodes))))


def at(*percents: float, seeds: int = 3) -> EpisodeCounts:
    """Return counts of exactly this accuracy in every episode of every seed, or with one accuracy per seed."""
    shares = percents if len(percents) > 1 else percents * seeds
    return counts_of(np.array([np.full((2, 3), round(10 * percent)) for percent in shares]), 1000)
