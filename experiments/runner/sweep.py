"""Run jobs side by side: a job after its pre-training, all others as soon as there is a free core."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from experiments.runner.activity import clock, server_activity
from experiments.runner.display import Timer
from experiments.runner.jobs import Job
from experiments.runner.pace import Pace
from experiments.runner.pool import Pool
from experiments.runner.progress import ResultFollower, Standing
from experiments.runner.sweep_display import ShowSweep, SweepStanding
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import read_progress, remove_progress
from fedmeta_flwr.records.results import FILE_NAME
from fedmeta_flwr.records.run_checkpoints import RunCheckpoints

_LOOK_SECONDS = 0.25


@dataclass
class Sweep:
    """Jobs that run side by side.

    Parameters
    ----------
    jobs : sequence of Job
        In order of preference; a pre-training before the jobs that start from it.
    pool : Pool
        Where they run.
    pace : Pace
        How long runs take; completed as jobs end.
    git_revision : callable
        Returns the revision of the app, which is asked before each job.
    console : Console
        Receives a line when a job begins or ends.
    show : callable
        Shows the progress, several times a second.

    Attributes
    ----------
    failures : dict of str to str
        The title of each job that failed, or could not begin, and why.
    """

    jobs: Sequence[Job]
    pool: Pool
    pace: Pace
    git_revision: Callable[[], str]
    console: Console
    show: ShowSweep
    failures: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._waiting = list(self.jobs)
        self._running: dict[str, _Running] = {}
        self._failed_folders: set[Path] = set()
        self._began = time.monotonic()

    def run(self) -> None:
        """Run all jobs; a failed one is reported, and the others continue, except for those that start from it."""
        try:
            while self._waiting or self._running:
                self._look()
        finally:
            for running in self._running.values():
                remove_progress(running.job.partial)

    def _look(self) -> None:
        self._give_up_dependents()
        for job in [job for job in self._waiting if _is_ready(job)][: self.pool.slots - len(self._running)]:
            self._waiting.remove(job)
            self._start(job)
        if not self._running:
            self._give_up_stranded()
        ended = self.pool.ended(_LOOK_SECONDS) if self._running else {}
        self.show(self._standing())
        for folder, reason in ended.items():
            self._end(self._running.pop(folder), reason)

    def _start(self, job: Job) -> None:
        try:
            running = _Running(job, job.take_up())
        except OSError as error:
            self._fail(job, f"cannot begin: {error}")
            return
        self.pool.start(running.config.to_run_config(), self.git_revision())
        self._running[str(job.partial)] = running
        self._say(f"{job.title}: {'resumed' if running.config.resume else 'started'}")

    def _end(self, running: "_Running", reason: str | None) -> None:
        job, seconds = running.job, running.elapsed_seconds
        remove_progress(job.partial)
        if reason is not None:
            self._fail(job, reason)
            return
        try:
            job.place()
        except OSError as error:
            self._fail(job, f"cannot move its results: {error}")
            return
        for one in job.runs:
            self.pace.add(one, seconds / len(job.runs))
        self._say(f"{job.title}: finished in {clock(seconds)}")

    def _give_up_dependents(self) -> None:
        for job in [job for job in self._waiting if job.pretraining in self._failed_folders]:
            self._waiting.remove(job)
            self._fail(job, "not run, because its pre-training failed")

    def _give_up_stranded(self) -> None:
        for job in [job for job in self._waiting if not _is_ready(job)]:
            self._waiting.remove(job)
            self._fail(job, f"not run: expected {FILE_NAME} of its pre-training in {job.pretraining}, found none")

    def _fail(self, job: Job, reason: str) -> None:
        self.failures[job.title] = reason
        self._failed_folders |= {one.folder for one in job.runs}
        self._say(f"{job.title}: failed: {reason}")

    def _say(self, line: str) -> None:
        self.console.print(line, soft_wrap=True, highlight=False, markup=False)

    def _standing(self) -> SweepStanding:
        standings = {running.job.title: running.standing() for running in self._running.values()}
        return SweepStanding(
            finished=len(self.jobs) - len(self._waiting) - len(self._running) - len(self.failures),
            failed=len(self.failures),
            jobs=len(self.jobs),
            running=standings,
            elapsed_seconds=time.monotonic() - self._began,
            remaining_seconds=self._remaining(standings),
        )

    def _remaining(self, standings: Mapping[str, Standing]) -> float | None:
        """Estimate the time left: that of all jobs over the number of slots, or that of the longest if it is more."""
        waiting = self.pace.expected(self._waiting) if self._waiting else 0.0
        running = [self._remaining_of(running, standings) for running in self._running.values()]
        if waiting is None or None in running:
            return None
        known = [seconds for seconds in running if seconds is not None]
        return max([(waiting + sum(known)) / self.pool.slots, *known])

    def _remaining_of(self, running: "_Running", standings: Mapping[str, Standing]) -> float | None:
        usual = self.pace.usual(running.job)
        if usual is not None:
            return max(0.0, usual - running.elapsed_seconds)
        return standings[running.job.title].remaining_seconds


class _Running:
    """A job that has begun."""

    def __init__(self, job: Job, config: RunConfig) -> None:
        self.job, self.config = job, config
        self._follower = ResultFollower(
            job.partial, RunCheckpoints(job.partial).newest_round() if config.resume else None
        )
        self._timer = Timer(config)
        self._began = time.monotonic()

    @property
    def elapsed_seconds(self) -> float:
        """Return the time since it began."""
        return time.monotonic() - self._began

    def standing(self) -> Standing:
        """Return its state."""
        progress = read_progress(self.job.partial)
        activity = server_activity(self.config, progress) if progress else None
        return self._timer.standing(self._follower.read(), activity)


def _is_ready(job: Job) -> bool:
    return job.pretraining is None or (job.pretraining / FILE_NAME).is_file()


def in_order(jobs: Sequence[Job]) -> list[Job]:
    """Return jobs seed by seed, what others wait for and what takes long first."""
    seeds = list(dict.fromkeys(job.config.seed for job in jobs))

    def rank(job: Job) -> tuple[int, bool, int, int]:
        config = job.config
        return seeds.index(config.seed), job.pretraining is not None, -len(config.case), -len(config.step_curve_names)

    return sorted(jobs, key=rank)
