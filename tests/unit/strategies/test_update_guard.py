"""Evaluation replies of clients that may be hostile."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flwr.app import Message, MessageType, RecordDict

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.records.entries import ClientEvaluation, Counts
from fedmeta_flwr.records.results import at_steps
from strategies.errors import RejectedReplyError
from strategies.update_guard import ExpectedCounts, UpdateGuard

COUNTS = {
    "meta_testing": Counts([3, 5], [5, 5]),
    "main_task": Counts([0, 4], [5, 5]),
    "attack_training": Counts([1, 0], [4, 4]),
    "attack_validation": Counts([0, 2], [3, 3]),
}
STEP_CURVES = {"fine_tuning": {0: COUNTS, 500: COUNTS}, "matching": {50: COUNTS}}
PLAIN: dict[str, Any] = messages.counts_to_metrics(COUNTS)
METRICS: dict[str, Any] = PLAIN | messages.step_curves_to_metrics(STEP_CURVES)
ARABIC_50 = "\N{ARABIC-INDIC DIGIT FIVE}\N{ARABIC-INDIC DIGIT ZERO}"
HITS, TRIALS = "matching:50:main-task-hits", "matching:50:main-task-trials"


def read_evaluation(metrics: dict[str, Any], guard: UpdateGuard | None = None) -> ClientEvaluation:
    instruction = Message(RecordDict(), dst_node_id=3, message_type=MessageType.EVALUATE)
    return (guard or UpdateGuard()).read_evaluation(1, messages.evaluate_reply(instruction, 10, metrics), instruction)


def test_counts_and_step_curves_are_read_apart() -> None:
    assert read_evaluation(METRICS) == ClientEvaluation(1, COUNTS, STEP_CURVES)


def test_a_reply_without_step_curves_has_none() -> None:
    assert read_evaluation(PLAIN) == ClientEvaluation(1, COUNTS)


def at_step(step: str) -> dict[str, list[int]]:
    return {f"matching:{step}:{key}": numbers for key, numbers in PLAIN.items()}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"meta-testing-hits": [6, 5]}, "meta_testing: expected 0 <= hits <= trials"),
        ({"fine-tuning:0:meta-testing-hits": [6, 5]}, "meta_testing: expected 0 <= hits <= trials"),
        ({HITS: [-1, 0]}, "main_task: expected 0 <= hits <= trials"),
        ({TRIALS: [5.0, 5.0]}, "main_task: expected 0 <= hits <= trials"),
        ({TRIALS: [5]}, "shorter"),
        ({"matching:50:another-hits": [1]}, "another-trials"),
        ({"another-hits": [1], "another-trials": [1]}, "curves other than"),
        (
            {"guessing:50:main-task-hits": [1], "guessing:50:main-task-trials": [1]},
            "a curve along steps named",
        ),
        ({"attack-training-hits": [0, 0], "attack-training-trials": [0, 4]}, r"above 0 trials .*, found \[0, 4\]"),
        ({"attack-training-hits": [0], "attack-training-trials": [4]}, "expected 2 episodes, found 1"),
        ({"attack-training-hits": [], "attack-training-trials": []}, "expected 2 episodes, found 0"),
        ({HITS: 3, TRIALS: 5}, "not iterable"),
        ({HITS: [float("nan"), 1.0]}, "expected finite numbers"),
        (at_step("many"), "step, found 'many'"),
        (at_step("-1"), "step, found '-1'"),
        (at_step("1.5"), "step, found '1.5'"),
        (at_step(""), "step, found ''"),
    ],
)
def test_malformed_step_curves_are_rejected_with_the_reason(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(RejectedReplyError, match=reason):
        read_evaluation({**METRICS, **changes})


@pytest.mark.parametrize("step", ["50", "050", ARABIC_50])
def test_a_step_that_passes_can_be_read_from_the_result_file(step: str) -> None:
    try:
        evaluation = read_evaluation({**PLAIN, **at_step(step)})
    except RejectedReplyError:
        assert step != "50"
        return
    written = json.loads(json.dumps(evaluation.to_json()))
    assert list(at_steps([ClientEvaluation.from_json(written)], "matching")) == [50]


EXPECTED = ExpectedCounts(
    trials={"meta_testing": 5, "main_task": 5, "attack_training": 4, "attack_validation": 3},
    episodes=2,
    step_curves={"fine_tuning": 2, "matching": 2},
)


def inflated(prefix: str) -> dict[str, list[int]]:
    """More trials than were asked for: the client would weigh more than all others in an accuracy."""
    return {f"{prefix}main-task-hits": [10**12] * 2, f"{prefix}main-task-trials": [10**12] * 2}


def of_one_episode(prefix: str) -> dict[str, list[int]]:
    return {f"{prefix}{key}": numbers[:1] for key, numbers in PLAIN.items()}


def test_what_every_client_has_to_count_is_read() -> None:
    assert read_evaluation(METRICS, UpdateGuard(expected_counts=EXPECTED)) == read_evaluation(METRICS)


@pytest.mark.parametrize("prefix", ["", "fine-tuning:500:", "matching:50:"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        (inflated, "main_task: expected 5 trials in each episode, found"),
        (of_one_episode, "expected 2 episodes, found 1"),
    ],
)
def test_other_numbers_of_episodes_or_trials_than_every_client_counts_are_rejected(
    changes: Callable[[str], dict[str, list[int]]], reason: str, prefix: str
) -> None:
    changed = {**METRICS, **changes(prefix)}
    assert read_evaluation(changed)
    with pytest.raises(RejectedReplyError, match=reason):
        read_evaluation(changed, UpdateGuard(expected_counts=EXPECTED))


@pytest.mark.parametrize(
    ("name", "prefixes"), [("fine_tuning", ["fine-tuning:0:", "fine-tuning:500:"]), ("matching", ["matching:50:"])]
)
def test_a_curve_along_steps_may_have_another_number_of_episodes(name: str, prefixes: list[str]) -> None:
    guard = UpdateGuard(expected_counts=replace(EXPECTED, step_curves={**EXPECTED.step_curves, name: 1}))
    fewer = {**METRICS, **{key: value for prefix in prefixes for key, value in of_one_episode(prefix).items()}}
    assert read_evaluation(fewer, guard) == read_evaluation(fewer)
    with pytest.raises(RejectedReplyError, match="expected 1 episodes, found 2"):
        read_evaluation(METRICS, guard)
