"""All descendants of a process, even after their parents have ended.

When a SuperLink is killed, its simulation and Ray's servers and workers become children of the init process, so parent
ids no longer lead to them. But they stay in their sessions, so the sessions of all descendants seen so far do.
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
        Process id of the root, a session leader (``start_new_session=True``).
    """

    def __init__(self, root: int) -> None:
        self._sessions = {root}

    def look(self) -> set[int]:
        """Return the ids of all that run now, including the root; note the sessions that they have opened."""
        running = list(_running())
        while opened := self._opened_sessions(running):
            self._sessions |= opened
        return {process.pid for process, session in running if session in self._sessions}

    def end(self, grace_seconds: float) -> None:
        """Terminate all of them, wait, and kill those that are left.

        Raises
        ------
        RuntimeError
            If some survive even that; the message has their ids.
        """
        for ask in (psutil.Process.terminate, psutil.Process.kill):
            for pid in self.look():
                with suppress(psutil.NoSuchProcess):
                    ask(psutil.Process(pid))
            if self.wait(grace_seconds):
                return
        raise RuntimeError(f"expected every started process to end, found still running: {sorted(self.look())}")

    def wait(self, seconds: float) -> bool:
        """Wait until none is left, for at most `seconds`; return whether none is left."""
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
    """Yield every process with its session, except zombies, which have ended and wait for their parent."""
    for process in psutil.process_iter(["ppid", "status"]):
        if process.info["status"] not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD):
            with suppress(OSError):  # it has ended, or belongs to another user
                yield process, os.getsid(process.pid)
