"""Counts and curves along local steps as metrics of a message, and back."""

from typing import Any

from flwr.app import MetricRecord
from hypothesis import given
from hypothesis import strategies as st

from fedmeta_flwr.protocol.messages import (
    counts_to_metrics,
    metrics_to_counts,
    metrics_to_step_curves,
    step_curves_to_metrics,
)
from fedmeta_flwr.records.entries import Counts
from fedmeta_flwr.records.results import CURVES, STEP_CURVES

numbers = st.lists(st.integers(0, 99), min_size=1, max_size=3)
counts = st.fixed_dictionaries({curve: st.builds(Counts, hits=numbers, trials=numbers) for curve in CURVES})
step_curves = st.dictionaries(
    st.sampled_from(STEP_CURVES), st.dictionaries(st.integers(0, 1000), counts, min_size=1, max_size=3)
)


def test_the_keys_of_metrics_name_step_curve_step_and_curve() -> None:
    both = {"fine_tuning": {500: {"meta_testing": Counts([3], [5])}, 0: {"meta_testing": Counts([1], [5])}}}
    assert step_curves_to_metrics(both) == {
        "fine-tuning:500:meta-testing-hits": [3],
        "fine-tuning:500:meta-testing-trials": [5],
        "fine-tuning:0:meta-testing-hits": [1],
        "fine-tuning:0:meta-testing-trials": [5],
    }


@given(measured=counts, along=step_curves)
def test_counts_and_step_curves_go_through_one_metric_record_and_back(
    measured: dict[str, Counts], along: dict[str, dict[int, dict[str, Counts]]]
) -> None:
    metrics: dict[str, Any] = {"num-examples": 5, "eval-loss": 0.5}
    record = dict(MetricRecord({**metrics, **counts_to_metrics(measured), **step_curves_to_metrics(along)}))
    assert metrics_to_counts(record) == measured
    assert metrics_to_step_curves(record) == along


@given(measured=counts)
def test_plain_counts_have_no_step_curves(measured: dict[str, Counts]) -> None:
    metrics = {"num-examples": 5, **counts_to_metrics(measured)}
    assert metrics_to_step_curves(metrics) == {}
    assert metrics_to_counts(metrics) == measured
