import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from experiments.analysis.collection import collect
from experiments.analysis.statistics import CountsError
from experiments.settings import APP_DIR, read_defaults
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.entries import ClientEvaluation, Counts
from fedmeta_flwr.records.results import CURVES, FILE_NAME, ResultsError, RoundRecord
from fedmeta_flwr.records.writer import ResultsWriter

CLIENTS, EPISODES, TRIALS = (1, 2), 3, 100
STEPS = {"fine_tuning": (0, 1, 2, 3, 5, 10, 20, 50, 100, 200, 500), "matching": (0, 1, 5, 25), "head": (0, 1, 5, 25)}
CONTROLS = {"fresh_head": STEPS["fine_tuning"], "local_only": STEPS["matching"]}
_STEPS = STEPS | CONTROLS

Hits = Callable[[str, int, int], int]


def hits_of(curve: str, server_round: int, step: int = 0) -> int:
    """Of `TRIALS`, per episode and client of seed 0; every further seed has one more."""
    return 10 * CURVES.index(curve) + server_round + step // 20


def counts(server_round: int, seed: int, step: int = 0, hits: Hits = hits_of) -> dict[str, Counts]:
    return {curve: Counts([hits(curve, server_round, step) + seed] * EPISODES, [TRIALS] * EPISODES) for curve in CURVES}


def evaluation(
    server_round: int, seed: int, *, step_curves: tuple[str, ...] = (), hits: Hits = hits_of
) -> list[ClientEvaluation]:
    measured = {name: {step: counts(server_round, seed, step, hits) for step in _STEPS[name]} for name in step_curves}
    return [ClientEvaluation(client, counts(server_round, seed, hits=hits), measured) for client in CLIENTS]


def settings(dataset: str, seed: int, **changed: Any) -> dict[str, Any]:
    """Four evaluated rounds of seven, the attack in round 5: rounds 2, 4, 5, 6 and 7."""
    schedule = {"num-server-rounds": 7, "pretrain-rounds": 2, "attack-round": 5, "evaluate-every": 2}
    overrides = {key.replace("_", "-"): value for key, value in changed.items()}
    defaults = read_defaults(APP_DIR) | schedule | {"dataset": dataset, "seed": seed, "pretrain-evaluate-every": 2}
    return RunConfig.parse(defaults | overrides).to_run_config()


def write_run(
    root: Path,
    run: str,
    *,
    dataset: str = "strokes",
    profile: str = "quick",
    seed: int = 0,
    folder: str = "",
    status: str = "completed",
    step_curves: tuple[str, ...] = tuple(STEPS),
    hits: Hits = hits_of,
    **changed: Any,
) -> Path:
    """Write a made-up run; the rounds before and of the attack have step curves."""
    config = settings(dataset, seed, **changed)
    parsed = RunConfig.parse(config)
    path = root / dataset / profile / (folder or f"seed-{seed}") / run
    with ResultsWriter(path) as writer:
        writer.write_run({"config": config})
        for number in range(1, parsed.num_server_rounds + 1):
            measured = step_curves if 0 <= parsed.attack_round - number <= 1 else ()
            found = evaluation(number, seed, step_curves=measured, hits=hits) if parsed.is_evaluated(number) else None
            writer.write_round(RoundRecord(number, parsed.phase(number), evaluation=found))
        if status:
            writer.write_end(status, 1.0)
    return path / FILE_NAME


def test_runs_are_collected_by_dataset_profile_name_and_seed(tmp_path: Path) -> None:
    for seed in (10, 2):
        write_run(tmp_path, "attack-b", seed=seed)
    write_run(tmp_path, "no-attack-a", seed=2, attack_round=0)
    write_run(tmp_path, "attack-a", dataset="omniglot", profile="full")
    omniglot, strokes = collect(tmp_path)
    assert (omniglot.dataset, omniglot.profile, list(omniglot.runs)) == ("omniglot", "full", ["attack-a"])
    assert {run: list(seeds) for run, seeds in strokes.runs.items()} == {"attack-b": [2, 10], "no-attack-a": [2]}
    assert strokes.seeds("attack-b") == (2, 10)
    assert strokes.config("attack-b")["seed"] == 2


