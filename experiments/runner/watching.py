"""What a run is doing, as its files and its engine say."""

from pathlib import Path

from experiments.runner.activity import Activity, runner_activity, server_activity
from experiments.runner.engine import RunStatus
from experiments.runner.progress import ResultFollower
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import read_progress
from fedmeta_flwr.records.run_checkpoints import RunCheckpoints


def follower_of(config: RunConfig) -> ResultFollower:
    """Return what reads the results of a run that is about to begin."""
    folder = Path(config.results_dir)
    return ResultFollower(folder, RunCheckpoints(folder).newest_round() if config.resume else None)


def current_activity(config: RunConfig, follower: ResultFollower, status: RunStatus) -> Activity | None:
    """Return the current activity; None if the run has begun and its activity is unknown."""
    results = follower.read()
    if follower.has_changed and results is not None and results.end is not None:
        return runner_activity("ending the simulation")
    if progress := read_progress(Path(config.results_dir)):
        return server_activity(config, progress)
    if follower.has_changed:
        return None
    if status.has_not_begun:
        return runner_activity("waiting for Flower to start the simulation")
    return runner_activity("starting the clients and the server, which loads the data set")


def same_or_new(before: Activity | None, now: Activity | None) -> Activity | None:
    """Return the previous activity if it is still going on, because it has the time at which it began."""
    return before if before and now and before.text == now.text and not now.server_round else now
