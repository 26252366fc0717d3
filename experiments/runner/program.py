"""A program in a new session, which is ended with all that it has started, even if this process is killed."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from experiments.runner.guardian import guarded
from experiments.runner.interruption import uninterrupted
from experiments.runner.processes import Descendants

HOST = "127.0.0.1"
"""All servers of a run listen only here."""

_GRACE_SECONDS = 2.0
_LONGEST_TEMPORARY = 20  # characters; the paths of Ray's sockets below it may have 107 at most


@dataclass(frozen=True)
class Program:
    """A started program: its process, and all that descend from it."""

    process: "subprocess.Popen[bytes]"
    descendants: Descendants

    def end(self) -> None:
        """End all of them; Ray does not end by itself if its driver was killed."""
        self.descendants.look()
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(_GRACE_SECONDS)
        self.descendants.end(_GRACE_SECONDS)
        self.process.wait()


def make_temporary_folder(endings: ExitStack) -> Path:
    """Return a new folder that `endings` removes."""
    with uninterrupted():
        folder = Path(tempfile.mkdtemp(prefix="fedmeta-", dir=temporary_folder()))
        endings.callback(shutil.rmtree, folder)
    return folder


def start_program(
    command: Sequence[str], environment: Mapping[str, str], *, work: Path, log: Path, endings: ExitStack
) -> Program:
    """Start a program that `endings` ends.

    Parameters
    ----------
    command : sequence of str
        The program and its arguments.
    environment : mapping of str to str
        All of its environment.
    work : Path
        The folder that it starts in, below a temporary folder that is removed if this process is killed.
    log : Path
        What it prints is appended to this file.
    endings : ExitStack
        Receives what ends the program.
    """
    with uninterrupted(), log.open("ab") as file:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        program = Program(process, Descendants(process.pid))
        endings.enter_context(guarded(process.pid, work.parent))
        endings.callback(program.end)
    return program


def temporary_folder() -> str:
    """Return a folder for temporary files whose path is short enough for Ray's sockets."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= _LONGEST_TEMPORARY else "/tmp"


def free_port() -> int:
    """Return a port of this machine that nobody listens on at present."""
    with socket.socket() as free:
        free.bind((HOST, 0))
        return int(free.getsockname()[1])
