import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from unit.made_up_counts import TRIALS, constant, counts_of

from experiments.analysis import bootstrap
from experiments.analysis.half_life import half_life, monotone_fit
from experiments.analysis.statistics import CountsError, EpisodeCounts


@given(arrays(float, st.integers(1, 30), elements=st.floats(-1, 1)))
def test_a_monotone_fit_never_rises_and_fits_itself(values: np.ndarray) -> None:
    fit = monotone_fit(values)
    assert np.all(np.diff(fit) <= 0)
    assert monotone_fit(fit) == pytest.approx(fit, abs=1e-12)
    assert fit.mean() == pytest.approx(values.mean(), abs=1e-12)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([3, 2, 1], [3, 2, 1]),  # already monotone
        ([1, 2, 3], [2, 2, 2]),  # pooled to the mean
        ([4, 1, 3, 0], [4, 2, 2, 0]),  # one violator
        ([5, 1, 2, 6, 0], [5, 3, 3, 3, 0]),  # (1 + 2 + 6) / 3
    ],
)
def test_a_monotone_fit_pools_violators(values: list[float], expected: list[float]) -> None:
    both = monotone_fit(np.array([values, values[::-1]], dtype=float))
    assert both[0].tolist() == expected
    assert monotone_fit(np.array(values, dtype=float)).tolist() == expected


def exponential(rounds: int, half: int, clean: int = 100, first: int = 800) -> dict[int, EpisodeCounts]:
    return {61 + t: constant(clean + round(first * 2 ** (-t / half))) for t in range(rounds + 1)}


@pytest.mark.parametrize("half", [1, 7, 20, 30])
def test_the_half_life_of_an_exact_exponential_is_right(half: int) -> None:
    found = half_life(constant(100), exponential(30, half))
    assert (found.value, found.low, found.high) == (half, half, half)
    assert not found.censored
    assert found.observed_rounds == 30


def test_a_half_life_beyond_the_run_is_censored_and_its_lower_end_is_the_last_round() -> None:
    found = half_life(constant(100), exponential(30, 31))
    assert (found.value, found.low, found.high) == (math.inf, 30, math.inf)
    assert found.censored


def test_without_an_excess_there_is_no_half_life() -> None:
    found = half_life(constant(100), {1: constant(100), 2: constant(100), 3: constant(90)})
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_a_half_life_is_an_evaluated_round_counted_from_the_first() -> None:
    curve = {70: constant(300), 61: constant(900), 66: constant(800)}
    assert half_life(constant(100), curve).value == 9


def test_one_round_of_noise_neither_ends_nor_prolongs_a_half_life() -> None:
    curve = exponential(30, 20)
    dip = curve | {64: constant(400)}
    bump = curve | {89: constant(600)}
    assert half_life(constant(100), curve).value == 20
    assert half_life(constant(100), dip).value == pytest.approx(20, abs=1)
    assert half_life(constant(100), bump).value == pytest.approx(20, abs=3)


def test_an_interval_of_a_half_life_holds_the_truth_and_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1_000)
    rng = np.random.default_rng(6)

    def around(share: float) -> EpisodeCounts:
        return counts_of(rng.binomial(TRIALS, share, size=(3, 3, 10)))

    curve = {t: around(0.2 + 0.6 * 2 ** (-t / 12)) for t in range(31)}
    whole = half_life(around(0.2), curve)
    assert whole.low < whole.value < whole.high < math.inf
    assert whole.low < 12 < whole.high
    cut = half_life(around(0.2), {t: curve[t] for t in range(int(whole.value) + 2)})
    assert (cut.low < cut.value < math.inf, cut.high) == (True, math.inf)


@pytest.mark.parametrize("rounds", [[], [61]])
def test_a_half_life_needs_two_rounds(rounds: list[int]) -> None:
    with pytest.raises(CountsError, match="two rounds or more"):
        half_life(constant(1), {number: constant(2) for number in rounds})


def test_a_half_life_is_paired_with_its_baseline() -> None:
    with pytest.raises(CountsError, match="to pair"):
        half_life(constant(5, seeds=2), {0: constant(5), 1: constant(5)})
