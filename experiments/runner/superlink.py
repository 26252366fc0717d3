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
import subprocess
import sysconfig
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import tomli_w

from experiments.runner.control_api import ControlApiError, ask_status
from experiments.runner.engine import RunStatus
from experiments.runner.interruption import uninterrupted
from experiments.runner.program import HOST, free_port, make_temporary_folder, start_program
from experiments.runner.simulation import SimulationSize, simulation_environment

_STARTUP_SECONDS = 90.0
_COMMAND_SECONDS = 120.0
_STOP_SECONDS = 15.0
_POLL_SECONDS = 0.05
_STARTS = 3
_QUESTIONS = 3
_LOG_TAIL_LINES = 15


class SuperLinkError(RuntimeError):
    """Flower's SuperLink or its command line failed; the message has its output."""


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
            self._folder = make_temporary_folder(self._endings)
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
        if (code := self._program.process.poll()) is not None:
            raise SuperLinkError(f"flower-superlink ended with exit code {code}:\n{self._log_tail()}")
        return self._program.descendants.look()

    def _status(self, run_id: str) -> RunStatus:
        status = RunStatus(*ask_status(HOST, self._port, int(run_id)))
        if status.is_finished:
            self._running.discard(run_id)
        return status

    def _start(self) -> None:
        for _ in range(_STARTS - 1):
            try:
                return self._start_on(free_port())
            except SuperLinkError:  # another process may have taken the port meanwhile
                if self._program.process.poll() is None:
                    raise
        return self._start_on(free_port())

    def _start_on(self, port: int) -> None:
        self._port = port
        connection = {"address": f"{HOST}:{port}", "insecure": True}
        config = {"superlink": {"default": "runner", "runner": connection}}
        (self._folder / "home" / "config.toml").write_text(tomli_w.dumps(config), encoding="utf-8")
        self._spawn(port)
        self._wait_until_healthy(port)

    def _spawn(self, port: int) -> None:
        # An explicit isolation mode: the simulation runs in separate processes below the SuperLink.
        options = ["--insecure", "--simulation", "--isolation", "subprocess", "--host", HOST, "--port", str(port)]
        command = [_program("flower-superlink"), *options]
        log = self._folder / "superlink.log"
        # Ray's workers import from the folder of work first, then from the app.
        work = self._folder / "empty"
        self._program = start_program(command, self._environment, work=work, log=log, endings=self._endings)

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

    def _log_tail(self) -> str:
        text = (self._folder / "superlink.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-_LOG_TAIL_LINES:])


def _program(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts")) / name)


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=1)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
