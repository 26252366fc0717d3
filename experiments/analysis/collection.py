"""The runs of a reproduction, read back from its results root ``R/<dataset>/<profile>/seed-<n>/<run>/results.jsonl``.

A collection holds the runs of one data set and profile, by name and seed. Its methods return counts over all seeds of a
run, as input of `experiments.analysis.statistics`; nothing is averaged here.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from experiments.analysis.audit_files import audit_files
from experiments.analysis.roles import recorded_attack
from experiments.analysis.statistics import EpisodeCounts, episode_counts
from experiments.catalog import MEASURED_RUNS
from experiments.plan import SETTINGS_OF_A_SEED
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.plain_text import is_plain
from fedmeta_flwr.records import ClientEvaluation, ResultsError, RoundRecord, RunResults, at_steps, read_results
from fedmeta_flwr.records.results import FILE_NAME

When = Literal["before", "attack"]
"""The last evaluated round before the attack (the clean baseline), or the last round of the (first) attack.

An attack has one round, or, if adversaries attack in turn, one for each of them.
"""


@dataclass(frozen=True)
class Collection:
    """The completed runs of one data set and profile.

    Attributes
    ----------
    dataset, profile : str
        Names of the folders.
    runs : mapping of str to mapping of int to RunResults
        Run name (one of `catalog.MEASURED_RUNS`, in that order) to seed (ascending) to results. The seeds of a run
        have the same settings except for `SETTINGS_OF_A_SEED`; runs may have different seeds.
    """

    dataset: str
    profile: str
    runs: Mapping[str, Mapping[int, RunResults]]

    def seeds(self, run: str) -> tuple[int, ...]:
        """Return the seeds of a run, ascending; raises `ResultsError` if there is no such run."""
        return tuple(self._results(run))

    def config(self, run: str) -> dict[str, Any]:
        """Return the settings of a run's first seed; those outside `SETTINGS_OF_A_SEED` are the same for all seeds."""
        return dict(next(iter(self._results(run).values())).run["config"])

    def evaluated(self, run: str) -> list[int]:
        """Return the server rounds that any seed evaluated, ascending; raises `ResultsError` without such a run."""
        rounds = {record.server_round for results in self._results(run).values() for record in results.evaluated()}
        return sorted(rounds)

    def server_round(self, run: str, when: int | When) -> int:
        """Return the number of an evaluated round, from 1.

        Parameters
        ----------
        run : str
            Its name.
        when : int, ``"before"`` or ``"attack"``
            A server round, or see `When`.

        Raises
        ------
        ResultsError
            If there is no such run, or it has no such round with an evaluation.
        """
        attack, evaluated = recorded_attack(self.config(run)), self.evaluated(run)
        found = [number for number in evaluated if _is_at(number, when, attack)]
        if found:
            return found[-1]
        where = f"{self._where(run)}, attack-round {attack.start}"
        raise ResultsError(f"{where}: expected an evaluated round {when!r}, found {evaluated}")

    def points(self, run: str, when: int | When, curve: str) -> EpisodeCounts:
        """Return the counts of one curve in one round, over all seeds that have the run.

        Parameters
        ----------
        run, when
            As in `server_round`: a number is a server round, not one since the attack.
        curve : str
            One of `fedmeta_flwr.records.results.CURVES`.

        Raises
        ------
        ResultsError
            As `server_round`.
        CountsError
            If a seed lacks this round or curve, or seeds differ in clients or episodes.
        """
        return episode_counts(self._evaluations(run, self.server_round(run, when)), curve)

    def by_server_round(self, run: str, curve: str) -> dict[int, EpisodeCounts]:
        """Return a curve over all evaluated rounds: server round (from 1) to counts; raises as `points` does."""
        return {number: self.points(run, number, curve) for number in self.evaluated(run)}

    def rounds(self, run: str, curve: str) -> dict[int, EpisodeCounts]:
        """Return a curve from the attack on.

        Returns
        -------
        dict of int to EpisodeCounts
            Rounds since the (first) attack, 0 being its last round, ascending; without an attack, rounds since the
            first evaluated one. Only evaluated rounds.

        Raises
        ------
        ResultsError, CountsError
            As `points`.
        """
        attack, evaluated = recorded_attack(self.config(run)), self.evaluated(run)
        first = attack[-1] if attack else self.server_round(run, evaluated[0] if evaluated else 1)
        return {number - first: self.points(run, number, curve) for number in evaluated if number >= first}

    def has_steps(self, run: str, step_curve: str) -> bool:
        """Return whether any seed of a run has this step curve; `steps` raises if other seeds lack it."""
        records = (record for results in self.runs.get(run, {}).values() for record in results.evaluated())
        return any(step_curve in client.step_curves for record in records for client in record.evaluation or ())

    def steps(self, run: str, when: When, step_curve: str, curve: str) -> dict[int, EpisodeCounts]:
        """Return a curve along local steps.

        Parameters
        ----------
        run, when
            As in `server_round`.
        step_curve : str
            One of `fedmeta_flwr.records.results.STEP_CURVES`.
        curve : str
            One of `fedmeta_flwr.records.results.CURVES`.

        Returns
        -------
        dict of int to EpisodeCounts
            Steps, ascending; empty if no seed measured this step curve in this round.

        Raises
        ------
        ResultsError, CountsError
            As `points`; also if one seed measured a step and another did not.
        """
        evaluations = self._evaluations(run, self.server_round(run, when))
        per_seed = {seed: at_steps(evaluation or [], step_curve) for seed, evaluation in evaluations.items()}
        steps = sorted({step for evaluation in per_seed.values() for step in evaluation})
        return {
            step: episode_counts({seed: evaluation.get(step) for seed, evaluation in per_seed.items()}, curve)
            for step in steps
        }

    def _results(self, run: str) -> Mapping[int, RunResults]:
        if run not in self.runs:
            found = ", ".join(self.runs) or "none"
            raise ResultsError(f"{self.dataset}/{self.profile}: expected a run {run!r}, found {found}")
        return self.runs[run]

    def _evaluations(self, run: str, server_round: int) -> dict[int, list[ClientEvaluation] | None]:
        return {seed: _record(results, server_round).evaluation for seed, results in self._results(run).items()}

    def _where(self, run: str) -> str:
        return f"{self.dataset}/{self.profile}/{run}"


