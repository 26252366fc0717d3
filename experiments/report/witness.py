"""A benign client of a run, made anew with the models of before and right after the attack: to look over its shoulder.

Its data, episodes, fine-tuning and local steps are those of the run, since they come from the same code and streams.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from clients import BenignClient, make_client
from experiments.report.material import ShownRun
from fedmeta_flwr.checkpoint import AFTER_ATTACK_FILE_NAME, BEFORE_ATTACK_FILE_NAME, CheckpointError, load_checkpoint
from fedmeta_flwr.config import ConfigError, RunConfig
from fedmeta_flwr.models import get_arrays, set_arrays
from fedmeta_flwr.own_code import is_own
from fedmeta_flwr.results import CLIENTS_FOLDER
from fedmeta_flwr.scenario import Scenario, load_scenario

CLIENT = 1
"""The first benign client."""


class AbsentError(ValueError):
    """Something that a part of the report needs and that is not there; says what and where, for the page."""


@dataclass(frozen=True)
class Witness:
    """A client that has the models of before and right after the attack.

    Attributes
    ----------
    config : RunConfig
        The run's.
    scenario : Scenario
        The run's.
    before, after : BenignClient
        The same client with the one and the other model.
    """

    config: RunConfig
    scenario: Scenario
    before: BenignClient
    after: BenignClient


def config_of(run: ShownRun) -> RunConfig:
    """Return the settings of a run; raises `AbsentError` where another version wrote them."""
    try:
        return RunConfig.parse(run.config)
    except ConfigError as error:
        raise AbsentError(f"the run was made by another version: {'; '.join(error.problems)}") from error


def scenario_of(run: ShownRun, data_dir: Path | None) -> Scenario:
    """Load the images of a run, from disk alone.

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
        changes = {"data-dir": folder, "cache-dir": _cache(config)}
        try:
            scenario = load_scenario(RunConfig.parse(config.to_run_config() | changes))
        except ValueError as error:
            reasons.append(_shortened(str(error), folder, config.cache_dir))
            continue
        expected = run.results.run.get("dataset", {}).get("fingerprint")
        if expected in (None, scenario.dataset.fingerprint):
            return scenario
        where = _shortened(folder, folder) or config.dataset
        reasons.append(f"{where}: other images than those of the run (their fingerprints differ)")
    raise AbsentError("; ".join(reasons) or "no folder with the images is known: give --data-dir")


def _shortened(text: str, *folders: str) -> str:
    """Return a text with the last part of folders alone: a page that is passed on need not tell where they lie."""
    for folder in map(Path, folders):
        if folder.is_absolute():  # a relative one tells nothing, and may be part of any word
            text = text.replace(str(folder), f"…/{folder.name}")
    return text


def _folders(config: RunConfig, data_dir: Path | None) -> Sequence[str]:
    """Return the folders to try; never none for a data set that would then be downloaded."""
    given = data_dir and data_dir.absolute()
    if config.dataset == "strokes":
        return [""]
    if is_own(config.dataset):  # which may need no folder
        return list(dict.fromkeys(str(folder or "") for folder in (given, config.data_dir)))
    return list(dict.fromkeys(str(folder) for folder in (given, config.data_dir) if folder))


def _cache(config: RunConfig) -> str:
    """Return the recorded cache folder where it is here, else the user's."""
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
        raise AbsentError("there was no attack in this run")
    if config.defense == "federation":
        raise AbsentError(
            "each client of a defended federation classifies with an attention of its own, which it keeps for itself "
            "and changes in every round; that of the attack's round is not kept"
        )
    before, after = (_client(run, config, scenario, name) for name in (BEFORE_ATTACK_FILE_NAME, AFTER_ATTACK_FILE_NAME))
    return Witness(config, scenario, before, after)


def _client(run: ShownRun, config: RunConfig, scenario: Scenario, name: str) -> BenignClient:
    file = run.folder / name
    if not file.exists():
        raise AbsentError(f"no {name} beside the result file: the run was made before models were kept")
    client = make_client(config, scenario, CLIENT, torch.device("cpu"), run.folder / CLIENTS_FOLDER)
    if not isinstance(client, BenignClient):
        raise AbsentError(f"the run's clients are of a class of their own, client = {config.client}")
    try:
        set_arrays(client.shared, load_checkpoint(file).fitted(get_arrays(client.shared)))
    except CheckpointError as error:
        raise AbsentError(f"the model cannot be used: {_shortened(str(error), str(run.folder))}") from error
    return client