def test_unfinished_folders_pre_training_and_figures_are_ignored(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    write_run(tmp_path, "attack-b.partial", status="")
    write_run(tmp_path, "pretrain-a", status="")
    write_run(tmp_path, "attack-c", folder="seed-7.partial", status="")
    (tmp_path / "strokes" / "quick" / "figures").mkdir()
    (collection,) = collect(tmp_path)
    assert {run: list(seeds) for run, seeds in collection.runs.items()} == {"attack-a": [0]}


def test_a_root_without_results_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a.partial")
    with pytest.raises(ResultsError, match=f"{tmp_path}: expected results .* found none"):
        collect(tmp_path)
    with pytest.raises(ResultsError, match="missing: expected results"):
        collect(tmp_path / "missing")


@pytest.mark.parametrize(("status", "found"), [("failed: RuntimeError: x", "failed: RuntimeError"), ("", "no end")])
def test_a_run_that_did_not_complete_is_named(tmp_path: Path, status: str, found: str) -> None:
    write_run(tmp_path, "attack-a", seed=1)
    file = write_run(tmp_path, "attack-a", seed=2, status=status)
    with pytest.raises(ResultsError, match=f"{file}: expected a run that completed, found {found}"):
        collect(tmp_path)


def test_a_run_without_a_result_file_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a").unlink()
    with pytest.raises(ResultsError, match=f"attack-a/{FILE_NAME}"):
        collect(tmp_path)


def test_seeds_of_a_run_may_differ_only_in_paths_and_device(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a", seed=0, data_dir="/here", results_dir="/x", device="cpu")
    write_run(tmp_path, "attack-a", seed=1, data_dir="/there", cache_dir="/y", device="auto")
    write_run(tmp_path, "attack-b", seed=0, boost_factor=2.0)
    assert collect(tmp_path)[0].seeds("attack-a") == (0, 1)
    file = write_run(tmp_path, "attack-a", seed=2, shot=1, boost_factor=1.0)
    with pytest.raises(
        ResultsError, match=rf"{file}: expected the settings of .*seed-0.* boost-factor = 1.0.* shot = 1, not 5"
    ):
        collect(tmp_path)


def test_a_folder_that_contradicts_its_settings_is_named(tmp_path: Path) -> None:
    file = write_run(tmp_path, "attack-a", seed=3, folder="seed-4")
    with pytest.raises(ResultsError, match=rf"{file}: expected .*\('strokes', 4\), found \('strokes', 3\)"):
        collect(tmp_path)


def test_points_are_the_counts_of_a_round_over_all_seeds_of_the_run(tmp_path: Path) -> None:
    for seed in (1, 4):
        write_run(tmp_path, "attack-a", seed=seed)
    (collection,) = collect(tmp_path)
    for when, server_round in (("before", 4), ("attack", 5), (7, 7)):
        point = collection.points("attack-a", when, "main_task")  # type: ignore[arg-type]
        assert (point.seeds, point.clients, point.hits.shape) == ((1, 4), CLIENTS, (2, len(CLIENTS), EPISODES))
        assert [set(seed.ravel()) for seed in point.hits] == [{10 + server_round + 1}, {10 + server_round + 4}]
        assert set(point.trials.ravel()) == {TRIALS}


def test_rounds_count_from_the_attack(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    (collection,) = collect(tmp_path)
    rounds = collection.rounds("attack-a", "meta_testing")
    assert {since: point.accuracy() for since, point in rounds.items()} == {0: 0.05, 1: 0.06, 2: 0.07}
    assert list(collection.by_server_round("attack-a", "meta_testing")) == [2, 4, 5, 6, 7]


def test_without_an_attack_rounds_count_from_the_first_evaluated_one(tmp_path: Path) -> None:
    write_run(tmp_path, "no-attack-a", attack_round=0)
    (collection,) = collect(tmp_path)
    rounds = collection.rounds("no-attack-a", "meta_testing")
    assert {since: point.accuracy() for since, point in rounds.items()} == {0: 0.02, 2: 0.04, 4: 0.06, 5: 0.07}
    for when in ("before", "attack"):
        with pytest.raises(ResultsError, match=f"no-attack-a, attack-round 0: expected an evaluated round '{when}'"):
            collection.points("no-attack-a", when, "meta_testing")


def test_steps_are_the_counts_along_a_step_curve_before_and_in_the_attack(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path, "attack-a", seed=seed, step_curves=("fine_tuning",))
    (collection,) = collect(tmp_path)
    for when, server_round in (("before", 4), ("attack", 5)):
        steps = collection.steps("attack-a", when, "fine_tuning", "attack_training")  # type: ignore[arg-type]
        assert list(steps) == list(STEPS["fine_tuning"])
        assert [set(seed.ravel()) for seed in steps[500].hits] == [{20 + server_round + 25 + seed} for seed in (0, 1)]
    assert collection.steps("attack-a", "attack", "matching", "attack_training") == {}


def test_a_run_or_round_that_is_missing_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    (collection,) = collect(tmp_path)
    with pytest.raises(ResultsError, match="strokes/quick: expected a run 'attack-b', found attack-a"):
        collection.rounds("attack-b", "main_task")
    with pytest.raises(ResultsError, match=r"strokes/quick/attack-a.*round 3, found \[2, 4, 5, 6, 7\]"):
        collection.points("attack-a", 3, "main_task")


def test_a_step_that_one_seed_did_not_measure_is_no_gap(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a", seed=0)
    write_run(tmp_path, "attack-a", seed=1, step_curves=("fine_tuning",))
    (collection,) = collect(tmp_path)
    with pytest.raises(CountsError, match="seed 1"):
        collection.steps("attack-a", "attack", "matching", "main_task")


def test_folders_whose_names_are_no_text_are_refused_by_name(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a", profile=os.fsdecode(b"f\xe9"))
    with pytest.raises(ResultsError) as caught:
        collect(tmp_path)
    assert str(caught.value) == f"{tmp_path}: expected folders with names in UTF-8, found 'strokes/f\\udce9'"


def test_rounds_count_from_the_last_round_of_attacks_in_turn(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a", attack_order="in-turn", num_clients=6, num_adversaries=2)
    (collection,) = collect(tmp_path)
    rounds = collection.rounds("attack-a", "meta_testing")
    assert {since: point.accuracy() for since, point in rounds.items()} == {0: 0.06, 1: 0.07}
    assert [collection.server_round("attack-a", when) for when in ("before", "attack")] == [4, 6]
