import time
from typing import Any

import pytest
from unit.experiments.conftest import MakeConfig, MakeResults

from experiments.runner.activity import runner_activity, server_activity
from experiments.runner.progress import standing
from fedmeta_flwr.records.progress import Progress
from fedmeta_flwr.records.results import RoundRecord, RunResults


@pytest.mark.parametrize(
    ("known", "text"),
    [
        ({"stage": "preparing"}, "preparing the server"),
        ({"stage": "registering", "nodes": 2}, "waiting for clients, 2 of 4 registered"),
        (
            {"stage": "registering", "nodes": 4, "asked": (11, 12, 13, 14), "answered": (13,)},
            "waiting for clients, 1 of 4 answered",
        ),
        (
            {"stage": "training", "clients": (0, 1, 2, 3), "answered": (3, 1)},
            "training, 2 of 4 answered (1, 3); waiting for 0, 2",
        ),
        ({"stage": "training", "clients": (1,), "answered": (1,)}, "training, 1 of 1 answered (1)"),
        ({"stage": "aggregating"}, "aggregating"),
        ({"stage": "evaluating", "clients": (1, 2)}, "evaluation, 0 of 2 answered; waiting for 1, 2"),
        (
            {"stage": "evaluating", "server_round": 4, "clients": (1, 2), "answered": (2,)},
            "evaluation with curves fine-tuning, matching, 1 of 2 answered (2); waiting for 1",
        ),
        ({"stage": "saving"}, "saving"),
        ({"stage": "saving", "clients": (2,)}, "saving, waiting for late answers of 2"),
        ({"stage": "ending", "clients": (2, 3), "answered": (2,)}, "ending, waiting for late answers of 3"),
        (
            {"stage": "training", "clients": tuple(range(99)), "answered": (5,)},
            "training, 1 of 99 answered (5); waiting for 0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12 and 86 more",
        ),
    ],
)
def test_what_the_server_does_is_shown_in_words(known: dict[str, Any], text: str, make_config: MakeConfig) -> None:
    config = make_config(step_curves="fine-tuning matching")
    assert server_activity(config, Progress(**known)).text == text


def test_a_headline_shows_the_current_round_and_how_long_its_stage_has_lasted(
    make_config: MakeConfig, make_results: MakeResults
) -> None:
    config, now = make_config(), time.time()
    progress = Progress(
        stage="training", server_round=4, clients=(0, 1), answered=(1,), stage_began=now - 45, round_began=now - 45
    )
    found = standing(config, None, 100.0, 100.0, server_activity(config, progress))
    assert found.headline == "round 4/8, attack: training, 1 of 2 answered (1); waiting for 0, 45 s"


def test_a_resumed_run_says_so_from_the_start(make_config: MakeConfig, make_results: MakeResults) -> None:
    config, activity = make_config(), runner_activity("starting Flower's SuperLink")
    assert standing(config, None, 0.0, 0.0, activity).headline == "starting Flower's SuperLink, 0 s"
    assert standing(config, make_results(), 0.0, 0.0, activity).headline == (
        "after round 8/8: starting Flower's SuperLink, 0 s"
    )


def test_time_that_no_round_uses_is_not_taken_off_the_time_left(make_config: MakeConfig) -> None:
    config = make_config(attack_round=0, evaluate_every=0)
    results = RunResults({}, tuple(RoundRecord(number, "benign", seconds=6.0) for number in range(1, 5)), None)
    starting = standing(config, results, 50.0, 50.0, runner_activity("starting"))
    assert starting.remaining_seconds == pytest.approx(24, abs=0.5)
    now = time.time()
    training = Progress(stage="training", server_round=5, stage_began=now - 4, round_began=now - 4)
    found = standing(config, results, 50.0, 50.0, server_activity(config, training))
    assert found.remaining_seconds == pytest.approx(20, abs=0.5)


def test_curves_that_nobody_has_measured_yet_are_left_out_of_the_time_left_and_that_is_said(
    make_config: MakeConfig,
) -> None:
    config = make_config(step_curves="head")
    results = RunResults({}, (RoundRecord(1, "pretrain", seconds=1.0),), None)
    assert standing(config, results, 1.0, 0.0).times.endswith(" and the step curves left")
    later = RunResults({}, tuple(RoundRecord(number, "pretrain", seconds=1.0) for number in (1, 2, 3)), None)
    assert "curves" not in standing(config, later, 1.0, 0.0).times
