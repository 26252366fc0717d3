"""Turn names in the catalog into checked configurations, each with the folder of its results.

A results root holds ``DATASET/PROFILE/seed-N/RUN/results.jsonl``. The folder of an unfinished run has ``.partial``
after its name; runs that share one are in the same folder until then.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from experiments.catalog import AFTER_PRETRAINING, Run, runs_of
from experiments.settings import (
    CONFIGS_DIR,
    SettingsError,
    merge_settings,
    parse_overrides,
    parse_settings,
    read_defaults,
    read_settings,
)
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import ResultsError, read_results
from fedmeta_flwr.records.checkpoint import MODEL_FILE_NAME
from fedmeta_flwr.records.results import FILE_NAME

_CONFIGS = CONFIGS_DIR / "reproduce"
_PARTIAL = ".partial"
# Settings that an override cannot set for all runs alike, and how they are chosen.
_CHOSEN_OTHERWISE = {
    "dataset": "each has its results in a separate folder: use --dataset",
    "seed": "there is a run for each: use --first-seed and --seeds",
    "case": "there are runs of all of them: name experiments",
    "results-dir": "each run has a folder in the results root: use --results-dir",
    "initial-model": "runs start from the pre-training of their seed",
    "resume": "stopped runs are resumed automatically",
}

SETTINGS_OF_A_SEED = RunConfig.free_settings() | {"seed", "initial-model", "device"}
"""The settings in which the seeds of a run may differ."""


@dataclass(frozen=True)
class PlannedRun:
    """A run of the catalog with a seed.

    Attributes
    ----------
    run : Run
        The catalog's entry.
    folder : Path
        Holds its results once it is finished.
    config : RunConfig
        Checked, with absolute paths; results go to `partial`.
    """

    run: Run
    folder: Path
    config: RunConfig

    @property
    def partial(self) -> Path:
        """Folder of its results until it is finished."""
        return partial_of(self.folder)

    def seconds(self) -> float | None:
        """Return how long it took, or None if it is not finished.

        Raises
        ------
        ResultsError
            If its folder holds results of another configuration or version, or a run that did not complete.
        """
        if not (file := self.folder / FILE_NAME).exists():
            return None
        found = read_results(file)
        if found.end is None or found.end["status"] != "completed":
            raise ResultsError(f"{file}: expected a completed run, found one that is not")
        require_same(file, found.run["config"], self.config)
        return float(found.end["seconds"])


def partial_of(folder: Path) -> Path:
    """Return the folder of a run's results until it is finished."""
    return folder.with_name(folder.name + _PARTIAL)


def plan_runs(
    names: Sequence[str],
    *,
    dataset: str,
    profile: str,
    seeds: Sequence[int],
    root: Path,
    data_dir: Path | None,
    overrides: Sequence[str],
    app_dir: Path,
) -> list[PlannedRun]:
    """Return the runs of experiments in a possible order: seed by seed, pre-training first.

    Parameters
    ----------
    names : sequence of str
        Experiments of the catalog; none: all.
    dataset, profile : str
        As in the catalog.
    seeds : sequence of int
        From 0.
    root : Path
        The results root.
    data_dir : Path or None
        Folder of the data set's files; None keeps the setting.
    overrides : sequence of str
        ``key=value`` each; they override all other settings, in every run.
    app_dir : Path
        Folder of the Flower App.

    Raises
    ------
    CatalogError, SettingsError, ConfigError
        If a name is unknown, or the settings of a run are invalid.
    """
    defaults = read_defaults(app_dir)
    shared = merge_settings(
        defaults,
        read_settings(_CONFIGS / f"{dataset}.toml"),
        read_settings(_CONFIGS / f"{profile}.toml"),
    )
    given = parse_overrides(overrides)
    if chosen := sorted(_CHOSEN_OTHERWISE.keys() & given.keys()):
        lines = (f"-c: expected no {key}, for {_CHOSEN_OTHERWISE[key]}, found {given[key]!r}" for key in chosen)
        raise SettingsError("\n".join(lines))
    if data_dir is not None:
        given["data-dir"] = str(data_dir)
    schedule = parse_settings(shared, given)
    if schedule.attack_round < schedule.pretrain_rounds + 2:
        raise SettingsError(
            f"attack-round: expected at least pretrain-rounds + 2 = {schedule.pretrain_rounds + 2}, because one "
            f"round before the attack measures the clean model, found {schedule.attack_round}"
        )
    return [
        _planned(run, seed, _Layers(defaults, shared, given), root.absolute() / dataset / profile / f"seed-{seed}")
        for seed in seeds
        for run in runs_of(names, profile)
    ]


@dataclass(frozen=True)
class _Layers:
    """Settings by rank: defaults, those of data set and profile (with the defaults), those that the user gives."""

    defaults: Mapping[str, Any]
    shared: Mapping[str, Any]
    given: Mapping[str, Any]


def _planned(run: Run, seed: int, layers: _Layers, folder: Path) -> PlannedRun:
    shared, given = layers.shared, layers.given
    values = {**shared, **run.settings, **given, "seed": seed}
    values["results-dir"] = str(partial_of(folder / run.name))
    schedule = {**shared, **given}
    if run.ends_before_attack:
        # Runs that start from it measure the clean model for one round before they attack.
        values["num-server-rounds"] = schedule["attack-round"] - 2
        values |= {key: layers.defaults[key] for key in AFTER_PRETRAINING}
    if run.after is not None:
        values["initial-model"] = str(folder / run.after / MODEL_FILE_NAME)
    # Overrides do not change the settings that define this run.
    values |= {key: value for key, value in run.settings.items() if key in given}
    return PlannedRun(run, folder / run.name, parse_settings(values))


def require_same(file: Path, found: Mapping[str, Any], expected: RunConfig) -> None:
    """Raise `ResultsError` unless a result file is of this configuration, except for `SETTINGS_OF_A_SEED`."""
    if different := expected.differences(found, but_for=SETTINGS_OF_A_SEED):
        raise ResultsError(
            f"{file}: made by another configuration or version; choose another results root. "
            + "; ".join(different[:3])
            + (f"; and {len(different) - 3} more" if len(different) > 3 else "")
        )
