"""A separate local Flower SuperLink for one or more runs.

`flwr run` would start a SuperLink itself: detached and on a fixed port. It would also reuse any healthy SuperLink that
it finds there, with that one's environment and folder. So this module starts the documented program
``flower-superlink`` with an explicit address, as a child in a new session. Then its process id is known, its end is
noticed, and Ctrl-C in the terminal does not reach it before `flwr stop` does. Commands go through the `flwr` command
line, which finds the SuperLink through the ``config.toml`` of a separate Flower home. Only the status of a run, which
is asked for continually, is asked without it.
"""

import http.client
import json
import shutil
import socket
import subprocess
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomli_w

from experiments.runner.control_api import ControlApiError, ask_status
from experiments.runner.guardian import guarded
from experiments.runner.interruption import uninterrupted
from experiments.runner.processes import Descendants
from experiments.runner.simulation import SimulationSize, simulation_environment

_HOST = "127.0.0.1"
_STARTUP_SECONDS = 90.0
_COMMAND_SECONDS = 120.0
_STOP_SECONDS = 15.0
_GRACE_SECONDS = 2.0
_POLL_SECONDS = 0.05
_STARTS = 3
_QUESTIONS = 3
_LONGEST_TEMPORARY = 20  # characters; the paths of Ray's sockets below it may have 107 at most
_LOG_TAIL_LINES = 15


class SuperLinkError(RuntimeError):
    """Flower's SuperLink or its command line failed; the message has its output."""


@dataclass(frozen=True)
class RunStatus:
    """A run's status in Flower, such as ``running`` or ``finished:completed``, and its details."""

    status: str
    details: str

    @property
    def has_not_begun(self) -> bool:
        """Return whether the run's process has not reported yet."""
        return self.status in ("pending", "starting")

    @property
    def is_finished(self) -> bool:
        """Return whether the run has ended, successfully or not."""
        return self.status.startswith("finished:")

    @property
    def is_failed(self) -> bool:
        """Return whether the run has failed, as opposed to having been stopped."""
        return self.status == "finished:failed"

    @property
    def is_completed(self) -> bool:
        """Return whether the run has ended successfully."""
        return self.status == "finished:completed"


