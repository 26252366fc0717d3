import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from unit.made_up_counts import TRIALS, constant, counts_of, drawn

from experiments.analysis import bootstrap
from experiments.analysis.statistics import (
    CountsError,
    EpisodeCounts,
    accuracy,
    band,
    contrast,
    difference,
    episode_counts,
    merge,
    paired,
)
from fedmeta_flwr.records.entries import ClientEvaluation, Counts

SHAPES = st.tuples(st.integers(1, 4), st.integers(1, 3), st.integers(1, 6))
HITS = SHAPES.flatmap(lambda shape: arrays(np.int64, shape, elements=st.integers(0, TRIALS)))


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1_000)


def client(partition_id: int, hits: list[int], trials: list[int]) -> ClientEvaluation:
    return ClientEvaluation(partition_id, {"main_task": Counts(hits, trials)})


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
    evaluations: dict[int, list[ClientEvaluation] | None] = {s: [client(1, [s], [TRIALS])] for s in (3, 5)}
    merged = merge([episode_counts({s: evaluations[s]}, "main_task") for s in (3, 5)])
    at_once = episode_counts(evaluations, "main_task")
    assert merged.seeds == at_once.seeds == (3, 5)
    assert merged.hits.tolist() == at_once.hits.tolist()


@pytest.mark.parametrize(
    ("evaluations", "message"),
    [
        ({}, "at least one seed"),
        ({4: None}, "seed 4: expected an evaluation"),
        ({4: [ClientEvaluation(1, {})]}, "seed 4: expected an evaluation with 'main_task'"),
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
        lambda: contrast([(1, constant(5)), (1, other)]),
        lambda: band({0: constant(5), 1: other}),
        lambda: paired([constant(5), constant(5), other]),
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


def test_permuting_the_episodes_of_both_sides_together_changes_only_bootstrap_noise() -> None:
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


def test_counts_of_some_seeds_are_theirs() -> None:
    counts = counts_of(np.arange(6).reshape(3, 1, 2)).of_seeds((2, 0))
    assert (counts.seeds, counts.hits.tolist(), counts.sizes) == ((2, 0), [[[4, 5]], [[0, 1]]], (2, 4))
    with pytest.raises(CountsError, match=r"seeds \[5\], found \(0, 1, 2\)"):
        constant(1).of_seeds((1, 5))
