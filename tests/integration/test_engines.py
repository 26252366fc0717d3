"""The engines write the same bytes, fail in the same words, and continue each other's runs."""

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from integration.faults import FaultyRuns
from integration.kill_trials import SETTINGS

from experiments.engines.inline import InlineGrid, run_inline
from experiments.engines.nodes import Nodes
from experiments.runner.in_place import run_in_place
from experiments.runner.interruption import Interrupted, interruptible
from experiments.runner.outcome import RunFailedError
from experiments.runner.processes import Descendants
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.failure import FILE_NAME as FAILURE_FILE
from fedmeta_flwr.records.progress import FILE_NAME as PROGRESS_FILE
from fedmeta_flwr.records.results import FILE_NAME, read_results

pytestmark = pytest.mark.integration

ROUNDS = 5
LONGEST_SECONDS = 300.0


def settings(folder: Path, **changes: Any) -> dict[str, Any]:
    overrides = {"num-server-rounds": ROUNDS, "attack-round": 3, "evaluate-every": 2, "tensorboard": False}
    places = {"results-dir": str(folder / "run"), "cache-dir": str(folder / "cache")}
    return merge_settings(read_defaults(APP_DIR), SETTINGS | overrides | places | changes)


def written(folder: Path) -> dict[str, bytes]:
    return {name: (folder / "run" / name).read_bytes() for name in (FILE_NAME, "model.safetensors")}


def in_place(folder: Path, show: Callable[..., None] = lambda *_: None, **changes: Any) -> dict[str, bytes]:
    run_in_place(RunConfig.parse(settings(folder, **changes)), "unknown", show)
    return written(folder)


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """What an undisturbed run writes, whose files are removed again."""
    run_inline(settings(tmp_path))
    files = written(tmp_path)
    (tmp_path / "run").rename(tmp_path / "undisturbed")
    return files


def test_a_run_in_place_shows_its_progress_and_leaves_only_results(tmp_path: Path, whole: dict[str, bytes]) -> None:
    shown: list[int] = []
    assert in_place(tmp_path, lambda results, *_: shown.append(len(results.rounds) if results else 0)) == whole
    assert shown[-1] == ROUNDS
    assert not {FAILURE_FILE, PROGRESS_FILE} & {path.name for path in (tmp_path / "run").iterdir()}


def test_an_error_in_place_is_worded_as_on_the_other_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ValueError("out of luck")

    monkeypatch.setattr("fedmeta_flwr.apps.client.make_client", fail)
    with pytest.raises(
        RunFailedError, match=r"^finished:failed: round 1: the quorum .* dropped: 0 failed: out of luck"
    ):
        in_place(tmp_path)
    assert not (tmp_path / "run" / FAILURE_FILE).exists()