def _is_at(server_round: int, when: int | When, attack: range) -> bool:
    if isinstance(when, int):
        return server_round == when
    return server_round < attack.start if when == "before" else server_round in attack[-1:]


def _record(results: RunResults, server_round: int) -> RoundRecord:
    missing = RoundRecord(server_round, "benign")
    return next((record for record in results.evaluated() if record.server_round == server_round), missing)


def collect(root: Path) -> list[Collection]:
    """Read all completed runs below a results root.

    Parameters
    ----------
    root : Path
        With folders ``<dataset>/<profile>/seed-<n>/<run>``. Folders with other names are ignored, such as those of
        unfinished runs, which end in ``.partial``. Runs and seeds may be missing.

    Returns
    -------
    list of Collection
        One per data set and profile with a run, ordered by name.

    Raises
    ------
    ResultsError
        If there is no run, a result file is missing or damaged, a run did not complete, or settings contradict the
        folder or differ between the seeds of a run; names the file.
    """
    if not (found := completed(root)):
        pattern = f"<dataset>/<profile>/seed-<n>/<run>/{FILE_NAME}"
        raise ResultsError(
            f"{root}: expected results as {pattern}, a run being one of {', '.join(MEASURED_RUNS)}; found none"
        )
    return found


def completed(root: Path) -> list[Collection]:
    """Read all completed runs below a results root as `collect` does; without any, return an empty list."""
    folders = sorted({path.parent for path in root.glob("*/*/seed-*") if _seed_of(path) is not None})
    if odd := [str(folder.relative_to(root)) for folder in folders if not is_plain(str(folder.relative_to(root)))]:
        raise ResultsError(f"{root}: expected folders with names in UTF-8, found {', '.join(map(repr, odd))}")
    collections = [Collection(folder.parent.name, folder.name, _read_runs(folder)) for folder in folders]
    return [collection for collection in collections if collection.runs]


def collect_or_audited(root: Path) -> list[Collection]:
    """Read all completed runs as `collect` does; a root may have no runs if it has an audit."""
    return completed(root) if audit_files(root) else collect(root)


def _seed_of(folder: Path) -> int | None:
    number = folder.name.removeprefix("seed-")
    return int(number) if number.isdecimal() and folder.is_dir() else None


def _read_runs(folder: Path) -> dict[str, dict[int, RunResults]]:
    numbers = {number: path for path in folder.glob("seed-*") if (number := _seed_of(path)) is not None}
    runs: dict[str, dict[int, RunResults]] = {}
    for run in MEASURED_RUNS:  # not pre-training, nor runs in progress (``*.partial``)
        paths = {seed: path / run for seed, path in sorted(numbers.items()) if (path / run).is_dir()}
        if paths:
            runs[run] = {seed: _read_run(path, folder.parent.name, seed) for seed, path in paths.items()}
            require_same_settings(paths, runs[run])
    return runs


def _read_run(path: Path, dataset: str, seed: int) -> RunResults:
    results = read_results(path)
    file, status = path / FILE_NAME, (results.end or {}).get("status", "no end")
    if status != "completed":
        raise ResultsError(f"{file}: expected a run that completed, found {status}")
    config = results.run["config"]
    if (found := (config["dataset"], config["seed"])) != (dataset, seed):
        raise ResultsError(f"{file}: expected dataset and seed as its folders say, {(dataset, seed)}, found {found}")
    return results


def require_same_settings(paths: Mapping[int, Path], runs: Mapping[int, RunResults]) -> None:
    """Raise `ResultsError` if one seed of a run has other settings than the first; names its file.

    Parameters
    ----------
    paths : mapping of int to Path
        Seed to the run's folder.
    runs : mapping of int to RunResults
        Seed to the run's results.
    """
    first, *others = runs
    for seed in others:
        expected, found = runs[first].run["config"], runs[seed].run["config"]
        if differing := RunConfig.differing(expected, found, but_for=SETTINGS_OF_A_SEED):
            others_found = "; ".join(f"{key} = {theirs!r}, not {ours!r}" for key, (ours, theirs) in differing.items())
            file = paths[seed] / FILE_NAME
            raise ResultsError(f"{file}: expected the settings of {paths[first]}, found {others_found}")
