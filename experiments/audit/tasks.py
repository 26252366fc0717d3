"""The parts of an audit that a process carries out: the clean measurements of a seed, and an attack on it."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from experiments.analysis.audit_files import Measured, existing, file_of, read_measured, without_paths, write_measured
from experiments.audit.measurements import BenignNumbers, benign_numbers, detection, upload_numbers
from experiments.audit.parties import Arrays, Parties
from experiments.audit.round import Beginning, attack_round, begin
from fedmeta_flwr.apps.assembly import defense_of, initial_arrays
from fedmeta_flwr.apps.preflight import starting_point
from fedmeta_flwr.apps.scenario import Scenario, load_scenario
from fedmeta_flwr.apps.server import digest
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.defenses.step_curves import curves_of
from fedmeta_flwr.learning import choose_device, pin_threads
from fedmeta_flwr.records import CLIENTS_FOLDER, ClientEvaluation, ResultsError, describe_machine
from fedmeta_flwr.records.checkpoint import SUFFIX, load_checkpoint, save_checkpoint
from strategies import ClientUpdate

_GLOBAL, _BENIGN = "global", "benign"


@dataclass(frozen=True, kw_only=True)
class Task:
    """Measurements of one seed.

    Attributes
    ----------
    name : str
        The attack, or the name of the clean measurements.
    clean : str
        As in `Measured`.
    config : RunConfig
        The settings of the run.
    folder : Path
        The folder of the seed's files.
    pretraining : Path
        The folder of the run whose model is attacked.
    git_revision, command : str
        What the file says about its origin.
    """

    name: str
    clean: str
    config: RunConfig
    folder: Path
    pretraining: Path
    git_revision: str
    command: str

    @property
    def title(self) -> str:
        """Its name on the terminal."""
        return f"seed {self.config.seed}, {self.name}"

    def run(self) -> None:
        """Measure, and write the file; nothing is done if the file exists."""
        pin_threads()
        (_measure_attack if self.clean else _measure_clean)(self)

    def measured(
        self, clean: Arrays, evaluation: list[ClientEvaluation], numbers: Mapping[str, Any], began: float
    ) -> Measured:
        """Return what the file says."""
        origin = {
            "seconds": round(time.monotonic() - began, 3),
            "machine": describe_machine(),
            "git_revision": self.git_revision,
            "command": self.command,
        }
        return Measured(
            name=self.name,
            clean=self.clean,
            seed=self.config.seed,
            config=without_paths(self.config),
            evaluation=evaluation,
            digest=digest(clean),
            numbers=numbers,
            origin=origin,
        )


def _measure_clean(task: Task) -> None:
    if existing(task.folder, task.name, task.config) is not None:
        return
    began, config = time.monotonic(), task.config
    scenario = _scenario(config)
    start, first_round = starting_point(config, scenario)
    kept = task.folder / f"{task.name}-{CLIENTS_FOLDER}"
    with _memory(task.pretraining / CLIENTS_FOLDER) as memory:
        parties = Parties(config, scenario, memory, first_round, choose_device(config.device))
        beginning = begin(parties, start)
        numbers = benign_numbers(parties, beginning)
        task.folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(kept, ignore_errors=True)
        if any(memory.iterdir()):
            shutil.copytree(memory, kept)
        _save(task.folder / f"{task.name}{SUFFIX}", beginning)
        evaluation = parties.evaluations(config.attack_round - 1, beginning.clean)
    measured = task.measured(beginning.clean, evaluation, {"benign": asdict(numbers)}, began)
    write_measured(task.folder, measured)


def _measure_attack(task: Task) -> None:
    began, config = time.monotonic(), task.config
    scenario = _scenario(config)
    beginning = _load(task.folder / f"{task.clean}{SUFFIX}", config, scenario)
    if existing(task.folder, task.name, config, digest(beginning.clean)) is not None:
        return
    clean = read_measured(file_of(task.folder, task.clean))
    with _memory(task.folder / f"{task.clean}-{CLIENTS_FOLDER}") as memory:
        parties = Parties(config, scenario, memory, min(beginning.history), choose_device(config.device))
        played = attack_round(parties, beginning)
        uploads = upload_numbers(played, beginning)
        numbers = {
            "attack": {"name": config.attack, "options": config.attack_options, "layers": config.attack_layers},
            "uploads": uploads,
            "detection": detection(uploads, BenignNumbers(**clean.numbers["benign"])),
            "arrived": list(played.arrived),
        }
        judges = parties if played.learned_key is None else parties.with_key(played.learned_key)
        is_new_key = played.learned_key is not None
        with_key = judges.evaluations(config.attack_round - 1, beginning.clean) if is_new_key else []
        evaluation = poisoned_evaluation(judges, played.poisoned, with_key or clean.evaluation)
    measured = task.measured(beginning.clean, evaluation, numbers, began)
    write_measured(task.folder, replace(measured, clean_evaluation=with_key))


def poisoned_evaluation(
    parties: Parties, poisoned: Arrays, clean: Sequence[ClientEvaluation]
) -> list[ClientEvaluation]:
    """Return the counts with the poisoned model; a curve that does not depend on the model is that of the clean one."""
    config = parties.config
    curves = {name: along for name, along in curves_of(defense_of(config)).items() if not along.uses_global_model}
    keys = [along.curve.key for name, along in curves.items() if along.curve and name in config.step_curves.split()]
    found = parties.without(curves).evaluations(config.attack_round, poisoned)
    return [
        replace(client, step_curves={**client.step_curves, **{key: of.step_curves[key] for key in keys}})
        for client, of in zip(found, clean, strict=True)
    ]


@contextmanager
def _memory(of: Path) -> Iterator[Path]:
    """Copy the clients' private arrays into a temporary folder, which a block may change."""
    with tempfile.TemporaryDirectory() as folder:
        if of.is_dir():
            shutil.copytree(of, folder, dirs_exist_ok=True)
        yield Path(folder)


