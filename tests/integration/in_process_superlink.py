"""A SuperLink's part in `experiments.runner.run` without Flower's runtime and Ray: it forks the app in one process."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil
from integration.in_process_app import ForkedRun

from experiments.runner.engine import RunStatus
from experiments.runner.simulation import SimulationSize


class InProcessSuperLink:
    """Stands in for `experiments.runner.superlink.LocalSuperLink`: the same app and files, a second for a small run."""

    def __init__(self, git_revision: str = "unknown", ray_address: str | None = None) -> None:
        self._git_revision = git_revision
        self._runs: dict[str, ForkedRun] = {}

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for run_id in self._runs:
            self.stop(run_id)
        self._folder.cleanup()

    def submit(self, app_dir: Path, settings: Mapping[str, Any], size: SimulationSize) -> str:
        """Start the app that the tests import, and return the id of its run."""
        run_id = str(len(self._runs) + 1)
        self._runs[run_id] = ForkedRun(settings, self._errors(run_id), self._git_revision, int(run_id))
        return run_id

    def status(self, run_id: str) -> RunStatus:
        """Return the status of a run."""
        code = self._runs[run_id].poll()
        if code is None:
            return RunStatus("running", "")
        return RunStatus("finished:failed", self.log(run_id)) if code else RunStatus("finished:completed", "")

    def stop(self, run_id: str) -> None:
        """End a run."""
        if self._runs[run_id].poll() is None:
            psutil.Process(self._runs[run_id].pid).kill()
            self._runs[run_id].wait()

    def log(self, run_id: str) -> str:
        """Return what a run has written to standard error."""
        return self._errors(run_id).read_text(encoding="utf-8")

    def processes(self) -> set[int]:
        """Return the ids of the runs that have not ended."""
        return {run.pid for run in self._runs.values() if run.poll() is None}

    def _errors(self, run_id: str) -> Path:
        return Path(self._folder.name, f"errors-{run_id}")
