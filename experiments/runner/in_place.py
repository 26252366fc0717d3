"""Run one configuration in this process: the engine ``inline``."""

import io
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.runner.display import Show
from experiments.runner.engine import RunStatus
from experiments.runner.outcome import failure_reason, run_failed
from experiments.runner.watching import current_activity, follower_of
from experiments.settings import APP_DIR
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import RunResults, read_failure, read_results, remove_failure

_RUN_ID = 1
_LOOK_SECONDS = 0.25
_REVISION = "FEDMETA_GIT_REVISION"


def require_in_place(actors: int | None, ray_address: str | None, app_dir: Path) -> None:
    """Raise `ValueError` if a run asks for more than this process and the code that it has imported."""
    problems = []
    if actors:
        problems.append(f"actors: expected none with --engine inline, which runs in this process, found {actors}")
    if ray_address:
        problems.append(f"ray-address: expected none with --engine inline, which needs no Ray, found {ray_address}")
    if app_dir.resolve() != APP_DIR:
        problems.append(
            f"app: expected {APP_DIR} with --engine inline, which runs the code of this command, found {app_dir}"
        )
    if problems:
        raise ValueError("\n".join(problems))


def run_in_place(config: RunConfig, git_revision: str, show: Show) -> RunResults:
    """Run one configuration; otherwise as `experiments.runner.run.run_to_end`.

    The run has the main thread, so that a debugger and signals find it; another thread shows the progress.

    Parameters
    ----------
    config : RunConfig
        Checked, with absolute paths and a results folder.
    git_revision : str
        What the run records as its revision.
    show : callable
        Shows the progress.

    Raises
    ------
    RunFailedError
        If the run does not complete.
    """
    from experiments.engines.inline import run_inline  # takes seconds; not for --help

    folder = Path(config.results_dir)
    remove_failure(folder)
    try:
        with _shown(config, show), _kept_log() as log, _revision(git_revision):
            try:
                run_inline(config.to_run_config(), _RUN_ID)
            except Exception as error:
                status = RunStatus("finished:failed", f"{type(error).__name__}: {error}")
                failure = read_failure(folder, _RUN_ID)
                raise run_failed(folder, failure_reason(status, failure, "" if failure else log.getvalue())) from error
    finally:
        remove_failure(folder)
    return read_results(folder)


@contextmanager
def _shown(config: RunConfig, show: Show) -> Iterator[None]:
    """Show the progress from another thread until the block ends."""
    follower, ended = follower_of(config), threading.Event()
    errors: list[Exception] = []

    def watch() -> None:
        try:
            while not ended.wait(_LOOK_SECONDS):
                show(follower.read(), current_activity(config, follower, RunStatus("running", "")))
        except Exception as error:  # such as a closed pipe; the run itself goes on to its end
            errors.append(error)

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if errors:
        raise errors[0]
    show(follower.read())


@contextmanager
def _kept_log() -> Iterator[io.StringIO]:
    """Keep what the app logs instead of printing it, as engines do that run in other processes."""
    log, kept = io.StringIO(), logging.getLogger("flwr")
    handlers, kept.handlers = kept.handlers, [logging.StreamHandler(log)]
    try:
        yield log
    finally:
        kept.handlers = handlers


@contextmanager
def _revision(git_revision: str) -> Iterator[None]:
    """Set the environment variable in which the app finds its revision."""
    before = os.environ.get(_REVISION)
    os.environ[_REVISION] = git_revision
    try:
        yield
    finally:
        if before is None:
            del os.environ[_REVISION]
        else:
            os.environ[_REVISION] = before
