import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from experiments.runner.processes import Descendants

# A child in another session, which ignores SIGTERM, and the child's id on standard output.
ROOT = """
import subprocess, sys, time
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
child.stdout.readline()
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def family() -> Iterator[tuple["subprocess.Popen[str]", int]]:
    root = subprocess.Popen([sys.executable, "-c", ROOT], stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert root.stdout is not None
    with root:
        child = int(root.stdout.readline())
        try:
            yield root, child
        finally:
            for pid in (root.pid, child):
                with suppress(ProcessLookupError):
                    os.kill(pid, 9)


def test_descendants_are_found_in_other_sessions(family: tuple["subprocess.Popen[str]", int]) -> None:
    root, child = family
    assert Descendants(root.pid).look() == {root.pid, child}


def test_an_orphan_is_found_after_its_parent_has_gone_and_killed_when_it_does_not_listen(
    family: tuple["subprocess.Popen[str]", int],
) -> None:
    root, child = family
    descendants = Descendants(root.pid)
    descendants.look()
    root.kill()
    root.wait()
    assert descendants.look() == {child}
    started = time.monotonic()
    descendants.end(grace_seconds=0.3)
    assert time.monotonic() - started >= 0.3  # it was asked first
    assert descendants.look() == set()


def test_other_processes_are_left_alone(family: tuple["subprocess.Popen[str]", int]) -> None:
    root, _ = family
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True) as other:
        descendants = Descendants(root.pid)
        assert other.pid not in descendants.look()
        descendants.end(grace_seconds=0.3)
        assert other.poll() is None
        other.kill()
