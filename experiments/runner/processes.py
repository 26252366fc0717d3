"""All processes that come from one, also after their parents have gone.

A killed SuperLink hands its simulation, and Ray's servers and workers, to the init process: parent ids lose them.
None of them leaves its session, though, so the sessions of all descendants seen so far find every one of them again.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress

import psutil

_POLL_SECONDS = 0.05


class Descendants:
    """The processes that descend from a root.

    Parameters
    ----------
    root : int
        Process id of the root, which leads a session of its own (``start_new_session=True``).
    """

    def __init__(self, root: int) -> None:
        self._sessions = {root}

    def look(self) -> set[int]:
        """Return the ids of all that run now, the root included; learn the sessions that they have opened."""
        running = list(_running())
        while opened := self._opened_sessions(running):
            self._sessions |= opened
        return {process.pid for process, session in running if session in self._sessions}

    def end(self, grace_seconds: float) -> None:
        """Ask all of them to end, wait, and kill those that are left.

        Raises
        ------
        RuntimeError
            If some survive even that; names their ids.
        """
        for ask in (psutil.Process.terminate, psutil.Process.kill):
            for pid in self.look():
                with suppress(psutil.NoSuchProcess):
                    ask(psutil.Process(pid))
            if self.wait(grace_seconds):
                return
        raise RuntimeError(f"expected every started process to end, found still running: {sorted(self.look())}")

    def wait(self, seconds: float) -> bool:
        """Wait until none is left, at most so long; tell whether that came true."""
        deadline = time.monotonic() + seconds
        while self.look():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _opened_sessions(self, running: list[tuple[psutil.Process, int]]) -> set[int]:
        members = {process.pid for process, session in running if session in self._sessions}
        children = {session for process, session in running if process.info["ppid"] in members}
        return children - self._sessions


def _running() -> Iterator[tuple[psutil.Process, int]]:
    """Yield every process with its session, but those that have ended and wait for their parent (zombies)."""
    for process in psutil.process_iter(["ppid", "status"]):
        if process.info["status"] not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            with suppress(OSError):  # it ended meanwhile, or is of another user
                yield process, os.getsid(process.pid)
