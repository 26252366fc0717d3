"""Reproduce: run the missing runs of the catalog, one after the other on one SuperLink."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean

from rich.console import Console

from experiments.plan import PlannedRun, plan_runs, require_same
from experiments.runner.activity import clock
from experiments.runner.display import show_progress
from experiments.runner.jobs import Job, jobs_of
from experiments.runner.run import prepare, run_on
from experiments.runner.simulation import read_git_revision, simulation_size
from experiments.runner.superlink import LocalSuperLink
from fedmeta_flwr.records import read_results
from fedmeta_flwr.records.results import FILE_NAME
from fedmeta_flwr.records.writer import locked


@dataclass(frozen=True, kw_only=True)
class ReproduceRequest:
    """A request to reproduce experiments; see `plan_runs`."""

    names: tuple[str, ...]
    dataset: str
    profile: str
    seeds: tuple[int, ...]
    results_root: Path
    data_dir: Path | None
    overrides: tuple[str, ...]
    actors: int | None
    quiet: bool
    app_dir: Path


@dataclass
class Pace:
    """How long runs take: by name, and on average for names that have not been run yet.

    Of a job that several runs share, each takes an equal part.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, planned: PlannedRun, seconds: float) -> None:
        """Add a finished run."""
        self.seconds.setdefault(planned.run.name, []).append(seconds)

    def expected(self, waiting: Sequence[Job]) -> float | None:
        """Estimate the time of the remaining jobs; None if no run has ended yet."""
        if not self.seconds:
            return None
        mean = fmean(fmean(found) for found in self.seconds.values())
        return sum(fmean(self.seconds.get(one.run.name, [mean])) for job in waiting for one in job.runs)


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
    planned = plan_runs(
        request.names,
        dataset=request.dataset,
        profile=request.profile,
        seeds=request.seeds,
        root=request.results_root,
        data_dir=request.data_dir,
        overrides=request.overrides,
        app_dir=request.app_dir,
    )
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
    jobs = jobs_of(missing)
    warnings = [
        prepare(replace(job.config, results_dir=str(job.runs[0].folder)), is_model_there=job.pretraining is None)
        for job in jobs
    ]
    for warning in dict.fromkeys(filter(None, warnings)):
        console.print(f"Warning: {warning}.", markup=False)
    if jobs:
        with locked(request.results_root):
            _run_all(jobs, pace, request, console)
    return planned


def _require_fitting(missing: Sequence[PlannedRun]) -> None:
    """Raise `ResultsError` if a missing run would differ in settings from existing seeds of the same run."""
    for one in missing:
        for file in sorted(one.folder.parent.parent.glob(f"seed-*/{one.run.name}/{FILE_NAME}")):
            require_same(file, read_results(file).run["config"], one.config)


def _run_all(jobs: list[Job], pace: Pace, request: ReproduceRequest, console: Console) -> None:
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
