"""The catalog through real runs: what is finished is skipped, what is missing is made.

One after the other and side by side, without Ray; and both on Ray, which takes a minute or several.
"""

import json
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import Result
from integration.forked_pool import forked_pool
from integration.in_process_app import run_in_process, without_times
from integration.in_process_superlink import InProcessSuperLink
from typer.testing import CliRunner

from experiments.cli.commands import app
from experiments.runner.jobs import Job
from experiments.runner.sweep_display import ShowSweep, SweepStanding
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.results import STEP_CURVES, at_steps, read_results

SMALL = {
    "strokes-classes": 120,
    "image-size": 16,
    "filters": 4,
    "pretrain-rounds": 1,
    "pretrain-outer-steps": 1,
    "attack-round": 4,
    "num-server-rounds": 5,
    "poison-outer-steps": 2,
    "evaluate-every": 1,
    "evaluate-episodes": 2,
    "matching-way": 10,
    "matching-steps": 2,
    "fine-tuning-curve-episodes": 1,
    "fine-tuning-curve-steps": "0 3 5",
    "local-curve-steps": "0 2",
    "tensorboard": "false",
}
SEED = Path("strokes") / "quick" / "seed-7"


def reproduce(root: Path, *names: str, engine: str = "flower", jobs: int | None = None, **settings: int) -> Result:
    values = {**SMALL, **{key.replace("_", "-"): value for key, value in settings.items()}}
    overrides = [part for key, value in values.items() for part in ("-c", f"{key}={value}")]
    seeds = ["--seeds", "1", "--first-seed", "7", "--results-dir", str(root), "--engine", engine]
    seeds += [] if jobs is None else ["--jobs", str(jobs)]
    return CliRunner().invoke(app, ["reproduce", *names, *seeds, *overrides])


@pytest.fixture(
    scope="module",
    params=[
        "side-by-side",
        pytest.param("simulation", marks=[pytest.mark.long, pytest.mark.integration]),
        # Not long: `test_sweep`, which compares a sweep on Ray with one without.
        pytest.param("ray", marks=[pytest.mark.long, pytest.mark.integration]),
    ],
)
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("reproduction")
    unfinished = folder / SEED / "attack-a.partial"
    unfinished.mkdir(parents=True)
    (unfinished / "results.jsonl").write_text("left by a run that was stopped\n")
    with pytest.MonkeyPatch.context() as monkeypatch:
        if request.param == "side-by-side":
            monkeypatch.setattr("experiments.runner.reproduce.ray_pool", forked_pool)
        engine = "flower" if request.param == "simulation" else "inline"
        result = reproduce(folder, "boost-1", "defended-federation", engine=engine)
        assert result.exit_code == 0, result.output
        yield folder


def test_all_runs_are_made_and_nothing_unfinished_is_left(root: Path) -> None:
    names = ["attack-a", "boost-1-a", "defended-a", "pretrain-a"]
    assert sorted(path.name for path in (root / SEED).iterdir()) == names


def test_an_attacked_run_starts_where_its_pre_training_ended(root: Path) -> None:
    pretrain, attack = (read_results(root / SEED / name) for name in ("pretrain-a", "attack-a"))
    assert [record.server_round for record in pretrain.rounds] == [1, 2]
    assert [(record.server_round, record.phase) for record in attack.rounds] == [
        (3, "benign"),
        (4, "attack"),
        (5, "benign"),
    ]
    assert pretrain.end is not None
    assert attack.run["initial_model_digest"] == pretrain.end["model_digest"]


def test_going_on_from_a_model_gives_the_bits_of_a_run_without_a_break(root: Path, tmp_path: Path) -> None:
    settings = json.loads((root / SEED / "attack-a" / "results.jsonl").read_text().splitlines()[0])["config"]
    settings |= {"initial-model": "", "results-dir": str(tmp_path / "whole"), "client-state-dir": ""}
    run_in_process(settings)
    whole, parts = read_results(tmp_path / "whole"), read_results(root / SEED / "attack-a")
    assert whole.end is not None
    assert parts.end is not None
    assert whole.end["model_digest"] == parts.end["model_digest"]
    assert [record.evaluation for record in whole.rounds[2:]] == [record.evaluation for record in parts.rounds]


def test_curves_along_local_steps_are_measured_only_before_and_right_after_the_attack(root: Path) -> None:
    steps = {"fine_tuning": [0, 3, 5], "matching": [0, 2], "head": [0, 2]}
    for record in read_results(root / SEED / "attack-a").rounds:
        for name in STEP_CURVES:
            measured = list(at_steps(record.evaluation or [], name))
            assert measured == (steps[name] if record.server_round in (3, 4) else [])


def test_the_defended_federation_exchanges_no_head_and_keeps_a_memory_for_each_benign_client(root: Path) -> None:
    from safetensors.numpy import load_file

    folder = root / SEED / "defended-a"
    assert not [name for name in load_file(folder / "model.safetensors") if "head" in name or "attention" in name]
    memories = sorted(path.name for path in (folder / "clients").iterdir())
    assert memories == [f"client-{number}.safetensors" for number in (1, 2, 3)]


def test_figures_and_claims_are_drawn_from_what_there_is(root: Path) -> None:
    figures = {path.name for path in (root / "figures").iterdir()}
    for name in ("persistence", "fine-tuning", "rescue", "defended-federation", "controls"):
        assert {f"strokes-quick-{name}.svg", f"strokes-quick-{name}.png"} <= figures
    assert json.loads((root / "claims.json").read_text())
    assert "P6" in (root / "claims.md").read_text()


