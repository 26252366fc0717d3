import dataclasses
import inspect
from collections.abc import Callable

import pytest
from conftest import default_values

from fedmeta_flwr.config import ConfigError, RunConfig, contradictions
from fedmeta_flwr.config.setting import whole_numbers


def test_the_defaults_are_a_valid_configuration_and_survive_a_round_trip() -> None:
    config = RunConfig.parse(default_values())
    assert list(config.to_run_config().items()) == list(default_values().items()), "also their order"
    assert RunConfig.parse(config.to_run_config()) == config


def test_a_file_of_a_version_without_a_later_setting_is_read_as_what_it_was() -> None:
    recorded = {key: value for key, value in default_values().items() if key != "tensorboard"}
    config = RunConfig.parse(recorded)
    assert not config.tensorboard
    assert config.differences(default_values()) == []
    assert RunConfig.parse(default_values()).differences(recorded) == []


def test_one_error_lists_every_problem_with_key_expected_and_found() -> None:
    values = {**default_values(), "way": "five", "case": "d", "outer-lr": 0, "no-such-key": 1}
    del values["shot"]
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse(values)
    assert caught.value.problems == (
        "no-such-key: no such setting",
        "shot: missing",
        "case: expected one of a, b, c, bc, found 'd'",
        "way: expected a whole number, found 'five' (str)",
        "outer-lr: expected more than 0, found 0",
    )


def test_contradictions_among_valid_settings_are_reported_with_the_invalid_ones() -> None:
    wrong = {"way": 1, "boost-factor": -1, "quorum": 9, "evaluate-every": 0, "step-curves": "head"}
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse({**default_values(), **wrong})
    assert caught.value.problems == (
        "way: expected at least 2, found 1",
        "boost-factor: expected more than 0, found -1",
        "quorum: expected at most num-clients = 4, found 9",
        "step-curves: expected none where evaluate-every = 0, found 'head'",
    )


def test_a_contradiction_with_an_invalid_setting_is_not_made_up() -> None:
    with pytest.raises(ConfigError) as caught:
        RunConfig.parse({**default_values(), "num-clients": 1, "quorum": 9, "image-size": "28", "key-size": 99})
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["image-size", "num-clients"]


