from collections.abc import Callable

import pytest

from fedmeta_flwr.config import ConfigError, RunConfig


def test_a_one_shot_attack_takes_part_in_one_round(run_config: Callable[..., RunConfig]) -> None:
    config = run_config(attack_round=61, attack_interval=0, num_server_rounds=100)
    assert [r for r in range(1, 101) if config.is_attack(r)] == [61]


def test_a_schedule_attacks_again_after_every_interval(run_config: Callable[..., RunConfig]) -> None:
    config = run_config(attack_round=61, attack_interval=15, num_server_rounds=100)
    assert [r for r in range(1, 101) if config.is_attack(r)] == [61, 76, 91]


def test_no_attack_round_means_no_attack(run_config: Callable[..., RunConfig]) -> None:
    config = run_config(attack_round=0, attack_interval=5)
    assert not any(config.is_attack(r) for r in range(1, config.num_server_rounds + 1))


def test_the_clean_baseline_every_attack_and_the_end_are_always_evaluated(
    run_config: Callable[..., RunConfig],
) -> None:
    config = run_config(
        pretrain_rounds=10, attack_round=15, num_server_rounds=32, evaluate_every=7, pretrain_evaluate_every=4
    )
    assert [r for r in range(1, 33) if config.is_evaluated(r)] == [4, 8, 14, 15, 17, 24, 31, 32]


def test_evaluate_every_0_means_never(run_config: Callable[..., RunConfig]) -> None:
    config = run_config(evaluate_every=0)
    assert not any(config.is_evaluated(r) for r in range(1, config.num_server_rounds + 1))


def test_phases_and_local_work_follow_the_schedule(run_config: Callable[..., RunConfig]) -> None:
    config = run_config(pretrain_rounds=2, attack_round=3, num_server_rounds=4, pretrain_outer_steps=9, outer_steps=2)
    assert [config.phase(r) for r in (1, 2, 3, 4)] == ["pretrain", "pretrain", "attack", "benign"]
    assert [config.benign_outer_steps(r) for r in (1, 2, 3, 4)] == [9, 9, 2, 2]


@pytest.mark.parametrize(
    ("schedule", "rounds"),
    [
        ({"attack_round": 5}, [4, 5]),
        ({"attack_round": 5, "attack_interval": 2}, [4, 5]),
        ({"attack_round": 10}, [9, 10]),
        ({"attack_round": 1, "pretrain_rounds": 0}, [1]),
        ({"attack_round": 0}, [10]),
    ],
)
def test_step_curves_are_measured_in_rounds_that_are_evaluated_anyway(
    run_config: Callable[..., RunConfig], schedule: dict[str, int], rounds: list[int]
) -> None:
    config = run_config(**{"pretrain_rounds": 2, "num_server_rounds": 10, "evaluate_every": 100, **schedule})
    assert [r for r in range(1, 11) if config.has_step_curves(r)] == rounds
    assert all(config.is_evaluated(r) for r in rounds)


def test_adversaries_attack_in_turn_from_each_attack_round_on(run_config: Callable[..., RunConfig]) -> None:
    config = run_config(num_clients=7, num_adversaries=3, attack_order="in-turn", attack_round=61, attack_interval=15)
    attacks = {r: config.attackers(r) for r in range(1, config.num_server_rounds + 1) if config.is_attack(r)}
    assert attacks == {begin + place: (place,) for begin in (61, 76, 91, 106, 121) for place in range(3)}
    assert [r for r in attacks if config.is_attacker(1, r)] == [62, 77, 92, 107, 122]
    assert all(config.phase(r) == "attack" and config.is_evaluated(r) for r in attacks)
    assert list(config.first_attack) == [61, 62, 63]
    assert [r for r in range(1, 132) if config.has_step_curves(r)] == [60, 63]


def test_adversaries_that_attack_together_all_attack_in_each_attack_round(
    run_config: Callable[..., RunConfig],
) -> None:
    config = run_config(num_clients=7, num_adversaries=3, attack_round=61, attack_interval=1)
    assert config.attack_order == "together"
    assert config.attackers(61) == config.attackers(62) == (0, 1, 2)
    assert config.attackers(60) == ()
    assert list(config.first_attack) == [61]


def test_an_attack_in_the_last_rounds_is_one_with_an_interval_of_1(run_config: Callable[..., RunConfig]) -> None:
    config = run_config(num_server_rounds=100, attack_round=98, attack_interval=1)
    assert [r for r in range(1, 101) if config.is_attack(r)] == [98, 99, 100]


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ({"attack_round": 99}, r"attack-round: expected at most num-server-rounds - num-adversaries \+ 1 = 98 where"),
        ({"attack_interval": 2}, "attack-interval: expected 0 or at least num-adversaries = 3 where attack-order"),
    ],
)
def test_a_sequence_of_attacks_ends_within_the_run_and_before_the_next_one(
    run_config: Callable[..., RunConfig], schedule: dict[str, int], expected: str
) -> None:
    federation = {"num_clients": 7, "num_adversaries": 3, "num_server_rounds": 100}
    assert run_config(**federation, **{"attack_round": 90, **schedule})
    assert run_config(**federation, attack_order="in-turn", attack_round=98, attack_interval=3)
    assert run_config(**federation, attack_order="in-turn", attack_round=0)
    with pytest.raises(ConfigError, match=expected):
        run_config(**federation, attack_order="in-turn", **{"attack_round": 90, **schedule})
