"""Which adversaries attack in which round, through the whole app."""

from pathlib import Path
from typing import Any

import pytest
from unit.small_federation import SMALL, strokes_cache

from experiments.analysis.report.timeline import arrivals_plot
from experiments.analysis.roles import recorded_roles
from experiments.analysis.table import milestones, missed_attack
from experiments.engines.inline import run_inline
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.records.checkpoint import AFTER_ATTACK_FILE_NAME, MODEL_FILE_NAME, load_checkpoint
from fedmeta_flwr.records.drops import Drop, DropReason
from fedmeta_flwr.records.results import RunResults, read_results

pytestmark = pytest.mark.usefixtures("task_identity")

TINY: dict[str, Any] = {
    "filters": 4,
    "strokes_classes": 80,
    "pretrain_rounds": 0,
    "attack_round": 2,
    "outer_steps": 1,
    "poison_outer_steps": 1,
    "inner_steps": 1,
    "evaluate_inner_steps": 1,
    "evaluate_episodes": 1,
    "checkpoint_every": 0,
    "tensorboard": False,
}


def results_of(folder: Path, **changes: Any) -> RunResults:
    where = {"cache_dir": strokes_cache(folder), "results_dir": str(folder / "run")}
    overrides = {key.replace("_", "-"): value for key, value in {**SMALL, **TINY, **where, **changes}.items()}
    run_inline(merge_settings(read_defaults(APP_DIR), overrides))
    return read_results(folder / "run")


def test_adversaries_attack_in_turn_each_in_a_round_of_its_own_and_with_the_whole_boost(tmp_path: Path) -> None:
    federation = {"num_clients": 5, "num_adversaries": 2, "quorum": 3, "boost_factor": 50.0}
    curves = {"step_curves": "fine-tuning", "evaluate_every": 10, "num_server_rounds": 3}
    results = results_of(tmp_path, attack_order="in-turn", **federation, **curves)
    assert [record.phase for record in results.rounds] == ["benign", "attack", "attack"]
    for record, attacker in zip(results.rounds, (None, 0, 1), strict=True):
        arrived = {arrival.partition_id: arrival.update_norm for arrival in record.arrivals}
        abstained = {drop.partition_id for drop in record.dropped if drop.reason == DropReason.ABSTAINED}
        assert abstained == {0, 1} - {attacker}
        if attacker is not None:
            benign = max(norm for client, norm in arrived.items() if client > 1)
            assert arrived[attacker] > 30 * benign  # one outer step of Adam each: b times as long
    measured = [bool(record.evaluation and record.evaluation[0].step_curves) for record in results.rounds]
    assert measured == [True, False, True]
    assert [bool(record.evaluation) for record in results.rounds] == [True, True, True]
    assert milestones(results)["right after"].server_round == 3
    after, last = (load_checkpoint(tmp_path / "run" / name) for name in (AFTER_ATTACK_FILE_NAME, MODEL_FILE_NAME))
    assert {name: array.tobytes() for name, array in after.arrays.items()} == {
        name: array.tobytes() for name, array in last.arrays.items()
    }
    assert missed_attack(results) == ""


@pytest.mark.parametrize(
    ("federation", "seed", "unasked"),
    [
        ({"quorum": 3, "strategy_options": '{"fraction_train": 0.75}'}, 7, [0]),
        (
            {"num_clients": 7, "num_adversaries": 2, "quorum": 5, "strategy_options": '{"fraction_train": 0.75}'},
            54,
            [0, 1],
        ),
    ],
)
def test_a_round_in_which_no_adversary_is_selected_has_no_attack_and_says_so(
    federation: dict[str, Any], seed: int, unasked: list[int], tmp_path: Path
) -> None:
    results = results_of(
        tmp_path,
        **federation,
        seed=seed,
        adversary_between_attacks="benign",
        num_server_rounds=2,
        evaluate_every=0,
    )
    record = results.at_round(2)
    assert record.phase == "attack"
    assert not {arrival.partition_id for arrival in record.arrivals} & set(unasked)
    assert [drop for drop in record.dropped if drop.partition_id in unasked] == [
        Drop(client, DropReason.UNASKED) for client in unasked
    ]
    told = "; ".join(["unasked"] * len(unasked))
    assert missed_attack(results) == f"The attack of round 2 did not count: {told}."
    label = arrivals_plot(results.rounds, recorded_roles(results.run["config"])).label
    assert "Attack in round 2. No adversary's update was aggregated in round 2." in label
    assert not any(drop.reason == DropReason.UNASKED for drop in results.at_round(1).dropped)
