"""How long a backdoor lives: the half-life of its excess over the clean baseline, in rounds."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression

from experiments.analysis.bootstrap import interval, resampled
from experiments.analysis.statistics import CountsError, Curve, EpisodeCounts, Estimate, paired

_ROUNDING = 1e-9


@dataclass(frozen=True)
class HalfLife(Estimate):
    """An estimate in rounds since the curve's first one.

    ``value`` and ``high`` are infinite if they lie beyond the ``observed_rounds`` ("> n rounds"); ``low`` is at most
    ``observed_rounds``.
    """

    observed_rounds: int

    @property
    def censored(self) -> bool:
        """Whether the excess had not yet fallen to half by the last round."""
        return math.isinf(self.value)


def half_life(clean: EpisodeCounts, curve: Curve) -> HalfLife:
    """Estimate how many rounds a backdoor's excess over the clean baseline takes to fall to half.

    The excess (mean over seeds) is first replaced by its `monotone_fit`, which never rises, so that one noisy round
    neither ends nor prolongs it. The half-life is the first evaluated round in which the fit is at most half of its
    value in the first round; 0 if there was no excess at the start. Nothing is interpolated between rounds or
    extrapolated. In particular, no exponential is fitted: the decay need not be exponential, and the unobserved part
    would depend only on that assumption.

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
    draws = resampled(*paired(counts))
    value = _above_half(np.array([point.accuracy() for point in counts]))
    low, high = interval(value, _above_half(draws), len(clean.seeds))
    passed = [*(name - rounds[0] for name in rounds), math.inf]
    still_above = [int(np.flatnonzero(margin > _ROUNDING).max(initial=-1)) for margin in (value, high)]
    surely_above = int(np.argmin(np.append(low > _ROUNDING, False)))
    middle, longest = (passed[last + 1] for last in still_above)
    observed = rounds[-1] - rounds[0]
    return HalfLife(middle, min(passed[surely_above], observed), longest, *clean.sizes, observed_rounds=observed)


def _above_half(accuracies: np.ndarray) -> np.ndarray:
    """Return fitted excess minus half of its first value; the clean baseline comes first on the last axis."""
    fit = monotone_fit(accuracies[..., 1:] - accuracies[..., :1])
    return np.asarray(fit - fit[..., :1] / 2)


def monotone_fit(values: np.ndarray) -> np.ndarray:
    """Return the non-increasing sequence with the least squared distance, along the last axis."""
    return np.apply_along_axis(lambda sequence: isotonic_regression(sequence, increasing=False).x, -1, values)
