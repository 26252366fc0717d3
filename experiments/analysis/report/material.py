"""The input of a report: the runs of a results root, or a single run."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from experiments.analysis.collection import Collection, collect, completed
from experiments.analysis.defended import defense_of
from experiments.analysis.figures.curves import DATASET_NAMES
from experiments.analysis.redaction import record_without_folders, without_folders
from experiments.analysis.security import Audited, read_audits
from experiments.catalog import MEASURED_RUNS
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import ResultsError, RunResults, case_folder, read_results
from fedmeta_flwr.records.results import FILE_NAME

SINGLE = "single-run"
"""Used as the profile if the report is about a single run."""

_NEEDED = ("dataset", "seed", "case", "attack-round", "boost-factor", "defense", "way", "shot", "batch-norm")


@dataclass(frozen=True)
class ShownRun:
    """A run that the report shows separately.

    Attributes
    ----------
    name : str
        As in its collection.
    folder : Path
        With its result file and models.
    results : RunResults
        What the file holds.
    """

    name: str
    folder: Path
    results: RunResults

    @property
    def config(self) -> dict[str, Any]:
        """Its recorded settings."""
        return dict(self.results.run["config"])

    @property
    def paths(self) -> tuple[str, ...]:
        """The paths that a reason may name, of which the page tells the last part only."""
        named = (str(self.config.get(key, "")) for key in (*RunConfig.paths(), "backdoor-key"))
        return (str(self.folder), *named)

    @property
    def title(self) -> str:
        """Its name on the page."""
        return f"case ({self.config['case']}): {self.name}, seed {self.config['seed']}"

    @property
    def has_attack(self) -> bool:
        """Whether it was attacked, and the attack's round is in the file."""
        return any(record.phase == "attack" for record in self.results.rounds)


@dataclass(frozen=True)
class Material:
    """One data set and profile.

    Attributes
    ----------
    collection : Collection
        All its runs and seeds.
    runs : tuple of ShownRun
        Each run with its first seed: what cannot be averaged is shown of these.
    """

    collection: Collection
    runs: tuple[ShownRun, ...]

    @property
    def is_single(self) -> bool:
        """Whether it is a single run, not a part of a results root."""
        return self.collection.profile == SINGLE

    @property
    def name(self) -> str:
        """Data set and profile."""
        return name_of(self.collection.dataset, self.collection.profile)

    @property
    def title(self) -> str:
        """Data set and profile in words."""
        return title_of(self.collection.dataset, self.collection.profile)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of all runs together, ascending."""
        return tuple(sorted({seed for run in self.collection.runs for seed in self.collection.seeds(run)}))


def name_of(dataset: str, profile: str) -> str:
    """Return data set and profile."""
    return f"{dataset}, {profile}"


def title_of(dataset: str, profile: str) -> str:
    """Return data set and profile in words."""
    return f"{DATASET_NAMES.get(dataset, dataset)}, {profile.replace('-', ' ')}"


def gather(path: Path, *, may_be_empty: bool = False) -> list[Material]:
    """Read the results that a report is about.

    Parameters
    ----------
    path : Path
        A results root, a run's folder, or a result file.
    may_be_empty : bool
        Whether a root without runs is allowed, since there is something else to show.

    Returns
    -------
    list of Material
        One for each data set and profile of a root; of a single run one.

    Raises
    ------
    ResultsError
        If there are no results, or a file is damaged or of another format; names it.
    """
    if _is_root(path):
        found = completed(path) if may_be_empty else collect(path)
        return [_of_root(path, collection) for collection in found]
    folder = path if path.is_dir() else path.parent
    return [_of_run(folder, read_results(path))]


def gather_audits(path: Path) -> dict[tuple[str, str], list[Audited]]:
    """Return the audited attacks in a results root, by data set and profile; of a single run none.

    Raises
    ------
    ResultsError
        If a file of an audit is damaged, or clean measurements are missing; names the file.
    """
    return read_audits(path) if _is_root(path) else {}


def _is_root(path: Path) -> bool:
    return path.is_dir() and not (path / FILE_NAME).exists()


def _of_root(root: Path, collection: Collection) -> Material:
    runs = []
    for name, by_seed in collection.runs.items():
        seed, results = next(iter(by_seed.items()))
        folder = root / collection.dataset / collection.profile / f"seed-{seed}" / name
        runs.append(_shown(name, folder, results))
    return Material(collection, tuple(runs))


def _of_run(folder: Path, results: RunResults) -> Material:
    if len(cases := str(results.run["config"].get("case", ""))) > 1:
        folders = ", ".join(case_folder(folder, case, cases).name for case in cases)
        raise ResultsError(f"{folder}: expected the results of one case, found a run of several: see {folders} in it")
    run = _shown(_name_of(results, folder), folder, results)
    config = run.config
    return Material(Collection(config["dataset"], SINGLE, {run.name: {config["seed"]: results}}), (run,))


def _shown(name: str, folder: Path, results: RunResults) -> ShownRun:
    config = results.run.get("config", {})
    if missing := [key for key in _NEEDED if key not in config]:
        raise ResultsError(f"{folder / FILE_NAME}: expected a record of the settings, found none of {missing[0]}")
    return ShownRun(name, folder, _without_folders(results, str(folder)))


def _without_folders(results: RunResults, folder: str) -> RunResults:
    rounds = tuple(
        replace(record, dropped=[replace(drop, detail=without_folders(drop.detail, folder)) for drop in record.dropped])
        for record in results.rounds
    )
    return replace(results, rounds=rounds, end=results.end and record_without_folders(results.end, folder))


def _name_of(results: RunResults, folder: Path) -> str:
    """Return the name of the catalog's run with these settings, so that the same figures are drawn for it."""
    if folder.name in MEASURED_RUNS:
        return folder.name
    config = results.run.get("config", {})
    if not config.get("attack-round"):
        return "no-attack-a"
    return f"{'attack' if defense_of(results.run).has_head else 'defended'}-{config.get('case')}"
