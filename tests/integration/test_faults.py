"""Faults in the real simulation: what continues, what ends, and that nothing is lost."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from integration.faults import FaultyRuns

from experiments.runner.processes import Descendants
from fedmeta_flwr.records.drops import DropReason
from fedmeta_flwr.records.results import FILE_NAME, read_results

pytestmark = pytest.mark.integration


def wait_for(happens: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    while not happens():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)


def wait_for_round(results_dir: Path, server_round: int, process: "subprocess.Popen[str]") -> None:
    file, text = results_dir / FILE_NAME, f'"server_round": {server_round},'
    wait_for(lambda: file.is_file() and text in file.read_text(encoding="utf-8"), process)


@pytest.mark.long
def test_a_round_continues_without_clients_that_raise_or_hang(tmp_path: Path) -> None:
    # On a busy machine, a working client must not be mistaken for the one that hangs.
    runs = FaultyRuns(
        tmp_path, tmp_path / "run", **{"num-server-rounds": 8, "attack-round": 0, "late-updates": "drop",
        "adversary-between-attacks": "benign", "latency-sigma": 0.0, "round-timeout-seconds": 90.0,
        "registration-timeout-seconds": 300.0},
    )  # fmt: skip
    faults = [[2, 1, "raise"], [4, 2, 3600.0]]
    process = runs.start(faults=faults)
    wait_for_round(runs.results_dir, 2, process)
    code, errors = runs.run("--actors", "1", "--resume", faults=faults)
    assert code == 2
    assert "expected a folder that no other run uses" in errors
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    rounds = read_results(runs.results_dir).rounds
    assert [len(record.arrivals) for record in rounds] == [3] * 8
    reasons = {
        (record.server_round, dropped.partition_id): dropped.describe()
        for record in rounds
        for dropped in record.dropped
        if dropped.reason == DropReason.FAILED
    }
    assert reasons[2, 1] == "failed: the client has run out of luck"
    assert reasons[4, 2] == "failed: no reply in time"
    overdue = "failed: still owes the reply to an earlier message, which is overdue"
    assert {reason for (server_round, _), reason in reasons.items() if server_round > 4} == {overdue}
    assert {partition for _, partition in reasons} == {1, 2}


@pytest.mark.long
def test_a_run_that_cannot_go_on_ends_with_the_reason_and_is_resumed_without_a_trace(tmp_path: Path) -> None:
    runs = FaultyRuns(tmp_path, tmp_path / "run")
    undisturbed = runs.reference()
    code, errors = runs.run("--actors", "1", faults=[[6, 1, "raise"], [6, 2, "raise"], [6, 3, "raise"]])
    assert code == 1
    assert "round 6: the quorum cannot be reached any more: expected updates of 3 clients" in errors
    assert "out of luck" in errors
    assert "Traceback" not in errors
    assert "--resume" in errors
    code, errors = runs.run("--actors", "4", "--resume", faults=[[9, 2, "die"]])
    assert code == 1
    assert "a process of the simulation has died" in errors or "quorum" in errors
    assert "ActorDiedError" in errors
    process = runs.start("--actors", "2", "--resume")
    wait_for_round(runs.results_dir, 13, process)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "--resume" in errors
    code, errors = runs.run("--actors", "1", "--resume")
    assert code == 0, errors
    assert runs.written() == undisturbed


@pytest.mark.long
def test_a_dropped_update_that_is_computed_at_a_checkpoint_is_not_lost_by_a_kill_right_after_it(tmp_path: Path) -> None:
    # Nobody evaluates in the round of the checkpoint, and of six clients the quorum does not need all.
    runs = FaultyRuns(tmp_path, tmp_path / "run", **{"late-updates": "drop", "num-clients": 6, "evaluate-every": 16})
    undisturbed = runs.reference()
    rounds = [json.loads(line) for line in undisturbed[FILE_NAME].splitlines()][1:4]
    reasons = [dropped["reason"] for record in rounds for dropped in record["dropped"] if dropped["partition_id"] == 3]
    assert reasons == ["straggler", "busy", "straggler"]  # what it was asked for in round 1 is dropped in round 2
    process = runs.start("--actors", "6", faults=[[1, 3, 30.0]])
    wait_for((runs.results_dir / "checkpoints" / "round-00000002.safetensors").exists, process)
    descendants = Descendants(process.pid)
    descendants.look()
    process.kill()
    process.communicate(timeout=60)
    assert descendants.wait(60.0)
    code, errors = runs.run("--actors", "2", "--resume")
    assert code == 0, errors
    assert runs.written() == undisturbed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate disk, which has room for the first checkpoints of a run only."""
    folder = tmp_path / "disk"
    folder.mkdir()
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", folder], check=False).returncode
    ):
        pytest.skip("to mount a disk of its own, the test must run as root")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.mark.long
def test_a_full_disk_and_one_that_cannot_be_written_cost_the_rounds_since_the_last_checkpoint(
    small_disk: Path, tmp_path: Path
) -> None:
    runs = FaultyRuns(tmp_path, small_disk / "run")
    undisturbed = runs.reference()
    filler = small_disk / "filler"
    process = runs.start()
    wait_for_round(runs.results_dir, 7, process)
    filler.write_bytes(b"x" * _free(small_disk))
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "No space left on device" in errors
    filler.unlink()
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    code, errors = runs.run("--actors", "1", "--resume")
    assert code == 2
    assert "results-dir: cannot write" in errors
    assert "Read-only file system" in errors
    subprocess.run(["mount", "-o", "remount,rw", small_disk], check=True)
    code, errors = runs.run("--actors", "1", "--resume")
    assert code == 0, errors
    assert runs.written() == undisturbed


def _free(disk: Path) -> int:
    status = os.statvfs(disk)
    return status.f_bavail * status.f_frsize