class LocalSuperLink:
    """A SuperLink on a free port of 127.0.0.1, with its files in a temporary folder.

    As a context manager it leaves nothing behind, however the block ends. It stops a run that is still going on through
    Flower, then ends the SuperLink and whatever is left of its simulation and of Ray, and removes the folder. If this
    process is killed, a guardian does the same.

    Parameters
    ----------
    git_revision : str
        Passed to the app as the environment variable ``FEDMETA_GIT_REVISION``.
    ray_address : str or None
        Ray cluster that simulations run on; None: each starts a separate local Ray.
    """

    def __init__(self, git_revision: str = "unknown", ray_address: str | None = None) -> None:
        self._git_revision = git_revision
        self._ray_address = ray_address
        self._running: set[str] = set()
        self._endings = ExitStack()

    def __enter__(self) -> Self:
        try:
            with uninterrupted():
                self._folder = Path(tempfile.mkdtemp(prefix="fedmeta-", dir=temporary_folder()))
                self._endings.callback(shutil.rmtree, self._folder)
            for folder in ("home", "empty"):
                (self._folder / folder).mkdir()
            self._environment = simulation_environment(self._folder, self._git_revision, self._ray_address)
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def submit(self, app_dir: Path, settings: Mapping[str, Any], size: SimulationSize) -> str:
        """Submit an app and return the id of its run.

        The settings are passed in a TOML file, so that a text may contain spaces, quotes and ``=``.
        """
        overrides = self._folder / "overrides.toml"
        overrides.write_text(tomli_w.dumps(settings), encoding="utf-8")
        federation = size.to_federation_config()
        answer = self._flwr("run", str(app_dir), "--run-config", str(overrides), "--federation-config", federation)
        run_id = str(answer["run-id"])
        self._running.add(run_id)
        return run_id

    def status(self, run_id: str) -> RunStatus:
        """Return the status of a run; ask again if there is no answer, as may happen on a busy machine.

        Raises
        ------
        SuperLinkError
            If the SuperLink has ended, or still does not answer.
        """
        for _ in range(_QUESTIONS - 1):
            with suppress(ControlApiError):
                return self._status(run_id)
            self.processes()
        try:
            return self._status(run_id)
        except ControlApiError as error:
            raise SuperLinkError(str(error)) from error

    def stop(self, run_id: str) -> None:
        """Stop a run."""
        self._flwr("stop", run_id, timeout=_STOP_SECONDS)
        self._running.discard(run_id)

    def log(self, run_id: str) -> str:
        """Return what a run has printed so far."""
        return self._call(["log", run_id, "--show"], _COMMAND_SECONDS).stdout

    def processes(self) -> set[int]:
        """Return the ids of the SuperLink and of all that it has started.

        Raises
        ------
        SuperLinkError
            If the SuperLink itself has ended.
        """
        if (code := self._process.poll()) is not None:
            raise SuperLinkError(f"flower-superlink ended with exit code {code}:\n{self._log_tail()}")
        return self._descendants.look()

    def _status(self, run_id: str) -> RunStatus:
        status = RunStatus(*ask_status(_HOST, self._port, int(run_id)))
        if status.is_finished:
            self._running.discard(run_id)
        return status

    def _start(self) -> None:
        for _ in range(_STARTS - 1):
            try:
                return self._start_on(_free_port())
            except SuperLinkError:  # another process may have taken the port meanwhile
                if self._process.poll() is None:
                    raise
        return self._start_on(_free_port())

    def _start_on(self, port: int) -> None:
        self._port = port
        connection = {"address": f"{_HOST}:{port}", "insecure": True}
        config = {"superlink": {"default": "runner", "runner": connection}}
        (self._folder / "home" / "config.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
        self._spawn(port)
        self._wait_until_healthy(port)

    def _spawn(self, port: int) -> None:
        # An explicit isolation mode: the simulation runs in separate processes below the SuperLink.
        options = ["--insecure", "--simulation", "--isolation", "subprocess", "--host", _HOST, "--port", str(port)]
        with uninterrupted(), (self._folder / "superlink.log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program("flower-superlink"), *options],
                env=self._environment,
                cwd=self._folder / "empty",  # Ray's workers import from this folder first, then from the app
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            self._descendants = Descendants(self._process.pid)
            self._endings.enter_context(guarded(self._process.pid, self._folder))
            self._endings.callback(self._end_processes, self._process, self._descendants)

    def _wait_until_healthy(self, port: int) -> None:
        deadline = time.monotonic() + _STARTUP_SECONDS
        while not _is_healthy(port):
            self.processes()
            if time.monotonic() > deadline:
                raise SuperLinkError(
                    f"flower-superlink: expected it to answer within {_STARTUP_SECONDS:.0f} s:\n{self._log_tail()}"
                )
            time.sleep(_POLL_SECONDS)

    def _flwr(self, *arguments: str, timeout: float = _COMMAND_SECONDS) -> dict[str, Any]:
        result = self._call([*arguments, "--format", "json"], timeout)
        with suppress(json.JSONDecodeError):
            answer = json.loads(result.stdout)
            if isinstance(answer, dict) and answer.get("success"):
                return answer
        self.processes()  # raises if the SuperLink has ended, which is then the reason
        raise SuperLinkError(f"flwr {arguments[0]} failed:\n{(result.stdout + result.stderr).strip()}")

    def _call(self, arguments: list[str], timeout: float) -> "subprocess.CompletedProcess[str]":
        try:
            return subprocess.run(
                [_program("flwr"), *arguments],
                env=self._environment,
                cwd=self._folder / "empty",
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout,
                check=False,
                start_new_session=True,  # only this process handles Ctrl-C
            )
        except subprocess.TimeoutExpired as error:
            raise SuperLinkError(f"flwr {arguments[0]}: expected an answer within {timeout:.0f} s") from error

    def _end(self) -> None:
        with uninterrupted(), self._endings:
            for run_id in sorted(self._running):
                with suppress(SuperLinkError):  # then the processes are ended without Flower's help
                    self.processes()
                    self.stop(run_id)

    @staticmethod
    def _end_processes(process: "subprocess.Popen[bytes]", descendants: Descendants) -> None:
        """End the SuperLink and all its descendants; Ray does not end by itself if the simulation was killed."""
        descendants.look()
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        descendants.end(_GRACE_SECONDS)
        process.wait()

    def _log_tail(self) -> str:
        text = (self._folder / "superlink.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-_LOG_TAIL_LINES:])


def temporary_folder() -> str:
    """Return a folder for temporary files with a path that is short enough for Ray's sockets."""
    folder = tempfile.gettempdir()
    return folder if len(folder) <= _LONGEST_TEMPORARY else "/tmp"


def _program(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts")) / name)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((_HOST, 0))
        return int(free.getsockname()[1])


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(_HOST, port, timeout=1)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
