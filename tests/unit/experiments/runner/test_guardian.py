"""A killed runner's processes are ended by its guardian."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from experiments.runner.processes import Descendants
from experiments.settings import APP_DIR

RUNNER = """
import subprocess, sys, time
from pathlib import Path
from experiments.runner.guardian import guarded

parent = "import subprocess, time; subprocess.Popen(['sleep', '60'], start_new_session=True); time.sleep(60)"
process = subprocess.Popen([sys.executable, "-c", parent], start_new_session=True, stdout=subprocess.DEVNULL)
with guarded(process.pid, Path(sys.argv[1])):
    time.sleep(2)  # the guardian looks every second
    print(process.pid, flush=True)
    sys.stdin.read()
process.kill()
"""


@pytest.mark.parametrize("ending", ["killed", "by itself"])
def test_what_a_runner_leaves_is_ended_only_when_it_was_killed(ending: str, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments/__init__.py").write_text("raise RuntimeError", encoding="utf-8")  # is not the guardian's
    runner = subprocess.Popen(
        [sys.executable, "-P", "-c", RUNNER, str(folder)],
        env={**os.environ, "PYTHONPATH": str(APP_DIR)},
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert runner.stdout is not None
    descendants = Descendants(runner.pid)
    pid = int(runner.stdout.readline())
    left = descendants.look() - {runner.pid}
    guardian = {one for one in left if "experiments.runner.guardian" in " ".join(psutil.Process(one).cmdline())}
    try:
        if ending == "killed":
            runner.send_signal(signal.SIGKILL)
            assert descendants.wait(20.0)
            assert not folder.exists()
        else:
            runner.communicate("")
            assert not guardian & descendants.look()
            assert folder.exists()
            assert pid not in descendants.look()  # the runner has ended it itself; its child is the test's
    finally:
        descendants.end(5.0)
        runner.communicate()
