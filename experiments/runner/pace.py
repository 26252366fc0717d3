"""How long runs take, learnt from those that have ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from experiments.plan import PlannedRun
from experiments.runner.jobs import Job


@dataclass
class Pace:
    """How long runs take: by name, and on average for names that have not been run yet.

    Of a job that several runs share, each takes an equal part.
    """

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def add(self, planned: PlannedRun, seconds: float) -> None:
        """Add a finished run."""
        self.seconds.setdefault(planned.run.name, []).append(seconds)

    def usual(self, job: Job) -> float | None:
        """Return how long a job has taken with other seeds; None if it has not been run yet."""
        found = [self.seconds.get(one.run.name) for one in job.runs]
        return sum(fmean(seconds) for seconds in found if seconds) if all(found) else None

    def expected(self, waiting: Sequence[Job]) -> float | None:
        """Estimate the time of jobs, one after the other; None if no run has ended yet."""
        if not self.seconds:
            return None
        mean = fmean(fmean(found) for found in self.seconds.values())
        return sum(fmean(self.seconds.get(one.run.name, [mean])) for job in waiting for one in job.runs)
