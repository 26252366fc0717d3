"""What is executed for missing runs of the catalog: a run, or two that share one because only their case differs."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from experiments.catalog import RUNS
from experiments.plan import PlannedRun, partial_of
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.registry import is_custom
from fedmeta_flwr.records import CLIENTS_FOLDER, ResultsError, case_folder
from fedmeta_flwr.records.checkpoint import CheckpointError
from fedmeta_flwr.records.run_checkpoints import RunCheckpoints, finished

_SEE_THE_CASE = ("adversary", "attack", "client", "defense", "poisoning", "strategy")


@dataclass(frozen=True)
class Job:
    """One execution of the app.

    Attributes
    ----------
    runs : tuple of PlannedRun
        The runs that it gives results to; they start from the same pre-training.
    config : RunConfig
        Its settings; results go to `partial`.
    """

    runs: tuple[PlannedRun, ...]
    config: RunConfig

    @property
    def partial(self) -> Path:
        """Folder of its results until it is finished."""
        return Path(self.config.results_dir)

    @property
    def is_shared(self) -> bool:
        """Whether it is evaluated in several cases."""
        return len(self.config.case) > 1

    @property
    def title(self) -> str:
        """Its name on the terminal."""
        run = self.runs[0].run
        return f"seed {self.config.seed}, {run.shared if self.is_shared else run.name}"

    @property
    def pretraining(self) -> Path | None:
        """The folder of the run whose model it starts from."""
        one = self.runs[0]
        return None if one.run.after is None else one.folder.with_name(one.run.after)

    def take_up(self) -> RunConfig:
        """Return the configuration that resumes a stopped job, or begins it again if it cannot be resumed.

        A job that was stopped after its last round is resumed and ends at once. One without a checkpoint of exactly
        this configuration begins again, with the client state from the run that it starts from.
        """
        config = self.config
        try:
            if finished(config, self.partial) or RunCheckpoints(self.partial).newest(config) is not None:
                return replace(config, resume=True)
        except (CheckpointError, ResultsError):
            pass
        if self.partial.is_dir():
            shutil.rmtree(self.partial)
        self._give_memories()
        return config

    def place(self) -> None:
        """Give every run its folder with results, after the job has completed."""
        for one in self.runs:
            case_folder(self.partial, one.config.case, self.config.case).rename(one.folder)
        if self.is_shared:
            shutil.rmtree(self.partial)

    def _give_memories(self) -> None:
        """Copy the state of the clients from the run that this one starts from."""
        if self.pretraining is not None and (kept := self.pretraining / CLIENTS_FOLDER).is_dir():
            shutil.copytree(kept, self.partial / CLIENTS_FOLDER)


def jobs_of(missing: Sequence[PlannedRun], *, shares_cases: bool = True) -> list[Job]:
    """Return the jobs of missing runs, in the same order.

    Runs share a job if all that can share it are missing. They have a job each if one of them was begun separately, or
    if a custom object might not measure, or might use, what a shared evaluation counts, or reads the case; and
    without `shares_cases`.
    """
    groups: dict[Path, list[PlannedRun]] = {}
    for one in missing:
        groups.setdefault((_shared_folder(one) if shares_cases else None) or one.folder, []).append(one)
    return [job for folder, runs in groups.items() for job in _jobs(folder, runs)]


def _shared_folder(one: PlannedRun) -> Path | None:
    objects = [getattr(one.config, kind) for kind in _SEE_THE_CASE]
    is_shareable = one.run.shared is not None and not any(map(is_custom, objects))
    return one.folder.with_name(one.run.shared) if is_shareable and one.run.shared else None


def _jobs(folder: Path, runs: list[PlannedRun]) -> list[Job]:
    partial = partial_of(folder)
    cases = _cases(runs[0])
    is_begun_separately = len(runs) < len(cases) or any(one.partial.is_dir() for one in runs)
    if folder == runs[0].folder or (is_begun_separately and not partial.is_dir()):
        return [Job((one,), one.config) for one in runs]
    return [Job(tuple(runs), replace(runs[0].config, case=cases, results_dir=str(partial)))]


def _cases(one: PlannedRun) -> str:
    """Return the cases of the runs that can share a job with this one."""
    return "".join(run.settings["case"] for run in RUNS.values() if run.shared and run.shared == one.run.shared)
