import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fedmeta_flwr import statistics
from fedmeta_flwr.statistics import (
    CountsError,
    EpisodeCounts,
    accuracy,
    band,
    contrast,
    difference,
    episode_counts,
    half_life,
    mean_over_rounds,
    merge,
    monotone_fit,
    seed_values,
)

TRIALS = 20
SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6))
HITS = SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, TRIALS)))


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


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistics, "RESAMPLES", 1_000)


def client(partition_id: int, hits: list[int], trials: list[int]) -> dict[str, Any]:
    return {"partition_id": partition_id, "counts": {"main_task": {"hits": hits, "trials": trials}}}


def test_counts_are_read_from_evaluations_in_the_order_of_partition_ids() -> None:
    first = [client(2, [3, 4], [5, 6]), client(1, [1, 2], [5, 6])]
    second = [client(1, [0, 0], [5, 6]), client(2, [5, 6], [5, 6])]
    counts = episode_counts({7: first, 9: second}, "main_task")
    assert (counts.seeds, counts.clients) == ((7, 9), (1, 2))
    assert counts.hits.tolist() == [[[1, 2], [3, 4]], [[0, 0], [5, 6]]]
    assert counts.accuracy() == (1 + 2 + 3 + 4 + 5 + 6) / 44


def test_an_accuracy_is_all_hits_over_all_trials_and_no_mean_of_ratios() -> None:
    counts = EpisodeCounts((0,), (1,), np.array([[[1, 90]]]), np.array([[[2, 98]]]))
    assert accuracy(counts).value == counts.accuracy() == 91 / 100


def test_merging_is_the_same_as_reading_all_seeds_at_once() -> None:
    evaluations: dict[int, list[dict[str, Any]] | None] = {s: [client(1, [s], [TRIALS])] for s in (3, 5)}
    merged = merge([episode_counts({s: evaluations[s]}, "main_task") for s in (3, 5)])
    at_once = episode_counts(evaluations, "main_task")
    assert merged.seeds == at_once.seeds == (3, 5)
    assert merged.hits.tolist() == at_once.hits.tolist()


@pytest.mark.parametrize(
    ("evaluations", "message"),
    [
        ({}, "at least one seed"),
        ({4: None}, "seed 4: expected an evaluation"),
        ({4: [{"partition_id": 1, "counts": {}}]}, "seed 4: expected an evaluation with 'main_task'"),
        ({4: [client(1, [1], [2]), client(2, [1, 1], [2, 2])]}, r"seed 4: .* found \[1, 2\]"),
        ({4: [client(1, [1, 0], [2, 0])]}, "seed 4, client 1, episode 1: .* found 0 of 0"),
        ({4: [client(1, [3], [2])]}, "found 3 of 2"),
        ({4: [client(1, [-1], [2])]}, "found -1 of 2"),
        ({4: [client(1, [], [])]}, "none 0"),
        ({4: [client(1, [1], [2])], 5: [client(2, [1], [2])]}, "same clients and number of episodes"),
        ({4: [client(1, [1], [2])], 5: [client(1, [1, 1], [2, 2])]}, "same clients and number of episodes"),
    ],
)
def test_unusable_counts_are_refused_with_their_place(evaluations: dict[int, Any], message: str) -> None:
    with pytest.raises(CountsError, match=message):
        episode_counts(evaluations, "main_task")


def test_a_seed_is_merged_once() -> None:
    with pytest.raises(CountsError, match="every seed once"):
        merge([constant(1), constant(2)])


@pytest.mark.parametrize(
    "other",
    [
        constant(5, seeds=2),
        counts_of(np.ones((3, 2, 5), dtype=np.int64)),
        EpisodeCounts((0, 1, 4), (1, 2), np.ones((3, 2, 4), dtype=np.int64), np.ones((3, 2, 4), dtype=np.int64)),
    ],
)
def test_sides_with_other_seeds_or_episodes_are_not_paired(other: EpisodeCounts) -> None:
    for estimate in (
        lambda: difference(constant(5), other),
        lambda: seed_values([(1, constant(5)), (1, other)]),
        lambda: band({0: constant(5), 1: other}),
        lambda: half_life(other, {0: constant(5), 1: constant(5)}),
    ):
        with pytest.raises(CountsError, match="to pair"):
            estimate()


def test_an_estimate_of_nothing_is_refused() -> None:
    with pytest.raises(CountsError, match="to pair"):
        contrast([])


@given(HITS)
@settings(max_examples=20, deadline=None)
def test_a_difference_of_identical_data_is_exactly_zero(hits: np.ndarray) -> None:
    estimate = difference(counts_of(hits), counts_of(hits.copy()))
    assert (estimate.value, estimate.low, estimate.high) == (0, 0, 0)


@given(HITS)
@settings(max_examples=20, deadline=None)
def test_an_interval_holds_its_value_and_stays_among_possible_accuracies(hits: np.ndarray) -> None:
    estimate = accuracy(counts_of(hits))
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert (estimate.seeds, estimate.episodes) == (len(hits), hits.size)


@given(HITS)
@settings(max_examples=20, deadline=None)
def test_a_constant_added_to_every_episode_shifts_a_difference_and_leaves_its_width(hits: np.ndarray) -> None:
    # twice the trials leave room above; with equal trials per episode, 5 hits of 40 are 0.125
    zero = np.zeros_like(hits)
    plain = difference(counts_of(zero, 40), counts_of(hits, 40))
    shifted = difference(counts_of(zero, 40), counts_of(hits + 5, 40))
    assert shifted.value == pytest.approx(plain.value + 0.125)
    if max(plain.high, shifted.high) < 1 and min(plain.low, shifted.low) > -1:
        assert shifted.low - 0.125 == pytest.approx(plain.low)
        assert shifted.high - 0.125 == pytest.approx(plain.high)


