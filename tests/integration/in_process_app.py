"""Runs of the inline engine in separate processes.

They are forked from a process that has imported all of it, once: the imports take longer than a small run.
"""

import multiprocessing
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.engines.inline import run_inline
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.results import RunResults

_LATE_IMPORTS = ("torch._dynamo", "torch.utils.tensorboard", "matplotlib.backends.backend_agg", "matplotlib.figure")
"""What the app imports in the course of a run, in some seconds."""


class ForkedRun:
    """The app in a separate process and session; to be waited for as a `subprocess.Popen` is.

    Parameters
    ----------
    settings : mapping
        A complete run config.
    errors : Path
        Receives what the process writes to standard error.
    git_revision : str
        What the run records as its revision.
    run_id : int
        Flower's.
    """

    def __init__(
        self, settings: Mapping[str, Any], errors: Path, git_revision: str = "unknown", run_id: int = 7
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([__name__, *_LATE_IMPORTS])
        self._process = context.Process(target=_run_alone, args=(dict(settings), str(errors), git_revision, run_id))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code; None while the process lives."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end and return the exit code; raises `subprocess.TimeoutExpired`."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0.0)
        return self._process.exitcode


def _run_alone(settings: dict[str, Any], errors: str, git_revision: str, run_id: int) -> None:
    os.setsid()
    os.environ["FEDMETA_GIT_REVISION"] = git_revision
    with Path(errors).open("wb") as file:
        os.dup2(file.fileno(), sys.stderr.fileno())
    warnings.simplefilter("ignore")
    run_inline(settings, run_id)


def run_in_process(settings: Mapping[str, Any]) -> None:
    """Run the app to its end in a separate process; raises `RuntimeError` with its errors if it fails."""
    with tempfile.TemporaryDirectory() as folder:
        errors = Path(folder, "errors")
        if code := ForkedRun(settings, errors).wait():
            raise RuntimeError(f"the run ended with {code}:\n{errors.read_text(encoding='utf-8')}")


def without_times(results: RunResults) -> list[Any]:
    """Return all records, without what depends on the wall clock, the folders and the checkout."""
    first = {key: value for key, value in results.run.items() if key not in ("config", "git_revision")}
    config = {key: value for key, value in results.run["config"].items() if key not in RunConfig.paths()}
    rounds = [{**vars(record), "seconds": None} for record in results.rounds]
    assert results.end is not None
    return [first, config, *rounds, results.end["model_digest"]]