def test_finished_runs_are_skipped_and_another_configuration_is_refused(root: Path) -> None:
    file = root / SEED / "attack-a" / "results.jsonl"
    before = (file.stat().st_mtime_ns, file.read_bytes())
    again = reproduce(root, "boost-1")
    assert again.exit_code == 0, again.output
    assert "3 runs, 3 of them finished" in again.stdout
    other = reproduce(root, "boost-1", filters=5)
    assert other.exit_code == 2
    assert "filters: expected 5, found 4" in other.stderr
    assert (file.stat().st_mtime_ns, file.read_bytes()) == before


def test_one_after_the_other_by_a_superlink_the_results_are_those_of_runs_side_by_side(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.runner.reproduce.LocalSuperLink", InProcessSuperLink)
    unfinished = tmp_path / SEED / "attack-a.partial"
    unfinished.mkdir(parents=True)
    (unfinished / "results.jsonl").write_text("left by a run that was stopped\n")
    result = reproduce(tmp_path, "boost-1", engine="flower")
    assert result.exit_code == 0, result.output
    names = ["attack-a", "boost-1-a", "pretrain-a"]
    assert sorted(path.name for path in (tmp_path / SEED).iterdir()) == names
    for name in names:
        first, second = (read_results(folder / SEED / name) for folder in (root, tmp_path))
        assert without_times(first) == without_times(second)
    again = reproduce(tmp_path, "boost-1", engine="flower")
    assert "3 runs, 3 of them finished" in again.stdout


def test_cases_b_and_c_share_a_run_and_leave_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.runner.reproduce.ray_pool", forked_pool)
    result = reproduce(tmp_path, "persistence", engine="inline")
    assert result.exit_code == 0, result.output
    names = ["attack-a", "attack-b", "attack-c", "pretrain-a", "pretrain-bc"]
    assert sorted(path.name for path in (tmp_path / SEED).iterdir()) == names
    cases = [read_results(tmp_path / SEED / name).run["config"]["case"] for name in names[:3]]
    assert cases == ["a", "b", "c"]
    again = reproduce(tmp_path, "persistence")
    assert "5 runs, 5 of them finished" in again.stdout


def test_results_are_the_same_one_after_the_other_side_by_side_and_resumed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped while two jobs are going on, and resumed with one at a time."""
    monkeypatch.setattr("experiments.runner.reproduce.ray_pool", forked_pool)
    (tmp_path / SEED).mkdir(parents=True)
    shutil.copytree(root / SEED / "pretrain-a", tmp_path / SEED / "pretrain-a")

    def interrupt(sweep: SweepStanding) -> None:
        if any(one.server_round > 3 for one in sweep.running.values()):
            signal.raise_signal(signal.SIGINT)

    @contextmanager
    def interrupting(*_: object, **__: object) -> Iterator[ShowSweep]:
        yield interrupt

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("experiments.runner.reproduce.show_sweep", interrupting)
        assert reproduce(tmp_path, "boost-1", engine="inline", jobs=2, checkpoint_every=1).exit_code == 130
    assert sorted(path.name for path in (tmp_path / SEED).iterdir() if path.suffix == ".partial")
    result = reproduce(tmp_path, "boost-1", engine="inline", jobs=1)
    assert result.exit_code == 0, result.output
    assert "resumed" in result.output
    for name in ("attack-a", "boost-1-a"):
        first, second = (read_results(folder / SEED / name) for folder in (root, tmp_path))
        assert without_times(first)[2:] == without_times(second)[2:]  # not the settings: checkpoints are more frequent


def test_a_failed_run_is_reported_while_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.runner.reproduce.ray_pool", forked_pool)
    failing = tmp_path / SEED / "pretrain-a.partial"
    take_up = Job.take_up

    def blocked(job: Job) -> RunConfig:
        config = take_up(job)
        if job.partial == failing:
            failing.mkdir(parents=True)
            (failing / "results.jsonl").write_text("of another run")
        return config

    monkeypatch.setattr(Job, "take_up", blocked)
    result = reproduce(tmp_path, "boost-1", "defended-federation", engine="inline", jobs=2)
    assert result.exit_code == 1
    assert "seed 7, boost-1-a: not run, because its pre-training failed" in result.stderr
    assert "expected a folder without results.jsonl" in result.stderr
    assert (tmp_path / SEED / "defended-a").is_dir()


@pytest.mark.parametrize(
    ("engine", "option"), [("flower", "--jobs"), ("flower", "--ray-address"), ("inline", "--actors")]
)
def test_an_option_that_the_engine_does_not_have_is_refused(tmp_path: Path, engine: str, option: str) -> None:
    value = "HOST:1" if option == "--ray-address" else "2"
    arguments = ["reproduce", "--engine", engine, option, value, "--results-dir", str(tmp_path / "root")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"{option}: expected none with --engine {engine}" in result.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nowhere", "127.0.0.1:port"])
def test_a_cluster_that_is_not_there_is_refused_at_once(tmp_path: Path, address: str) -> None:
    arguments = ["reproduce", "--ray-address", address, "--results-dir", str(tmp_path / "root")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"--ray-address: expected a Ray cluster at {address!r}, found none" in result.stderr
    assert not (tmp_path / "root").exists()


@pytest.mark.parametrize("name", ["wall-clock", "strategies.transport.arrivals:wall_clock"])
def test_arrivals_by_the_wall_clock_need_clients_that_run_at_once(tmp_path: Path, name: str) -> None:
    arguments = ["reproduce", "-c", f"arrival-model={name}", "--results-dir", str(tmp_path / "root")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert f"found {name!r}; use --engine flower" in result.stderr
    assert not (tmp_path / "root").exists()