def test_a_run_in_place_that_is_interrupted_can_be_resumed(
    tmp_path: Path, whole: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    carry = InlineGrid.carry

    def interrupt(grid: InlineGrid, message: Any) -> None:
        if message.content.config_records.get("config", {}).get("server-round") == 4:
            signal.raise_signal(signal.SIGINT)
        carry(grid, message)

    monkeypatch.setattr(InlineGrid, "carry", interrupt)
    with interruptible(), pytest.raises(Interrupted):
        in_place(tmp_path)
    monkeypatch.setattr(InlineGrid, "carry", carry)
    assert in_place(tmp_path, resume=True) == whole


def test_nodes_are_known_by_partition() -> None:
    nodes = Nodes(3, 7, {})
    contexts = [nodes.context(node_id, nodes.state(node_id)) for node_id in nodes.ids()]
    assert [context.node_config for context in contexts] == [
        {"partition-id": partition_id, "num-partitions": 3} for partition_id in range(3)
    ]


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder for temporary files of all that the test starts."""
    folder = tempfile.mkdtemp(prefix="t", dir="/tmp")  # short: Ray's sockets lie below it
    monkeypatch.setenv("TMPDIR", folder)
    yield Path(folder)
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def runs(tmp_path: Path, temporary: Path) -> FaultyRuns:
    return FaultyRuns(
        tmp_path,
        tmp_path / "run",
        **{"registration-timeout-seconds": LONGEST_SECONDS, "num-server-rounds": 8, "tensorboard": False},
    )


@pytest.mark.slow
def test_ray_flower_and_inline_continue_each_other_after_kills_and_write_the_bytes_of_inline_alone(
    runs: FaultyRuns, temporary: Path
) -> None:
    undisturbed = runs.reference(run_inline)
    kill_the_runner_on_ray_in_round_5(runs)
    assert list(temporary.iterdir()) == []
    errors = kill_the_superlink_in_round_7(runs)
    assert "flower-superlink ended with exit code -9" in errors
    assert list(temporary.iterdir()) == []
    assert [record.server_round for record in read_results(runs.results_dir).rounds] == [1, 2, 3, 4, 5, 6]
    run_in_place(RunConfig.parse(runs.settings() | {"resume": True}), "unknown", lambda *_: None)
    assert runs.written() == undisturbed


def all_silent_in(server_round: int) -> list[Any]:
    """Return the faults by which a run waits in a round until it is killed."""
    return [[server_round, partition_id, 3600.0] for partition_id in (1, 2, 3)]


def kill_the_runner_on_ray_in_round_5(runs: FaultyRuns) -> None:
    process = runs.start("--actors", "2", "--engine", "ray", faults=all_silent_in(5))
    descendants = Descendants(process.pid)
    wait_for_checkpoint(runs.results_dir, 4, process, descendants)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=LONGEST_SECONDS)
    assert descendants.wait(60.0)


def kill_the_superlink_in_round_7(runs: FaultyRuns) -> str:
    """Resume with Flower; return the errors that the runner reports."""
    process = runs.start("--actors", "1", "--engine", "flower", "--resume", faults=all_silent_in(7))
    descendants = Descendants(process.pid)
    wait_for_checkpoint(runs.results_dir, 6, process, descendants)
    os.kill(min(child.pid for child in psutil.Process(process.pid).children()), signal.SIGKILL)  # started first
    _, errors = process.communicate(timeout=60.0)
    assert process.returncode == 1
    assert descendants.look() == set()
    return errors


@pytest.mark.long
def test_on_ray_a_run_that_cannot_go_on_says_why_and_flower_completes_it(runs: FaultyRuns) -> None:
    undisturbed = runs.reference()
    code, errors = runs.run(
        "--actors", "2", "--engine", "ray", faults=[[4, 1, "raise"], [4, 2, "raise"], [4, 3, "raise"]]
    )
    assert code == 1
    assert "round 4: the quorum cannot be reached any more: expected updates of 3 clients" in errors
    assert "1 failed: the client has run out of luck" in errors
    assert "Traceback" not in errors
    assert "--resume" in errors
    code, errors = runs.run("--actors", "2", "--engine", "flower", "--resume")
    assert code == 0, errors
    assert runs.written() == undisturbed


@pytest.mark.long
def test_on_ray_a_killed_actor_and_ctrl_c_end_a_run_that_another_engine_completes(runs: FaultyRuns) -> None:
    undisturbed = runs.reference()
    code, errors = runs.run("--actors", "2", "--engine", "ray", faults=[[3, 2, "die"]])
    assert code == 1
    assert "a process of the simulation has died" in errors or "quorum" in errors
    assert "ActorDiedError" in errors
    process = runs.start("--actors", "2", "--engine", "ray", "--resume", faults=[[6, 1, 3600.0]])
    descendants = Descendants(process.pid)
    wait_for_round(runs.results_dir, 5, process, descendants)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=LONGEST_SECONDS)
    assert process.returncode == 130
    assert "--resume" in errors
    assert descendants.look() == set()
    run_in_place(RunConfig.parse(runs.settings() | {"resume": True}), "unknown", lambda *_: None)
    assert runs.written() == undisturbed


def wait_for_round(folder: Path, server_round: int, process: "subprocess.Popen[str]", descendants: Descendants) -> None:
    file, text = folder / FILE_NAME, f'"server_round": {server_round},'
    wait_for(lambda: file.is_file() and text in file.read_text(encoding="utf-8"), process, descendants)


def wait_for_checkpoint(
    folder: Path, server_round: int, process: "subprocess.Popen[str]", descendants: Descendants
) -> None:
    wait_for((folder / "checkpoints" / f"round-{server_round:08}.safetensors").exists, process, descendants)


def wait_for(happens: Callable[[], bool], process: "subprocess.Popen[str]", descendants: Descendants) -> None:
    while not happens():
        assert process.poll() is None, process.communicate()
        descendants.look()
        time.sleep(0.25)  # a look at all processes takes milliseconds of the two cores
    descendants.look()
