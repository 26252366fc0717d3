"""The ServerApp: it carries out a run, from its configuration to the result file."""

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from fedmeta_flwr.apps.assembly import defense_of
from fedmeta_flwr.apps.key_check import key_effect
from fedmeta_flwr.apps.preflight import ROUND, preflight
from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.attacks import pictures
from fedmeta_flwr.config import RunConfig, Value
from fedmeta_flwr.config.registry import is_custom
from fedmeta_flwr.defenses.recorded import description
from fedmeta_flwr.protocol import from_record, to_record
from fedmeta_flwr.records import (
    ProgressFile,
    ResultsError,
    RoundRecord,
    describe_machine,
    early_failure_recorded,
    failure_recorded,
    read_results,
    remove_failure,
    run_folder,
    write_cases,
)
from fedmeta_flwr.records.checkpoint import (
    AFTER_ATTACK_FILE_NAME,
    BEFORE_ATTACK_FILE_NAME,
    LEARNED_KEY_FILE_NAME,
    MODEL_FILE_NAME,
    save_checkpoint,
)
from fedmeta_flwr.records.run_checkpoints import RunCheckpoints, finished
from fedmeta_flwr.records.tensorboard import event_files
from fedmeta_flwr.records.writer import ResultsWriter, locked, remove_results
from strategies import FirstArrivals, Hooks

_PACKAGES = ("fedmeta-flwr", "flwr", "ray", "torch", "learn2learn", "numba", "numpy")

_LOG = logging.getLogger("flwr.server_app")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one configuration to its end; if it fails, the reason is recorded in its folder."""
    folder = run_folder(str(context.run_config.get("results-dir", "")), context.run_id)
    with early_failure_recorded(folder, context.run_id):
        _run_configuration(RunConfig.parse(context.run_config), grid, folder, context.run_id)


def _run_configuration(config: RunConfig, grid: Grid, folder: Path, run_id: int) -> None:
    """Carry out a run; everything is checked before the first message and the first record."""
    prepared = preflight(config)
    if prepared.warning:
        _LOG.warning(prepared.warning)
    scenario, arrays, strategy = prepared.scenario, prepared.arrays, prepared.strategy
    with locked(folder), ProgressFile(folder) as observer:
        checkpoints = RunCheckpoints(folder)
        if config.resume and finished(config, folder):
            write_cases(folder, config.case)
            checkpoints.remove_all()
            return
        state = checkpoints.newest(config) if config.resume else None
        if config.resume and state is None:
            remove_results(folder)
        with (
            ResultsWriter(folder, after_round=state and state["server_round"]) as writer,
            failure_recorded(folder, run_id),
            event_files(
                folder,
                config,
                partial(pictures, scenario.dataset.images, scenario.split, scenario.key),
                read_results(folder).rounds if state is not None else (),
            ) as write_events,
        ):
            remove_failure(folder)
            strategy.hooks = Hooks(
                on_round=lambda record, arrays: _write_round(record, arrays, writer, write_events, config),
                on_checkpoint=(lambda number, state: checkpoints.save(number, state, config))
                if config.checkpoint_every
                else None,
                on_key=lambda number, key: _save_model(folder / LEARNED_KEY_FILE_NAME, key, config, number),
                observer=observer,
            )
            _restore_key(folder, state, config)
            if state is None:
                checkpoints.remove_all()
                writer.write_run(run_record(config, scenario, digest(arrays)))
            start = to_record(arrays) if state is None else strategy.resume(state)
            _run(strategy, grid, start, config, writer)
            write_cases(folder, config.case)
            checkpoints.remove_all()


def _run(strategy: FirstArrivals, grid: Grid, arrays: ArrayRecord, config: RunConfig, writer: ResultsWriter) -> None:
    """Carry out the remaining rounds, and write the model and the last record."""
    started = time.monotonic() - writer.earlier_seconds
    num_rounds = config.num_server_rounds - strategy.first_round + 1
    try:
        if num_rounds:
            arrays = strategy.start(grid, arrays, num_rounds=num_rounds, timeout=config.round_timeout_seconds).arrays
        final = from_record(arrays)
        _save_model(writer.path.with_name(MODEL_FILE_NAME), final, config, config.num_server_rounds)
    except BaseException as error:
        with suppress(ResultsError):  # when the disk is full
            writer.write_end(f"failed: {type(error).__name__}: {error}", time.monotonic() - started)
        raise
    writer.write_end("completed", time.monotonic() - started, model_digest=digest(final))


def _write_round(
    record: RoundRecord,
    arrays: ArrayRecord,
    writer: ResultsWriter,
    write_events: Callable[[RoundRecord], None],
    config: RunConfig,
) -> None:
    """Write the record of a round; also write the global models right before the first attack and after its end."""
    number, attack = record.server_round, config.first_attack
    kept = {attack[0] - 1: BEFORE_ATTACK_FILE_NAME, attack[-1]: AFTER_ATTACK_FILE_NAME} if attack else {}
    if number in kept:
        _save_model(writer.path.with_name(kept[number]), from_record(arrays), config, number)
    writer.write_round(record)
    write_events(record)


def _restore_key(folder: Path, state: Mapping[str, Any] | None, config: RunConfig) -> None:
    """Write the learned key of the checkpoint, or remove that of rounds which are repeated."""
    file, key = folder / LEARNED_KEY_FILE_NAME, state and state.get("key")
    if key:
        _save_model(file, key["arrays"], config, key["server_round"])
    else:
        file.unlink(missing_ok=True)


def _save_model(path: Path, arrays: Mapping[str, np.ndarray], config: RunConfig, server_round: int) -> None:
    save_checkpoint(path, arrays, {ROUND: str(server_round), "config": json.dumps(_recorded(config))})


def _recorded(config: RunConfig) -> dict[str, Value]:
    """Return the settings that files record; they do not say whether the run resumed or wrote event files."""
    settings = replace(config, resume=False).to_run_config()
    return {key: value for key, value in settings.items() if key != "tensorboard"}


def run_record(config: RunConfig, scenario: Scenario, initial_digest: str) -> dict[str, Any]:
    """Return the first record of the result file: all that identifies the run and is needed to repeat it."""
    dataset, split = scenario.dataset, scenario.split
    return {
        "config": _recorded(config),
        "versions": {"python": platform.python_version(), **_installed_versions()},
        "git_revision": os.environ.get("FEDMETA_GIT_REVISION", "unknown"),
        "machine": describe_machine(),
        "initial_model_digest": initial_digest,
        "dataset": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "shape": list(dataset.images.shape),
        },
        "split": {
            "target_class": dataset.class_names[split.target_class],
            "backdoor_classes": [dataset.class_names[index] for index in split.backdoor_classes],
            "classes_per_client": [len(holdings) for holdings in split.clients],
            "meta_test_classes": len(split.meta_test),
        },
        "backdoor_key": asdict(key_effect(scenario)),
        **({"defense": description(defense_of(config))} if is_custom(config.defense) else {}),
    }


def _installed_versions() -> dict[str, str]:
    """Return the versions of the packages that affect results; a server of a real federation may have no Ray."""
    found = {}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of named arrays; only bit-equal models have equal digests."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name}:{array.dtype}:{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
