"""The files of an audit: for each seed the measurements of the clean model, and those of each attack.

They are ``RESULTS/audit/DATASET/PROFILE/seed-N/NAME.json``.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import ClientEvaluation, ResultsError, write_whole

FOLDER = "audit"
"""Name of the folder in a results root."""

FORMAT = 1
_UNCOMPARED = RunConfig.free_settings() | frozenset(RunConfig.paths())


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one file of an audit says.

    Attributes
    ----------
    name : str
        The attack, or the name of the clean measurements.
    clean : str
        The name of the clean measurements that an attack is compared with; empty for clean measurements.
    seed : int
        The run's seed.
    config : mapping
        The settings of the run, in which those that are paths are empty.
    evaluation : list of ClientEvaluation
        The counts of the benign clients with the clean or the poisoned global model.
    digest : str
        Identifies the clean model.
    numbers : mapping
        Of the clean measurements: ``benign``, as `experiments.audit.measurements.BenignNumbers`. Of an attack:
        ``attack`` (name, options and layers), ``uploads``, ``detection`` and ``arrived``.
    origin : mapping
        ``seconds``, ``machine``, ``git_revision`` and ``command``.
    clean_evaluation : list of ClientEvaluation
        Of an attack that learns a key: the counts with the clean model and this key, with which it is compared. Empty:
        it is compared with the clean measurements.
    """

    name: str
    clean: str
    seed: int
    config: Mapping[str, Any]
    evaluation: list[ClientEvaluation]
    digest: str
    numbers: Mapping[str, Any]
    origin: Mapping[str, Any]
    clean_evaluation: list[ClientEvaluation] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return the content of the file."""
        evaluation, clean = ([client.to_json() for client in of] for of in (self.evaluation, self.clean_evaluation))
        return {"format": FORMAT, **asdict(self), "evaluation": evaluation, "clean_evaluation": clean}


def without_paths(config: RunConfig) -> dict[str, Any]:
    """Return the settings of a run as files of an audit hold them: those that are paths are empty."""
    return {key: "" if key in RunConfig.paths() else value for key, value in config.to_run_config().items()}


def seed_folder(root: Path, dataset: str, profile: str, seed: int) -> Path:
    """Return the folder of a seed's files in a results root."""
    return root / FOLDER / dataset / profile / f"seed-{seed}"


def audit_files(root: Path) -> list[Path]:
    """Return all files of audits in a results root, sorted by path."""
    return sorted(root.glob(f"{FOLDER}/*/*/seed-*/*.json"))


def file_of(folder: Path, name: str) -> Path:
    """Return the file of an attack, or of clean measurements, in the folder of a seed."""
    return folder / f"{name}.json"


def write_measured(folder: Path, measured: Measured) -> Path:
    """Write a file as a whole, and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = file_of(folder, measured.name)
    write_whole(file, json.dumps(measured.to_json(), indent=1, allow_nan=False) + "\n")
    return file


def read_measured(file: Path) -> Measured:
    """Read a file of an audit; raises `ResultsError` if it is not one."""
    try:
        content = json.loads(file.read_bytes())
        if content.pop("format") != FORMAT:
            raise ValueError("another format")
        evaluation, clean = (
            [ClientEvaluation.from_json(client) for client in content.pop(name, [])]
            for name in ("evaluation", "clean_evaluation")
        )
        if not evaluation:
            raise ValueError("no evaluation")
        return Measured(**content, evaluation=evaluation, clean_evaluation=clean)
    except (OSError, KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ResultsError(f"{file}: expected a file of an audit of format {FORMAT}, found {problem}") from error


def existing(folder: Path, name: str, config: RunConfig, digest: str | None = None) -> Measured | None:
    """Return what a file says; None if there is no such file.

    Raises
    ------
    ResultsError
        If it was made with other settings, or from another clean model than that of this digest.
    """
    file = file_of(folder, name)
    if not file.exists():
        return None
    found = read_measured(file)
    if different := config.differences(found.config, but_for=_UNCOMPARED):
        raise ResultsError(
            f"{file}: measured with other settings; remove it, or choose another results root. " + "; ".join(different)
        )
    if digest is not None and found.digest != digest:
        raise ResultsError(f"{file}: measured with another clean model; remove it, or choose another results root")
    return found
