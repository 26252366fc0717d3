"""Runs side by side on a real Ray: stopped and killed, they leave no process, and are resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from integration.test_reproduce import SEED, SMALL

from experiments.settings import APP_DIR

pytestmark = pytest.mark.integration

_LONGEST_SECONDS = 240.0


def reproduce(root: Path) -> "subprocess.Popen[str]":
    settings = [part for key, value in SMALL.items() for part in ("-c", f"{key}={value}")]
    arguments = ["--seeds", "1", "--first-seed", "7", "--results-dir", str(root), "--jobs", "2", *settings]
    command = [sys.executable, "-m", "experiments", "reproduce", "boost-1", *arguments]
    return subprocess.Popen(command, cwd=APP_DIR, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(
    ("number", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long),
        pytest.param(signal.SIGKILL, -9, marks=pytest.mark.slow),
    ],
)
def test_stopped_runs_leave_no_process_and_are_resumed(tmp_path: Path, number: int, code: int) -> None:
    process = reproduce(tmp_path)
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not (tmp_path / SEED / "pretrain-a.partial" / "results.jsonl").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.1)
    started = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, number)
    process.communicate(timeout=_LONGEST_SECONDS)
    assert process.returncode == code
    assert not psutil.wait_procs(started, timeout=20)[1]
    again = reproduce(tmp_path)
    output, _ = again.communicate(timeout=_LONGEST_SECONDS)
    assert again.returncode == 0, output
    assert sorted(path.name for path in (tmp_path / SEED).iterdir()) == ["attack-a", "boost-1-a", "pretrain-a"]
