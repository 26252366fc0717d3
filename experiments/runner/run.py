"""Check one configuration and run it to its end on an engine."""

import os
import time
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from experiments.engines import DEFAULT_ENGINE, INLINE, RAY
from experiments.runner.activity import Activity, runner_activity
from experiments.runner.display import Show
from experiments.runner.engine import Engine, RunStatus
from experiments.runner.in_place import run_in_place
from experiments.runner.outcome import RunFailedError, failure_reason, run_failed
from experiments.runner.progress import ResultFollower
from experiments.runner.ray_processes import RayProcesses
from experiments.runner.simulation import SimulationSize, read_git_revision
from experiments.runner.superlink import LocalSuperLink, SuperLinkError
from experiments.runner.watching import current_activity, follower_of, same_or_new
from fedmeta_flwr.apps.preflight import preflight
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import (
    ResultsError,
    RunResults,
    read_failure,
    read_results,
    remove_failure,
    remove_progress,
)
from fedmeta_flwr.records.results import FILE_NAME
from fedmeta_flwr.records.run_checkpoints import RunCheckpoints
from fedmeta_flwr.records.writer import locked

_LOOK_SECONDS = 0.25
_POLL_SECONDS = 1.0
_LONGEST_END_SECONDS = 20.0
_LONGEST_START_SECONDS = 300.0
_STARTS = 3


def new_results_dir(name: str, parent: Path) -> Path:
    """Return a folder ``NAME-DATE-TIME`` that does not exist yet."""
    stamped = parent / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
    numbered = (stamped.with_name(f"{stamped.name}-{number}") for number in range(2, 1000))
    return next((path for path in (stamped, *numbered) if not path.exists()), stamped)


def prepare(config: RunConfig, *, is_model_there: bool = True) -> str:
    """Check a run before anything starts: its results folder, and everything that the server would check.

    Returns
    -------
    str
        As `Prepared.warning`.

    Raises
    ------
    ResultsError
        If the folder is in use by another run, or already holds results and the run does not resume them.
    CheckpointError
        If the checkpoint to resume from cannot be used.
    ValueError
        As `preflight` does.
    """
    folder = Path(config.results_dir)
    if folder.is_dir():
        with locked(folder):
            _require_free(folder, config)
    else:
        _require_makeable(folder)
    return preflight(config, is_model_there=is_model_there).warning


def _require_makeable(folder: Path) -> None:
    nearest = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise ResultsError(f"results-dir: expected a folder, or that one can be made, found the file {nearest}")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ResultsError(f"results-dir: expected that {folder} can be made, found that {nearest} cannot be written")


def _require_free(folder: Path, config: RunConfig) -> None:
    if config.resume:
        RunCheckpoints(folder).newest(config)
    elif (file := folder / FILE_NAME).exists():
        raise ResultsError(
            f"results-dir: expected a folder without {FILE_NAME}, or --resume to resume the run in it, found {file}"
        )


def run_to_end(
    config: RunConfig, size: SimulationSize, *, app_dir: Path, show: Show, engine: str = DEFAULT_ENGINE
) -> RunResults:
    """Run one configuration and wait for its end; however it ends, no process and no temporary file is left.

    Parameters
    ----------
    config : RunConfig
        Checked, with absolute paths and a results folder.
    size : SimulationSize
        The run's share of the machine.
    app_dir : Path
        Folder of the Flower App.
    show : callable
        Called several times a second with the content of the result file and the current activity.
    engine : str
        One of `experiments.engines.ENGINES`. The results are the same, and a run that has been stopped on one engine
        may be resumed on another.

    Returns
    -------
    RunResults
        All of it.

    Raises
    ------
    RunFailedError
        If the run does not complete.
    SuperLinkError
        If Flower itself fails.
    """
    folder = Path(config.results_dir)
    remove_progress(folder)  # of a run that was killed
    revision = read_git_revision(app_dir)
    try:
        if engine == INLINE:
            return run_in_place(config, revision, show)
        if engine == RAY:
            with RayProcesses(revision, size.ray_address) as processes:
                return run_on(processes, config, size, app_dir=app_dir, show=show)
        show(follower_of(config).read(), runner_activity("starting Flower's SuperLink"))
        with LocalSuperLink(revision, size.ray_address) as superlink:
            return run_on(superlink, config, size, app_dir=app_dir, show=show)
    finally:
        remove_progress(folder)


def run_on(engine: Engine, config: RunConfig, size: SimulationSize, *, app_dir: Path, show: Show) -> RunResults:
    """Run one configuration on a started engine and wait for its end; otherwise as `run_to_end`.

    Ray gives its node 30 seconds to start, which may be too short on a busy machine. Therefore a run that fails before
    its first round is submitted again, unless its server reports why it failed.
    """
    folder = Path(config.results_dir)
    is_taken = not config.resume and (folder / FILE_NAME).exists()  # then the server refuses, and nothing may resume
    try:
        for start in range(1, _STARTS + 1):
            follower = follower_of(config)
            remove_progress(folder)
            remove_failure(folder)
            began_after = _last_round(follower)
            show(follower.read(), runner_activity("submitting the app"))
            run_id = engine.submit(app_dir, config.to_run_config(), size)
            status = _wait(engine, run_id, config, follower, show)
            if status.is_completed:
                break
            failure = read_failure(folder, int(run_id))
            has_begun = _last_round(follower) != began_after
            if failure or has_begun or is_taken or not status.is_failed or start == _STARTS:
                raise run_failed(folder, failure_reason(status, failure, "" if failure else engine.log(run_id)))
            config = replace(config, resume=True)  # its folder may already have a file without any round
    finally:
        remove_progress(folder)
        remove_failure(folder)
    return read_results(folder)


def _last_round(follower: ResultFollower) -> int:
    results = follower.read()
    return results.rounds[-1].server_round if results and results.rounds else 0


def _wait(engine: Engine, run_id: str, config: RunConfig, follower: ResultFollower, show: Show) -> RunStatus:
    """Follow a run until Flower says that it has ended.

    A client that hangs keeps Flower's simulation from ending. Therefore a run is stopped soon after its results say
    that it has ended. If a simulation's process takes longer than 30 seconds to start, Flower replaces it, again and
    again; that is ended here.
    """
    submitted = asked = time.monotonic()
    overdue = float("inf")
    status = RunStatus("pending", "")
    doing: Activity | None = None
    while True:
        engine.processes()
        now = time.monotonic()
        if now - asked >= _POLL_SECONDS:
            asked, status = now, engine.status(run_id)
        results = follower.read()
        doing = same_or_new(doing, current_activity(config, follower, status))
        show(results, doing)
        if status.is_finished:
            return status
        if results is not None and results.end is not None:
            overdue = min(overdue, now + _LONGEST_END_SECONDS)
            if now > overdue:
                with suppress(SuperLinkError):  # then its processes are ended with the SuperLink
                    engine.stop(run_id)
                return _flower_status(results.end["status"])
        if status.has_not_begun and now > submitted + _LONGEST_START_SECONDS:
            with suppress(SuperLinkError):
                engine.stop(run_id)
            raise RunFailedError(
                f"{status.status}: expected Flower's simulation to begin within {_LONGEST_START_SECONDS:.0f} s. "
                "Flower gives its process 30 s to import what it needs, then starts another; on a busy machine, or "
                "with an environment on a slow disk, that takes longer"
            )
        time.sleep(_LOOK_SECONDS)


def _flower_status(status: str) -> RunStatus:
    """Return the status in a result file in Flower's terms."""
    return RunStatus("finished:completed", "") if status == "completed" else RunStatus("finished:failed", status)