def test_permuting_the_episodes_of_both_sides_together_changes_bootstrap_noise_alone() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.integers(TRIALS + 1, size=(2, 4, 3, 20))
    order = rng.permuted(np.broadcast_to(np.arange(20), first.shape), axis=-1)
    plain = difference(counts_of(first), counts_of(second))
    permuted = difference(*(counts_of(np.take_along_axis(hits, order, axis=-1)) for hits in (first, second)))
    assert permuted.value == plain.value
    assert permuted.low == pytest.approx(plain.low, abs=0.1 * (plain.high - plain.low))
    assert permuted.high == pytest.approx(plain.high, abs=0.1 * (plain.high - plain.low))


def test_pairing_removes_what_both_sides_share() -> None:
    rng = np.random.default_rng(5)
    hits = rng.integers(TRIALS - 1, size=(3, 3, 20))
    estimate = difference(counts_of(hits), counts_of(hits + 2))
    assert (estimate.low, estimate.value, estimate.high) == pytest.approx((0.1, 0.1, 0.1))
    assert accuracy(counts_of(hits)).high - accuracy(counts_of(hits)).low > 0.05


def test_the_order_of_a_difference_is_second_minus_first() -> None:
    assert difference(constant(256), constant(768)).value == 0.5


def test_an_interval_over_the_episodes_of_one_seed_is_the_normal_one() -> None:
    # one seed, 300 episodes: the mean's standard error is s / sqrt(300), within clients as the resampling is
    hits = np.random.default_rng(0).binomial(TRIALS, 0.6, size=(1, 1, 300))
    estimate = accuracy(counts_of(hits))
    half_width = 1.96 * (hits / TRIALS).std() / math.sqrt(300)
    assert estimate.high - estimate.value == pytest.approx(half_width, rel=0.05)
    assert estimate.value - estimate.low == pytest.approx(half_width, rel=0.05)
    assert not estimate.over_seeds


@pytest.mark.parametrize(("seeds", "student"), [(10, 2.2622), (40, 2.0227)])
def test_an_interval_over_seeds_that_differ_is_students(seeds: int, student: float) -> None:
    # no noise within a seed: the interval must be mean +- t * s / sqrt(seeds), with s the sample standard deviation
    share = np.random.default_rng(1).normal(500, 60, size=(seeds, 1, 1)).round().astype(np.int64)
    estimate = accuracy(counts_of(np.broadcast_to(share, (seeds, 2, 5)).copy(), 1000))
    half_width = student * share.std(ddof=1) / 1000 / math.sqrt(seeds)
    assert (estimate.high - estimate.low) / 2 == pytest.approx(half_width, rel=0.06)
    assert estimate.over_seeds


@pytest.mark.parametrize(("seeds", "least", "most"), [(3, 0.91, 1.0), (5, 0.91, 0.99)])
@pytest.mark.usefixtures("few_resamples")
def test_intervals_over_few_seeds_cover_the_truth_as_often_as_they_say(seeds: int, least: float, most: float) -> None:
    # 200 samples: the standard error of a coverage of 95 % is 1.5 points; without the stretch it is 77 and 85 %
    rng = np.random.default_rng(11)
    estimates = [accuracy(drawn(rng, seeds, 10, 0.1)) for _ in range(200)]
    assert least <= np.mean([estimate.low <= 0.6 <= estimate.high for estimate in estimates]) <= most


@pytest.mark.parametrize(("dof", "expected"), [(1, 12.7062), (4, 2.7764), (9, 2.2622), (10, 2.2281), (30, 2.0423)])
def test_students_quantile_is_that_of_the_tables(dof: int, expected: float) -> None:
    # Abramowitz & Stegun 1964, table 26.10
    assert statistics._student(dof) == pytest.approx(expected, abs=3e-4)


def test_estimates_are_deterministic() -> None:
    counts = drawn(np.random.default_rng(2), 3, 10, 0.1)
    assert accuracy(counts) == accuracy(counts)


def test_a_band_holds_the_accuracy_of_every_round() -> None:
    rng = np.random.default_rng(4)
    curve = {number: drawn(rng, 3, 10, 0.1) for number in (60, 65, 70)}
    for number, estimate in band(curve).items():
        alone = accuracy(curve[number])
        found = (estimate.value, estimate.low, estimate.high)
        assert found == pytest.approx((alone.value, alone.low, alone.high))


def test_a_mean_over_rounds_weighs_rounds_the_same() -> None:
    assert mean_over_rounds({1: constant(256), 2: constant(512), 5: constant(768)}).value == pytest.approx(0.5)


def test_values_of_seeds_have_the_contrast_of_each_seed_alone() -> None:
    first = counts_of(np.array([[[0, 10]], [[20, 20]]]))
    second = counts_of(np.array([[[10, 10]], [[20, 0]]]))
    assert seed_values([(-1, first), (1, second)]) == {0: 0.25, 1: -0.5}


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
def test_the_half_life_of_an_exact_exponential_is_its_own(half: int) -> None:
    found = half_life(constant(100), exponential(30, half))
    assert (found.value, found.low, found.high) == (half, half, half)
    assert not found.censored
    assert found.observed_rounds == 30


def test_a_half_life_beyond_the_run_is_censored_and_its_lower_end_is_the_last_round() -> None:
    found = half_life(constant(100), exponential(30, 31))
    assert (found.value, found.low, found.high) == (math.inf, 30, math.inf)
    assert found.censored


def test_without_an_excess_there_is_nothing_that_lives() -> None:
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


@pytest.mark.usefixtures("few_resamples")
def test_an_interval_of_a_half_life_holds_the_truth_and_may_be_open() -> None:
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
