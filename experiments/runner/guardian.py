"""A small process that cleans up after a runner that was killed.

``python -m experiments.runner.guardian ROOT FOLDER`` starts it.

A runner that ends in any other way ends the processes that it has started. If it is killed (SIGKILL, out of memory),
its pipe to this process closes, and this process ends the SuperLink, the simulation and Ray instead. Otherwise these
would go on and write into a results folder that a resumed run already uses.
"""

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.runner.processes import Descendants

_LOOK_SECONDS = 1.0
_GRACE_SECONDS = 2.0


@contextmanager
def guarded(root: int, folder: Path) -> Iterator[None]:
    """Start a guardian: if this process is killed, it ends a process and its descendants, and removes their folder.

    Parameters
    ----------
    root : int
        Process id of a session leader.
    folder : Path
        Temporary files of these processes.
    """
    from experiments.settings import APP_DIR  # not at the top: the guardian does not need its imports

    guardian = subprocess.Popen(
        [
            sys.executable,
            "-P",
            "-m",
            "experiments.runner.guardian",
            str(root),
            str(folder),
        ],  # -P: do not import from the current folder
        env={**os.environ, "PYTHONPATH": str(APP_DIR)},
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        yield
    finally:
        guardian.communicate(b"all ended")


def watch(root: int, folder: Path) -> None:
    """Track the root's descendants until standard input closes; if it was closed without a message, end them."""
    descendants = Descendants(root)
    told: list[bytes] = []
    reader = threading.Thread(target=lambda: told.append(sys.stdin.buffer.read()))
    reader.start()
    while reader.is_alive():
        descendants.look()
        reader.join(_LOOK_SECONDS)
    if not told[0]:
        descendants.end(_GRACE_SECONDS)
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    watch(int(sys.argv[1]), Path(sys.argv[2]))
