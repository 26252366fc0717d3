import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT

from experiments.plan import PlannedRun, plan_runs
from fedmeta_flwr.records.results import ResultsError
from fedmeta_flwr.records.writer import ResultsWriter

Plan = Callable[..., list[PlannedRun]]


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    def planned(*names: str, seeds: tuple[int, ...] = (3,), overrides: tuple[str, ...] = ()) -> list[PlannedRun]:
        return plan_runs(
            names,
            dataset="strokes",
            profile="quick",
            seeds=seeds,
            root=tmp_path,
            data_dir=None,
            overrides=overrides,
            app_dir=ROOT,
        )

    return planned


def by_name(runs: list[PlannedRun]) -> dict[str, PlannedRun]:
    return {planned.run.name: planned for planned in runs}


def finish(planned: PlannedRun, status: str = "completed", **changes: Any) -> None:
    with ResultsWriter(planned.folder) as writer:
        writer.write_run({"config": replace(planned.config, **changes).to_run_config()})
        writer.write_end(status, 12.5)


def test_an_attacked_run_starts_from_its_pre_training_after_one_round_of_the_clean_model(plan: Plan) -> None:
    runs = by_name(plan("persistence"))
    pretrain, attack = runs["pretrain-a"], runs["attack-a"]
    assert attack.config.initial_model == str(pretrain.folder / "model.safetensors")
    assert pretrain.config.num_server_rounds == attack.config.attack_round - 2
    assert pretrain.config.attack_round == 0
    assert [pretrain.config.is_evaluated(number) for number in (1, 14, 21, 22)] == [False, False, False, True]


def test_all_runs_of_a_case_group_train_alike_but_for_what_they_are_about(plan: Plan) -> None:
    runs = by_name(plan())
    about = {"attack_round", "results_dir", "step_curves", "adversary_between_attacks", "boost_factor"}
    first = vars(runs["attack-a"].config)
    for name in ("no-attack-a", "without-adversary-a", "boost-1-a"):
        different = {key for key, value in vars(runs[name].config).items() if first[key] != value}
        assert different <= about


def test_a_pre_training_serves_every_attack_key_and_evaluation(plan: Plan) -> None:
    before = plan("persistence")
    finish(before[0])
    after = plan("persistence", overrides=("poison-outer-steps=7", "key-size=4", "evaluate-episodes=3"))
    assert after[0].run.name == "pretrain-a"
    assert after[0].seconds() == 12.5
    assert by_name(after)["attack-a"].config.poison_outer_steps == 7


def test_a_pre_training_of_another_split_or_network_is_refused(plan: Plan) -> None:
    finish(plan("persistence")[0])
    for override in ("backdoor-classes=3", "attack-training-instances=4", "inner-lr=0.2", "pretrain-outer-steps=3"):
        with pytest.raises(ResultsError, match=override.split("=")[0]):
            plan("persistence", overrides=(override,))[0].seconds()


def test_seeds_and_overrides_reach_every_run_but_not_what_a_run_is_about(plan: Plan) -> None:
    runs = plan("boost-1", seeds=(3, 4), overrides=("filters=8", "boost-factor=2.5"))
    assert [planned.config.seed for planned in runs] == [3, 3, 3, 4, 4, 4]
    assert {planned.config.filters for planned in runs} == {8}
    factors = {planned.run.name: planned.config.boost_factor for planned in runs}
    assert factors == {"pretrain-a": 3.0, "boost-1-a": 1.0, "attack-a": 2.5}


def test_a_finished_run_says_how_long_it_took_and_a_missing_one_does_not(plan: Plan) -> None:
    finished, missing = plan("boost-1")[:2]
    finish(finished)
    assert finished.seconds() == 12.5
    assert missing.seconds() is None


def test_results_of_another_configuration_are_refused_with_file_and_setting(plan: Plan) -> None:
    planned = plan("boost-1")[0]
    finish(planned, filters=5)
    with pytest.raises(ResultsError, match=r"pretrain-a/results.jsonl: .*filters: expected 24, found 5"):
        planned.seconds()


def test_results_of_another_version_are_refused(plan: Plan) -> None:
    planned = plan("boost-1")[0]
    finish(planned)
    file = planned.folder / "results.jsonl"
    run, end = file.read_text().splitlines()
    record = json.loads(run)
    del record["config"]["matching-way"]
    record["config"]["matching-ways"] = 20
    file.write_text("\n".join([json.dumps(record), end]) + "\n")
    with pytest.raises(ResultsError, match=r"matching-way: expected 20, found 'no such setting'; matching-ways"):
        planned.seconds()


def test_a_run_of_before_there_were_event_files_counts(plan: Plan) -> None:
    (planned,) = plan("no-attack")[1:2]
    with ResultsWriter(planned.folder) as writer:
        config = planned.config.to_run_config()
        writer.write_run({"config": {key: value for key, value in config.items() if key != "tensorboard"}})
        writer.write_end("completed", 2.5)
    assert planned.seconds() == 2.5


def test_paths_and_device_do_not_make_another_configuration(plan: Plan) -> None:
    planned = plan("boost-1")[0]
    with ResultsWriter(planned.folder) as writer:
        elsewhere = replace(planned.config, data_dir="/elsewhere", results_dir="/r", device="cuda")
        writer.write_run({"config": elsewhere.to_run_config()})
        writer.write_end("completed", 1.0)
    assert planned.seconds() == 1.0


def test_a_run_that_failed_is_not_taken_for_finished(plan: Plan) -> None:
    planned = plan("boost-1")[0]
    finish(planned, status="failed: QuorumError")
    with pytest.raises(ResultsError, match="expected a completed run"):
        planned.seconds()


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("dataset=omniglot", "-c: expected no dataset, for .* use --dataset, found 'omniglot'"),
        ("dataset=examples.custom_dataset:load_shapes", "use --dataset"),
        ("seed=7", "use --first-seed"),
        ("case=b", "name experiments"),
        ("results-dir=x", "use --results-dir"),
        ("attack-round=foo", "attack-round: expected a whole number"),
        ("attack-round=0", "attack-round: expected at least pretrain-rounds"),
        ("no-such-setting=1", "no-such-setting"),
    ],
)
def test_an_override_that_would_change_what_the_runs_are_is_refused(plan: Plan, override: str, expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        plan(overrides=(override,))
