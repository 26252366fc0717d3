import numpy as np
import pytest

from strategies import SeededLatency


def test_latencies_are_log_normal_around_the_median() -> None:
    model = SeededLatency(seed=1, median_seconds=2.0, sigma=0.5)
    logs = np.log([model.latency_seconds(r, p) for r in range(1, 301) for p in range(4)])
    # 1200 draws: the mean's standard error is 0.5 / sqrt(1200) = 0.014, that of the deviation 0.010; 4 of each.
    assert abs(logs.mean() - np.log(2.0)) < 0.058
    assert abs(logs.std() - 0.5) < 0.041


def test_a_latency_depends_on_seed_round_and_client_only() -> None:
    latency = SeededLatency(1, 1.0, 0.5).latency_seconds
    assert latency(2, 3) == SeededLatency(1, 1.0, 0.5).latency_seconds(2, 3)
    assert len({latency(2, 3), latency(3, 2), latency(2, 2), SeededLatency(2, 1.0, 0.5).latency_seconds(2, 3)}) == 4


def test_the_first_client_answers_at_once() -> None:
    assert SeededLatency(1, 1.0, 0.5, first=frozenset({0})).latency_seconds(9, 0) == 0.0
    assert SeededLatency(1, 1.0, 0.5, first=frozenset({0})).latency_seconds(9, 1) > 0.0


def test_no_spread_makes_all_equally_fast() -> None:
    latencies = {SeededLatency(1, 3.0, 0.0).latency_seconds(1, partition) for partition in range(4)}
    assert len(latencies) == 1
    assert latencies.pop() == pytest.approx(3.0)
