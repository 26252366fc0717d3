"""Folders of small runs as the app leaves them, and of runs to which something happened; no round is computed."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from conftest import default_values
from unit.experiments.made_up_runs import counts, true_to_the_poster
from unit.small_federation import SMALL, scenario_of

from fedmeta_flwr.apps.assembly import initial_arrays
from fedmeta_flwr.apps.server import run_record
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.checkpoint import AFTER_ATTACK_FILE_NAME, BEFORE_ATTACK_FILE_NAME, save_checkpoint
from fedmeta_flwr.records.drops import Drop, DropReason
from fedmeta_flwr.records.entries import Arrival, ClientEvaluation
from fedmeta_flwr.records.results import FILE_NAME, RoundRecord
from fedmeta_flwr.records.writer import ResultsWriter

QUICK: dict[str, Any] = {"filters": 4, "evaluate_episodes": 1, "matching_steps": 1, "num_server_rounds": 4}

Record = dict[str, Any]


@cache
def written_record(config: RunConfig) -> str:
    """Return the first record of a run's file, as JSON."""
    return json.dumps(run_record(config, scenario_of(config), "0" * 64))


def config_of(cache_dir: Path, **settings: Any) -> RunConfig:
    changes = {**SMALL, **QUICK, "cache_dir": str(cache_dir), **settings}
    return RunConfig.parse(default_values() | {key.replace("_", "-"): value for key, value in changes.items()})


def write_run(
    folder: Path,
    config: RunConfig,
    *,
    change: Callable[[Record], None] = lambda record: None,
    rounds: int | None = None,
    status: str | None = "completed",
    models: bool = True,
) -> Path:
    """Write a run's folder, and return it.

    Parameters
    ----------
    folder : Path
        To be made.
    config : RunConfig
        Of the run.
    change : callable
        Changes the first record before it is written.
    rounds : int or None
        How many there are in the file; None: all.
    status : str or None
        How it ended; None: it has not.
    models : bool
        Whether those of before and after the attack are there.
    """
    record = json.loads(written_record(config))
    change(record)
    with ResultsWriter(folder) as writer:
        writer.write_run(record)
        for number in range(1, (config.num_server_rounds if rounds is None else rounds) + 1):
            writer.write_round(_round(config, number))
        if status is not None:
            writer.write_end(status, 1.0)
    if models:
        arrays = initial_arrays(config, scenario_of(config))
        for name in (BEFORE_ATTACK_FILE_NAME, AFTER_ATTACK_FILE_NAME):
            save_checkpoint(folder / name, arrays, {})
    return folder


def _round(config: RunConfig, number: int) -> RoundRecord:
    arrived = (1, 2, 0) if config.is_attack(number) else (1, 2, 3)
    arrivals = [Arrival(client, number, latency_seconds=1.0, update_norm=0.5) for client in arrived]
    (left_out,) = set(range(4)) - set(arrived)
    counted = counts(true_to_the_poster, "attack-a", number, "", 0)
    evaluation = [ClientEvaluation(client, counted) for client in (1, 2, 3)]
    return RoundRecord(
        number,
        config.phase(number),
        arrivals=arrivals,
        dropped=[Drop(left_out, DropReason.STRAGGLER if left_out else DropReason.ABSTAINED)],
        evaluation=evaluation if config.is_evaluated(number) else None,
    )


def set_config(**changes: Any) -> Callable[[Record], None]:
    """Return a change of recorded settings."""

    def change(record: Record) -> None:
        record["config"] |= {key.replace("_", "-"): value for key, value in changes.items()}

    return change


def results_of(folder: Path) -> str:
    return (folder / FILE_NAME).read_text(encoding="utf-8")
