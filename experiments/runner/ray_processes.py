"""Runs on Ray actors without a SuperLink, each with its server in a separate process: the engine ``ray``."""

import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from experiments.engines.job import RayJob
from experiments.runner.engine import RunStatus
from experiments.runner.interruption import uninterrupted
from experiments.runner.program import Program, make_temporary_folder, start_program
from experiments.runner.simulation import SimulationSize, count_cores, simulation_environment
from experiments.settings import APP_DIR
from fedmeta_flwr.records import ResultsError, read_results


def is_complete(folder: Path) -> bool:
    """Return whether a folder has the results of a run that came to its end."""
    try:
        end = read_results(folder).end
    except (OSError, ResultsError):
        return False
    return end is not None and end["status"] == "completed"


class RayProcesses:
    """Starts a process for each run, which starts Ray; an `Engine`.

    As a context manager it leaves nothing behind, however the block ends, also if this process is killed.

    Parameters
    ----------
    git_revision : str
        Passed to the app as the environment variable ``FEDMETA_GIT_REVISION``.
    ray_address : str or None
        Ray cluster that runs use; None: each starts a separate local Ray.
    """

    def __init__(self, git_revision: str = "unknown", ray_address: str | None = None) -> None:
        self._git_revision = git_revision
        self._ray_address = ray_address
        self._programs: dict[str, Program] = {}
        self._folders: dict[str, Path] = {}
        self._endings = ExitStack()

    def __enter__(self) -> Self:
        self._folder = make_temporary_folder(self._endings)
        (self._folder / "empty").mkdir()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with uninterrupted():
            self._endings.close()

    def submit(self, app_dir: Path, settings: Mapping[str, Any], size: SimulationSize) -> str:
        """Start a run and return its id. The app's modules are imported from its folder."""
        run_id = str(len(self._programs) + 1)
        job = self._folder / f"job-{run_id}.json"
        RayJob(
            app_dir=str(app_dir.absolute()),
            settings=settings,
            run_id=int(run_id),
            nodes=size.nodes,
            actors=size.actors,
            gpus=size.gpus,
            gpus_per_actor=size.gpus_per_actor,
            first_actors=max(1, count_cores() - 1),  # the server starts on the other core
            is_local=size.ray_address is None,
        ).write(job)
        self._folders[run_id] = Path(settings["results-dir"])
        self._programs[run_id] = start_program(
            [sys.executable, "-P", "-m", "experiments.engines.ray_job", str(job)],
            self._environment(app_dir),
            work=self._folder / "empty",
            log=self._log(run_id),
            endings=self._endings,
        )
        return run_id

    def status(self, run_id: str) -> RunStatus:
        """Return the status of a run."""
        code = self._programs[run_id].process.poll()
        if code is None:
            return RunStatus("running", "")
        if code and not is_complete(self._folders[run_id]):  # Ray may fail to end after a run that is complete
            return RunStatus("finished:failed", f"the server's process ended with exit code {code}")
        return RunStatus("finished:completed", "")

    def stop(self, run_id: str) -> None:
        """End the processes of a run."""
        self._programs[run_id].end()

    def log(self, run_id: str) -> str:
        """Return what a run has printed so far."""
        return self._log(run_id).read_text(encoding="utf-8", errors="replace")

    def processes(self) -> set[int]:
        """Return the ids of all processes of all runs."""
        return {pid for program in self._programs.values() for pid in program.descendants.look()}

    def _log(self, run_id: str) -> Path:
        return self._folder / f"run-{run_id}.log"

    def _environment(self, app_dir: Path) -> dict[str, str]:
        folders = dict.fromkeys((str(app_dir.absolute()), str(APP_DIR)))
        environment = simulation_environment(self._folder, self._git_revision, self._ray_address)
        return environment | {"PYTHONPATH": os.pathsep.join(folders)}
