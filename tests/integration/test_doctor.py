"""The doctor with its run of two rounds, as a program would call it."""

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from experiments.settings import APP_DIR

pytestmark = pytest.mark.integration


def test_the_doctor_runs_two_rounds_and_leaves_nothing(tmp_path: Path) -> None:
    folders = ["--results-dir", str(tmp_path / "results"), "--cache-dir", str(tmp_path / "cache")]
    command = [sys.executable, "-m", "experiments", "doctor", "--json", *folders]
    process = subprocess.run(command, cwd=APP_DIR, capture_output=True, text=True, check=False)
    document = json.loads(process.stdout)
    findings = {finding["name"]: finding for finding in document["findings"]}
    assert findings["run"]["found"].startswith("2 rounds in "), findings["run"]
    assert (findings["run"]["verdict"], findings["learn2learn"]["verdict"]) == ("ok", "ok")
    assert process.returncode == document["exit_code"] == (document["status"] != "completed")
    assert list(tmp_path.iterdir()) == []
    assert psutil.Process().children(recursive=True) == []
