"""Rebuild a benign client of a run with the models from before and right after the attack, to show its predictions.

Its data, episodes, fine-tuning and local steps are those of the run, since they come from the same code and streams.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from clients import BenignClient
from experiments.analysis.defended import defense_of
from experiments.analysis.report.absence import AbsentError, part_or_reason
from experiments.analysis.report.material import ShownRun
from fedmeta_flwr.apps.assembly import make_client
from fedmeta_flwr.apps.scenario import Scenario, load_scenario
from fedmeta_flwr.attacks import BackdoorKey, build_key
from fedmeta_flwr.config import ConfigError, RunConfig
from fedmeta_flwr.config.registry import is_custom
from fedmeta_flwr.learning import get_arrays, set_arrays
from fedmeta_flwr.records import CLIENTS_FOLDER
from fedmeta_flwr.records.checkpoint import (
    AFTER_ATTACK_FILE_NAME,
    BEFORE_ATTACK_FILE_NAME,
    LEARNED_KEY_FILE_NAME,
    CheckpointError,
    load_checkpoint,
)

__all__ = ["AbsentError", "Witness", "config_of", "key_learnt_in", "key_of", "scenario_of", "witness_of"]


@dataclass(frozen=True)
class Witness:
    """A client that has the models from before and right after the attack.

    Attributes
    ----------
    config : RunConfig
        The run's.
    scenario : Scenario
        The run's.
    client : int
        Which one: the first benign client.
    before, after : BenignClient
        The same client with each of the two models.
    """

    config: RunConfig
    scenario: Scenario
    client: int
    before: BenignClient
    after: BenignClient


def config_of(run: ShownRun) -> RunConfig:
    """Return the settings of a run; raises `AbsentError` where another version wrote them."""
    try:
        return RunConfig.parse(run.config)
    except ConfigError as error:
        raise AbsentError(f"the run was made by another version: {'; '.join(error.problems)}") from error


def scenario_of(run: ShownRun, data_dir: Path | None) -> Scenario:
    """Load the images of a run, only from disk.

    Parameters
    ----------
    run : ShownRun
        The run.
    data_dir : Path or None
        Folder that is tried before the recorded one.

    Raises
    ------
    AbsentError
        If the images are not here, or are not those of the run.
    """
    config = config_of(run)
    reasons = []
    for folder in _folders(config, data_dir):
        scenario, reason = part_or_reason(partial(_scenario_in, run, config, folder), None, folder, *run.paths)
        if scenario is not None:
            return scenario
        reasons.append(reason)
    raise AbsentError("; ".join(reasons) or "no folder with the images is known: give --data-dir")


def _scenario_in(run: ShownRun, config: RunConfig, folder: str) -> Scenario:
    """Load the images in a folder; raises if they cannot be used, or are not those of the run."""
    images = replace(config, data_dir=folder, cache_dir=_cache(config))
    if is_custom(config.defense):  # whose code is run only for a client with the run's models
        images = replace(images, defense="none", defense_options="", step_curves="")
    scenario = load_scenario(images)
    expected = run.results.run.get("dataset", {}).get("fingerprint")
    if expected not in (None, scenario.dataset.fingerprint):
        where = folder or config.dataset
        raise AbsentError(f"{where}: other images than those of the run (their fingerprints differ)")
    learned = _learned_key(run, scenario.key.pattern.shape)
    return scenario if learned is None else replace(scenario, key=learned)


def _learned_key(run: ShownRun, shape: tuple[int, ...]) -> BackdoorKey | None:
    """Return the newest key that adversaries have learnt in a run, for images of a shape; None if there is none."""
    file = run.folder / LEARNED_KEY_FILE_NAME
    if not file.exists():
        return None
    expected = {"pattern": np.zeros(shape, np.float32), "opacity": np.zeros(shape[1:], np.float32)}
    return BackdoorKey(**load_checkpoint(file).fitted(expected))


def key_learnt_in(run: ShownRun) -> int | None:
    """Return the round in which the key that the report draws was learnt; None: it is the run's key."""
    rounds = [record.key_round for record in run.results.rounds if record.key_round is not None]
    return max(rounds) if rounds and (run.folder / LEARNED_KEY_FILE_NAME).exists() else None


def key_of(run: ShownRun) -> BackdoorKey:
    """Return the newest learned key of a run; without one, build the run's key for its images.

    Raises as `build_key` does if its file or its code is missing, or `CheckpointError` if a learned key cannot be used.
    """
    config, shape = run.config, run.results.run.get("dataset", {}).get("shape", [0, 0, 1])
    learned = _learned_key(run, (shape[2], config["image-size"], config["image-size"]))
    if learned is not None:
        return learned
    return build_key(
        config["backdoor-key"],
        config.get("backdoor-key-options", ""),
        channels=shape[2],
        image_size=config["image-size"],
        size=config["key-size"],
        position=config["key-position"],
        intensity=config["key-intensity"],
    )


def _folders(config: RunConfig, data_dir: Path | None) -> Sequence[str]:
    """Return the folders to try; never None for a data set that would then be downloaded."""
    given = data_dir and data_dir.absolute()
    if config.dataset == "strokes":
        return [""]
    if is_custom(config.dataset):  # which may need no folder
        return list(dict.fromkeys(str(folder or "") for folder in (given, config.data_dir)))
    return list(dict.fromkeys(str(folder) for folder in (given, config.data_dir) if folder))


def _cache(config: RunConfig) -> str:
    """Return the recorded cache folder if it exists, else the user's."""
    return config.cache_dir if config.cache_dir and Path(config.cache_dir).is_dir() else ""


def witness_of(run: ShownRun, scenario: Scenario) -> Witness:
    """Return a client with the run's models.

    Raises
    ------
    AbsentError
        If there was no attack, a model was not kept or cannot be used, or the client's own part of it was not kept.
    """
    config = config_of(run)
    if not run.has_attack:
        planned = config.attack_round
        raise AbsentError(
            f"the round of the attack, {planned}, is not in the result file" if planned else "there was no attack"
        )
    if private := defense_of(run.results.run).private:
        raise AbsentError(
            f"each client classifies with {private} of its own, which it keeps for itself and changes in every round; "
            "that of the attack's round is not kept"
        )
    before, after = (_client(run, config, scenario, name) for name in (BEFORE_ATTACK_FILE_NAME, AFTER_ATTACK_FILE_NAME))
    return Witness(config, scenario, scenario.roles.first_benign, before, after)


def _client(run: ShownRun, config: RunConfig, scenario: Scenario, name: str) -> BenignClient:
    file = run.folder / name
    if not file.exists():
        raise AbsentError(
            f"no {name} beside the result file (the run begins with its attack, was handed on without models, or was "
            "made before they were kept)"
        )
    client = make_client(
        config, scenario, scenario.roles.first_benign, torch.device("cpu"), run.folder / CLIENTS_FOLDER
    )
    if not isinstance(client, BenignClient):
        raise AbsentError(f"the run's clients are no BenignClient but of a custom class, client = {config.client}")
    try:
        set_arrays(client.shared, load_checkpoint(file).fitted(get_arrays(client.shared)))
    except CheckpointError as error:
        raise AbsentError(f"the model cannot be used: {error}") from error
    return client
