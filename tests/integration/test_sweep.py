"""Runs side by side on a real Ray: stopped and killed, they leave no process, and are resumed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from integration.in_process_app import without_times
from integration.test_reproduce import SEED, SMALL
from integration.test_reproduce import reproduce as reproduce_here

from experiments.engines.inline import run_inline
from experiments.runner.pool import Settings
from experiments.settings import APP_DIR
from fedmeta_flwr.records.results import read_results

pytestmark = pytest.mark.integration

NAMES = ["attack-a", "boost-1-a", "pretrain-a"]
STOPS = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}
"""The exit code by the signal."""

_LONGEST_SECONDS = 240.0


class PoolHere:
    """Stands in for `experiments.runner.pool.ray_pool`: a job runs to its end in this process when it is started."""

    slots = 1

    def __init__(self) -> None:
        self._done: list[str] = []

    def start(self, settings: Settings, git_revision: str) -> None:
        run_inline(dict(settings))
        self._done.append(str(settings["results-dir"]))

    def ended(self, seconds: float) -> dict[str, str | None]:
        return {self._done.pop(): None}


@contextmanager
def pool_here(*_: object, **__: object) -> Iterator[PoolHere]:
    yield PoolHere()


def reproduce(root: Path) -> "subprocess.Popen[str]":
    settings = [part for key, value in SMALL.items() for part in ("-c", f"{key}={value}")]
    arguments = ["--seeds", "1", "--first-seed", "7", "--results-dir", str(root), "--jobs", "2", *settings]
    command = [sys.executable, "-m", "experiments", "reproduce", "boost-1", *arguments]
    return subprocess.Popen(command, cwd=APP_DIR, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize(
    "stops",
    [
        pytest.param([(signal.SIGINT, ["pretrain-a"]), (signal.SIGKILL, ["attack-a", "boost-1-a"])]),
        pytest.param([(signal.SIGTERM, ["attack-a", "boost-1-a"])], marks=pytest.mark.long),
    ],
)
@pytest.mark.slow
def test_stopped_runs_leave_no_process_and_are_resumed_to_the_results_without_ray(
    stops: list[tuple[signal.Signals, list[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "root"
    for number, running in stops:
        stop_while_one_runs(root, running, number)
    last = reproduce(root)
    output, _ = last.communicate(timeout=_LONGEST_SECONDS)
    assert last.returncode == 0, output
    assert sorted(path.name for path in (root / SEED).iterdir()) == NAMES
    monkeypatch.setattr("experiments.runner.reproduce.ray_pool", pool_here)
    beside = reproduce_here(tmp_path / "beside", "boost-1", engine="inline", jobs=1)
    assert beside.exit_code == 0, beside.output
    for name in NAMES:
        first, second = (read_results(folder / SEED / name) for folder in (root, tmp_path / "beside"))
        assert without_times(first) == without_times(second)


def stop_while_one_runs(root: Path, names: list[str], number: signal.Signals) -> None:
    """Start or resume the sweep, and end it when one of the runs has begun; nothing that it has started may be left."""
    process = reproduce(root)
    files = [root / SEED / f"{name}.partial" / "results.jsonl" for name in names]
    deadline = time.monotonic() + _LONGEST_SECONDS
    while not any(file.exists() for file in files):
        assert time.monotonic() < deadline
        assert process.poll() is None, process.communicate()
        time.sleep(0.02)
    started = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, number)
    process.communicate(timeout=_LONGEST_SECONDS)
    assert process.returncode == STOPS[number]
    assert not psutil.wait_procs(started, timeout=20)[1]
