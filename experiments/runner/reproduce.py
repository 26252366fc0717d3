"""Reproduce: run the missing runs of the catalog, side by side, or one after the other on one SuperLink."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console

from experiments.engines import FLOWER
from experiments.plan import PlannedRun, plan_runs, require_same
from experiments.runner.activity import clock
from experiments.runner.display import show_progress
from experiments.runner.jobs import Job, jobs_of
from experiments.runner.outcome import RunFailedError
from experiments.runner.pace import Pace
from experiments.runner.pool import ray_pool
from experiments.runner.ray_session import require_cluster
from experiments.runner.run import prepare, run_on
from experiments.runner.simulation import count_cores, read_git_revision, simulation_size
from experiments.runner.superlink import LocalSuperLink
from experiments.runner.sweep import Sweep, in_order
from experiments.runner.sweep_display import show_sweep
from experiments.settings import SettingsError
from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.records import ResultsError, read_results
from fedmeta_flwr.records.results import FILE_NAME
from fedmeta_flwr.records.writer import locked


@dataclass(frozen=True, kw_only=True)
class ReproduceRequest:
    """A request to reproduce experiments; see `plan_runs`.

    Attributes
    ----------
    engine : str
        ``"inline"``: runs side by side, each in one process; ``"flower"``: one after the other, with Flower's runtime.
    jobs : int or None
        Runs at once; None: one for each core. For ``inline``.
    ray_address : str or None
        Ray cluster to run on; None: a separate local Ray. For ``inline``.
    actors : int or None
        Processes that play the clients; None: chosen to fit the machine. For ``flower``.
    shares_cases : bool
        Whether runs that differ only in their case share one.
    """

    names: tuple[str, ...]
    dataset: str
    profile: str
    seeds: tuple[int, ...]
    results_root: Path
    data_dir: Path | None
    overrides: tuple[str, ...]
    engine: str
    jobs: int | None
    ray_address: str | None
    actors: int | None
    quiet: bool
    app_dir: Path
    shares_cases: bool = True

    def planned(self) -> list[PlannedRun]:
        """Return the runs that it asks for."""
        return plan_runs(
            self.names,
            dataset=self.dataset,
            profile=self.profile,
            seeds=self.seeds,
            root=self.results_root,
            data_dir=self.data_dir,
            overrides=self.overrides,
            app_dir=self.app_dir,
        )


def reproduce(request: ReproduceRequest, console: Console) -> list[PlannedRun]:
    """Run the missing runs; everything is checked before the first run starts.

    Returns
    -------
    list of PlannedRun
        All of them, finished.

    Raises
    ------
    ValueError
        For bad input: names, settings, data, results of another configuration.
    RunFailedError, SuperLinkError
        If a run does not complete.
    """
    _require_fitting_engine(request)
    planned = request.planned()
    _require_fitting_arrivals(request, planned)
    pace = Pace()
    missing = []
    for one in planned:
        seconds = one.seconds()
        if seconds is None:
            missing.append(one)
        else:
            pace.add(one, seconds)
    console.print(f"{len(planned)} runs, {len(planned) - len(missing)} of them finished: {request.results_root}")
    _require_fitting(missing)
    _require_vacant(missing)
    jobs = jobs_of(missing, shares_cases=request.shares_cases)
    warnings = [
        prepare(replace(job.config, results_dir=str(job.runs[0].folder)), is_model_there=job.pretraining is None)
        for job in jobs
    ]
    for warning in dict.fromkeys(filter(None, warnings)):
        console.print(f"Warning: {warning}.", markup=False)
    if jobs:
        with locked(request.results_root):
            (_run_in_turn if request.engine == FLOWER else _run_side_by_side)(jobs, pace, request, console)
    return planned


def _require_fitting_engine(request: ReproduceRequest) -> None:
    """Raise `SettingsError` for an option that the engine does not have."""
    options = {"jobs": request.jobs, "ray-address": request.ray_address, "actors": request.actors}
    for name in ("jobs", "ray-address") if request.engine == FLOWER else ("actors",):
        if options[name] is not None:
            raise SettingsError(f"--{name}: expected none with --engine {request.engine}, found {options[name]}")
    if request.ray_address is not None:
        require_cluster(request.ray_address)


def _require_fitting_arrivals(request: ReproduceRequest, planned: Sequence[PlannedRun]) -> None:
    """Raise `SettingsError` if a run needs clients that compute at once, and the engine has none."""
    if request.engine == FLOWER:
        return
    from fedmeta_flwr.apps.preflight import arrivals_of  # takes seconds
    from strategies import WallClock

    for one in planned:
        try:
            arrivals = arrivals_of(one.config)
        except RegistryError as error:
            raise SettingsError(str(error)) from error
        if isinstance(arrivals, WallClock):
            raise SettingsError(
                f"arrival-model: expected a model of latencies with --engine {request.engine}, in which clients answer "
                f"one after the other, found {one.config.arrival_model!r}; use --engine {FLOWER}"
            )


def _require_fitting(missing: Sequence[PlannedRun]) -> None:
    """Raise `ResultsError` if a missing run would differ in settings from existing seeds of the same run."""
    for one in missing:
        for file in sorted(one.folder.parent.parent.glob(f"seed-*/{one.run.name}/{FILE_NAME}")):
            require_same(file, read_results(file).run["config"], one.config)


def _require_vacant(missing: Sequence[PlannedRun]) -> None:
    """Raise `ResultsError` if the folder of a missing run exists, which its results cannot replace."""
    for one in missing:
        if one.folder.exists():
            raise ResultsError(f"results-dir: expected no folder of a missing run, found one to remove: {one.folder}")


def _run_side_by_side(jobs: list[Job], pace: Pace, request: ReproduceRequest, console: Console) -> None:
    """Run jobs as Ray tasks; raise `RunFailedError` after the last one if some have failed."""
    slots = None if request.ray_address else request.jobs or min(count_cores(), len(jobs))
    size = simulation_size(jobs[0].config, slots, request.ray_address)
    with (
        ray_pool(size, request.jobs, root=request.results_root.absolute(), app_dir=request.app_dir) as pool,
        show_sweep(console, quiet=request.quiet) as show,
    ):
        sweep = Sweep(in_order(jobs), pool, pace, lambda: read_git_revision(request.app_dir), console, show)
        sweep.run()
    if sweep.failures:
        reasons = "\n".join(f"{title}: {reason}" for title, reason in sweep.failures.items())
        raise RunFailedError(f"{len(sweep.failures)} of {len(jobs)} jobs; run the command again to continue\n{reasons}")


def _run_in_turn(jobs: list[Job], pace: Pace, request: ReproduceRequest, console: Console) -> None:
    began = time.monotonic()
    left = list(jobs)
    while left:
        revision = read_git_revision(request.app_dir)
        with LocalSuperLink(revision) as superlink:
            # A run records the revision with which its SuperLink was started; the checkout may change between runs.
            while left and read_git_revision(request.app_dir) == revision:
                started = time.monotonic()
                if not request.quiet:
                    heading = f"run {len(jobs) - len(left) + 1} of {len(jobs)}: {left[0].title}"
                    console.print(f"{heading} | {clock(started - began)} elapsed{_left(pace.expected(left))}")
                job = left.pop(0)
                config = job.take_up()
                size = simulation_size(config, request.actors)
                later = pace.expected(left)
                with show_progress(config, console, quiet=request.quiet, later_seconds=later) as show:
                    run_on(superlink, config, size, app_dir=request.app_dir, show=show)
                job.place()
                for one in job.runs:
                    pace.add(one, (time.monotonic() - started) / len(job.runs))


def _left(seconds: float | None) -> str:
    return "" if seconds is None else f", about {clock(seconds)} left"
