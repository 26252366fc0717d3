"""The doctor with its run of two rounds, as a program would call it."""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from experiments.settings import APP_DIR

pytestmark = [pytest.mark.integration, pytest.mark.long]

MARK = "FEDMETA_TEST_MARK"


def marked_processes(mark: str) -> list[list[str]]:
    """Return the commands of all processes that inherited a mark."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK) == mark:
                found.append(process.cmdline())
    return found


def test_the_doctor_runs_two_rounds_and_leaves_nothing(tmp_path: Path) -> None:
    folders = ["--results-dir", str(tmp_path / "results"), "--cache-dir", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "experiments", "doctor", "--json", *folders]
    environment = {**os.environ, MARK: str(tmp_path)}
    process = subprocess.run(command, cwd=APP_DIR, env=environment, capture_output=True, text=True, check=False)
    document = json.loads(process.stdout)
    findings = {finding["name"]: finding for finding in document["findings"]}
    assert findings["run"]["verdict"] == "ok", findings["run"]["found"]
    assert findings["learn2learn"]["verdict"] == "ok", findings["learn2learn"]["found"]
    assert findings["run"]["found"].startswith("2 rounds in ")
    assert process.returncode == document["exit_code"] == (document["status"] != "completed")
    assert list(tmp_path.iterdir()) == []
    assert marked_processes(str(tmp_path)) == []
