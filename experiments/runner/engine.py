"""What the runner asks of an engine that runs the app in other processes."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from experiments.runner.simulation import SimulationSize


@dataclass(frozen=True)
class RunStatus:
    """A run's status in Flower, such as ``running`` or ``finished:completed``, and its details."""

    status: str
    details: str

    @property
    def has_not_begun(self) -> bool:
        """Return whether the run's process has not reported yet."""
        return self.status in ("pending", "starting")

    @property
    def is_finished(self) -> bool:
        """Return whether the run has ended, successfully or not."""
        return self.status.startswith("finished:")

    @property
    def is_failed(self) -> bool:
        """Return whether the run has failed, as opposed to having been stopped."""
        return self.status == "finished:failed"

    @property
    def is_completed(self) -> bool:
        """Return whether the run has ended successfully."""
        return self.status == "finished:completed"


class Engine(Protocol):
    """Carries out runs of an app in other processes; it is a context manager that leaves none of them behind."""

    def submit(self, app_dir: Path, settings: Mapping[str, Any], size: SimulationSize) -> str:
        """Begin a run of an app, and return its id."""
        ...

    def status(self, run_id: str) -> RunStatus:
        """Return the status of a run."""
        ...

    def stop(self, run_id: str) -> None:
        """Stop a run."""
        ...

    def log(self, run_id: str) -> str:
        """Return what a run has printed so far."""
        ...

    def processes(self) -> set[int]:
        """Look at all processes of the engine, which makes sure that they are ended later; return their ids."""
        ...