def _save(file: Path, beginning: Beginning) -> None:
    named = {
        f"{_GLOBAL}/{server_round}/{name}": array
        for server_round, arrays in beginning.history.items()
        for name, array in arrays.items()
    }
    for partition_id, update in beginning.benign.items():
        named |= {f"{_BENIGN}/{partition_id}/{name}": array for name, array in update.arrays.items()}
    weights = {f"{_BENIGN}/{one}": repr(update.weight) for one, update in beginning.benign.items()}
    save_checkpoint(file, named, weights)


def _load(file: Path, config: RunConfig, scenario: Scenario) -> Beginning:
    checkpoint = load_checkpoint(file)
    names = list(initial_arrays(config, scenario))

    def of(kind: str) -> dict[int, Arrays]:
        numbers = sorted({int(key.split("/")[1]) for key in checkpoint.arrays if key.startswith(f"{kind}/")})
        return {one: {name: checkpoint.arrays[f"{kind}/{one}/{name}"] for name in names} for one in numbers}

    history = of(_GLOBAL)
    if config.attack_round not in history:
        raise ResultsError(f"{file}: expected the global model of round {config.attack_round}, found {list(history)}")
    clean = history[config.attack_round]
    benign = {
        one: ClientUpdate(
            partition_id=one,
            arrays=dict(arrays),
            sent=dict(clean),
            weight=float(checkpoint.metadata[f"{_BENIGN}/{one}"]),
            metrics={},
            sent_in_round=config.attack_round,
            is_late=False,
        )
        for one, arrays in of(_BENIGN).items()
    }
    return Beginning(history, benign)


def _scenario(config: RunConfig) -> Scenario:
    """Load a scenario; attacks that differ only in what a scenario does not depend on share one."""
    return _loaded(replace(config, attack="model-replacement", attack_options="", attack_layers=""))


@lru_cache(maxsize=2)
def _loaded(config: RunConfig) -> Scenario:
    return load_scenario(config)