def test_every_rule_is_about_settings_that_there_are() -> None:
    fields = {field.name for field in dataclasses.fields(RunConfig)} | {"made_defense", "known_curves"}
    for rule in contradictions._RULES:
        assert set(inspect.signature(rule).parameters) <= fields, rule


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", True, "a whole number"),
        ("seed", 1.0, "a whole number"),
        ("seed", -1, "at least 0"),
        ("seed", 2**63, "a whole number of 64 bits"),
        ("rotation-augmentation", 1, "true or false"),
        ("inner-lr", "0.1", "a number"),
        ("inner-lr", float("nan"), "a finite number"),
        ("key-intensity", 1.5, "at most 1"),
        ("dataset", "mnist", "one of strokes, omniglot"),
        ("dataset", 3, "a text"),
        ("data-dir", "caf\udce9", r"a text that UTF-8 can hold, without NUL, found 'caf\\udce9'"),
        ("data-dir", "a\0b", r"a text that UTF-8 can hold, without NUL, found 'a\\x00b'"),
        ("quorum", 5, "at most num-clients = 4"),
        ("quorum", 4, "while adversaries abstain"),
        ("num-adversaries", 0, "at least 1"),
        ("num-adversaries", 4, "fewer than num-clients = 4"),
        ("attack", "replacement", "one of model-replacement, .*, or 'module:attribute'"),
        ("attack-images", "split", "one of shared, divided"),
        ("pretrain-rounds", 10**6, "at most num-server-rounds"),
        ("attack-round", 10**6, "at most num-server-rounds"),
        ("attack-round", 1, "more than pretrain-rounds"),
        ("key-size", 29, "at most image-size = 28"),
        ("max-num-examples", 49_999, "at least 50000, which these settings make a client report"),
        ("defense", "matching", "one of none, fresh-head, rescue, federation"),
        ("matching-way", 1, "at least 2"),
        ("matching-temperature", 0, "more than 0"),
        ("step-curves", "matching tail nose", "any of fine-tuning, matching, .*, found 'tail', 'nose'"),
        ("step-curves", "fine_tuning", "any of fine-tuning, matching, .*, found 'fine_tuning'"),
        ("step-curves", "head,matching", "found 'head,matching'"),
        ("fine-tuning-curve-steps", "", "ascending whole numbers, separated by spaces, found ''"),
        ("local-curve-steps", "0 2 2", "ascending whole numbers, .* found '0 2 2'"),
        ("local-curve-steps", 5, "a text"),
        ("episodes-at-once", 0, "at least 1"),
    ],
)
def test_a_wrong_value_is_refused_by_its_key(key: str, value: bool | int | float | str, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        RunConfig.parse({**default_values(), key: value})
    assert caught.value.problems[0].startswith(f"{key}: ")


def test_the_examples_of_an_evaluation_count_too(run_config: Callable[..., RunConfig]) -> None:
    many = {"evaluate_episodes": 5000, "max_num_examples": 124_999}
    with pytest.raises(
        ConfigError, match=r"max-num-examples: expected at least 125000, .* of an evaluation, found 124999"
    ):
        run_config(**many)
    run_config(**many, evaluate_every=0)


def test_step_curves_without_any_evaluation_are_refused(run_config: Callable[..., RunConfig]) -> None:
    with pytest.raises(ConfigError, match=r"step-curves: expected none where evaluate-every = 0, found 'matching'"):
        run_config(evaluate_every=0, step_curves="matching")


def test_a_whole_number_serves_as_a_float() -> None:
    config = RunConfig.parse({**default_values(), "outer-lr": 1})
    assert config.outer_lr == 1.0
    assert isinstance(config.outer_lr, float)


def test_a_quorum_is_met_without_the_adversaries_that_abstain(run_config: Callable[..., RunConfig]) -> None:
    assert run_config(num_clients=7, num_adversaries=2, quorum=5)
    with pytest.raises(ConfigError, match=r"num-clients - num-adversaries = 5 while adversaries abstain .*, found 6"):
        run_config(num_clients=7, num_adversaries=2, quorum=6)
    assert run_config(num_clients=7, num_adversaries=2, quorum=7, adversary_between_attacks="benign")


def test_divided_attack_images_suffice_for_every_adversary(run_config: Callable[..., RunConfig]) -> None:
    few = {"num_clients": 30, "num_adversaries": 21, "quorum": 3}
    assert run_config(**few)
    with pytest.raises(ConfigError, match=r"num-adversaries: expected at most .* = 20 where .* 'divided', found 21"):
        run_config(**few, attack_images="divided")


def test_a_quorum_of_all_clients_is_fine_when_the_adversary_takes_part(run_config: Callable[..., RunConfig]) -> None:
    assert run_config(quorum=4, adversary_between_attacks="benign").quorum == 4


@pytest.mark.parametrize(
    ("text", "numbers"), [("0", (0,)), ("7", (7,)), ("0 1 10", (0, 1, 10)), ("  3\t4\n50 ", (3, 4, 50))]
)
def test_a_list_of_steps_is_read(text: str, numbers: tuple[int, ...]) -> None:
    assert whole_numbers(text) == numbers


@pytest.mark.parametrize(
    "text", ["", "  ", "1 1", "2 1", "0 5 3", "-1", "-1 2", "1.5", "1e3", "0,1,2", "0 x", "+1", "²"]
)
def test_a_list_that_is_not_of_ascending_whole_numbers_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected ascending whole numbers, separated by spaces, found") as caught:
        whole_numbers(text)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("curves", "names"),
    [("", ()), ("matching", ("matching",)), ("head  fine-tuning", ("head", "fine_tuning"))],
)
def test_step_curves_are_named_as_in_a_result_file(
    run_config: Callable[..., RunConfig], curves: str, names: tuple[str, ...]
) -> None:
    assert run_config(step_curves=curves).step_curve_names == names


@pytest.mark.parametrize("curve", ["fine-tuning", "head", "fresh-head"])
def test_a_defended_federation_has_no_head_to_measure(run_config: Callable[..., RunConfig], curve: str) -> None:
    with pytest.raises(
        ConfigError, match=f"step-curves: expected only local-only, matching .* found {curve}"
    ) as caught:
        run_config(defense="federation", step_curves=f"matching {curve}")
    assert len(caught.value.problems) == 1
    config = run_config(defense="federation", step_curves="matching local-only")
    assert config.step_curve_names == ("matching", "local_only")
    assert run_config(defense="rescue", step_curves=f"matching {curve}").defense == "rescue"


def test_the_settings_that_name_files_and_folders_are_known() -> None:
    assert RunConfig.paths() == ("data-dir", "cache-dir", "results-dir", "client-state-dir", "initial-model")


def test_two_files_are_compared_setting_by_setting_in_order() -> None:
    values = default_values()
    other = {**values, "way": 7, "extra": 1, "seed": 3}
    del other["shot"]
    assert RunConfig.differing(values, other, but_for={"seed"}) == {
        "extra": ("no such setting", 1),
        "shot": (values["shot"], "no such setting"),
        "way": (values["way"], 7),
    }
    assert RunConfig.parse(values).differences({**values, "way": 7, "seed": 3}, but_for={"seed"}) == [
        "way: expected 5, found 7"
    ]
