"""The ServerApp: run configuration, strategy, result file."""

import hashlib
import json
import logging
import math
import os
import platform
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Context
from flwr.serverapp import Grid, ServerApp

from clients import initial_arrays, require_custom_clients
from fedmeta_flwr.apps.key_check import check_key, key_effect
from fedmeta_flwr.apps.scenario import Scenario, load_scenario, roles_of
from fedmeta_flwr.config import RunConfig, Value
from fedmeta_flwr.protocol.messages import TRAIN_LOSS, from_record, to_record
from fedmeta_flwr.records.checkpoint import (
    AFTER_ATTACK_FILE_NAME,
    BEFORE_ATTACK_FILE_NAME,
    MODEL_FILE_NAME,
    CheckpointError,
    load_checkpoint,
    save_checkpoint,
)
from fedmeta_flwr.records.machine import describe_machine
from fedmeta_flwr.records.progress import ProgressFile
from fedmeta_flwr.records.results import STEP_CURVES, ResultsError, RoundRecord, read_results, run_folder
from fedmeta_flwr.records.run_checkpoints import RunCheckpoints, finished
from fedmeta_flwr.records.tensorboard import TensorBoardWriter
from fedmeta_flwr.records.writer import ResultsWriter, locked, remove_results
from strategies import (
    Abstainers,
    ExpectedCounts,
    Federation,
    FirstArrivals,
    Hooks,
    RoundSchedule,
    TransportSettings,
    UpdateGuard,
    make_arrivals,
    make_strategy,
)
from strategies.errors import StrategyError
from strategies.rules.feasibility import evaluates_nobody
from strategies.rules.state import get_state

_ROUND = "server-round"
_PACKAGES = ("fedmeta-flwr", "flwr", "ray", "torch", "learn2learn", "numpy")

_LOG = logging.getLogger("flwr.server_app")

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Run one configuration to its end; everything is checked before the first message and the first file."""
    config = RunConfig.parse(context.run_config)
    config.require_custom_objects()
    scenario = load_scenario(config)
    if warning := check_key(config, scenario):
        _LOG.warning(warning)
    require_custom_clients(config, scenario)
    folder = run_folder(config.results_dir, context.run_id)
    arrays, first_round = starting_point(config, scenario)
    strategy = build_strategy(config, first_round)
    with locked(folder), ProgressFile(folder) as observer:
        checkpoints = RunCheckpoints(folder)
        if config.resume and finished(config, folder):
            checkpoints.remove_all()
            return
        state = checkpoints.newest(config) if config.resume else None
        if config.resume and state is None:
            remove_results(folder)
        with (
            ResultsWriter(folder, after_round=state and state["server_round"]) as writer,
            TensorBoardWriter(
                folder, config, scenario, read_results(folder).rounds if state is not None else ()
            ) as events,
        ):
            strategy.hooks = Hooks(
                on_round=lambda record, arrays: _write_round(record, arrays, writer, events, config),
                on_checkpoint=(lambda number, state: checkpoints.save(number, state, config))
                if config.checkpoint_every
                else None,
                observer=observer,
            )
            if state is None:
                checkpoints.remove_all()
                writer.write_run(run_record(config, scenario, digest(arrays)))
            start = to_record(arrays) if state is None else strategy.resume(state)
            _run(strategy, grid, start, config, writer)
            checkpoints.remove_all()


def _run(strategy: FirstArrivals, grid: Grid, arrays: ArrayRecord, config: RunConfig, writer: ResultsWriter) -> None:
    """Go through the rounds that are left, and write the model and how it ended."""
    started = time.monotonic() - writer.earlier_seconds
    num_rounds = config.num_server_rounds - strategy.first_round + 1
    try:
        if num_rounds:
            arrays = strategy.start(grid, arrays, num_rounds=num_rounds, timeout=config.round_timeout_seconds).arrays
        final = from_record(arrays)
        _save_model(writer.path.with_name(MODEL_FILE_NAME), final, config, config.num_server_rounds)
    except BaseException as error:
        with suppress(ResultsError):  # on a full disk
            writer.write_end(f"failed: {type(error).__name__}: {error}", time.monotonic() - started)
        raise
    writer.write_end("completed", time.monotonic() - started, model_digest=digest(final))


def _write_round(
    record: RoundRecord, arrays: ArrayRecord, writer: ResultsWriter, events: TensorBoardWriter, config: RunConfig
) -> None:
    """Write what came of a round; of the rounds before the first attack and of that attack, the global model, too."""
    number = record.server_round
    kept = {config.attack_round - 1: BEFORE_ATTACK_FILE_NAME, config.attack_round: AFTER_ATTACK_FILE_NAME}
    if config.attack_round and number in kept:
        _save_model(writer.path.with_name(kept[number]), from_record(arrays), config, number)
    writer.write_round(record)
    events.write(record)


def _save_model(path: Path, arrays: Mapping[str, np.ndarray], config: RunConfig, server_round: int) -> None:
    save_checkpoint(path, arrays, {_ROUND: str(server_round), "config": json.dumps(_recorded(config))})


def _recorded(config: RunConfig) -> dict[str, Value]:
    """Return the settings that files keep: the same whether the run went on or not, with event files or without."""
    settings = replace(config, resume=False).to_run_config()
    return {key: value for key, value in settings.items() if key != "tensorboard"}


def build_strategy(config: RunConfig, first_round: int) -> FirstArrivals:
    """Wrap the configured strategy so that it aggregates on the first arrivals.

    Raises
    ------
    StrategyError
        If the strategy is unknown, its options are wrong, it can never aggregate, or a checkpoint cannot hold it.
    RegistryError
        If a custom object cannot be used.
    """
    inner = make_strategy(config.strategy, config.strategy_options, config.quorum, config.num_clients)
    if config.evaluate_every and evaluates_nobody(inner):
        raise StrategyError(
            f"strategy-options: fraction_evaluate: expected above 0 where evaluate-every = {config.evaluate_every}, "
            f"found 0; without an evaluation, set evaluate-every to 0"
        )
    every, adversaries = config.checkpoint_every, roles_of(config).adversaries
    if every:
        get_state(inner)
    arrivals = make_arrivals(
        config.arrival_model,
        config.arrival_model_options,
        seed=config.seed,
        median_seconds=config.latency_median_seconds,
        sigma=config.latency_sigma,
        first=adversaries if config.adversary_arrives_first else frozenset(),
    )
    federation = Federation(
        num_clients=config.num_clients,
        quorum=config.quorum,
        late_updates=config.late_updates,
        weighting=config.weighting,
        abstainers=Abstainers(
            training=adversaries if config.adversary_between_attacks == "abstain" else frozenset(),
            evaluation=adversaries,
        ),
    )
    return FirstArrivals(
        inner,
        federation,
        arrivals=arrivals,
        seed=config.seed,
        first_round=first_round,
        schedule=RoundSchedule(
            phase=config.phase,
            is_evaluated=config.is_evaluated,
            is_checkpointed=lambda server_round: server_round % every == 0,
        ),
        guard=UpdateGuard(
            max_num_examples=config.max_num_examples,
            max_norm=config.max_update_norm or math.inf,
            least_metrics={TRAIN_LOSS: 0.0},
            expected_counts=_expected_counts(config),
        ),
        transport=TransportSettings(
            registration_seconds=config.registration_timeout_seconds, messages_in_flight=config.messages_in_flight
        ),
    )


def _expected_counts(config: RunConfig) -> ExpectedCounts:
    clean = config.way * config.evaluate_query_shot
    return ExpectedCounts(
        trials={
            "meta_testing": clean,
            "main_task": clean,
            "attack_training": config.backdoor_classes * config.attack_training_instances,
            "attack_validation": config.backdoor_classes * config.attack_validation_instances,
        },
        episodes=config.evaluate_episodes,
        fine_tuning_episodes=config.fine_tuning_episodes,
        step_curves=tuple(dict.fromkeys((*STEP_CURVES, *config.step_curve_names))),
    )


def starting_point(config: RunConfig, scenario: Scenario) -> tuple[dict[str, np.ndarray], int]:
    """Return the arrays that a run starts from, and its first round.

    These are new ones and round 1, or the model in `initial-model` and the round after the one that it is of.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of another architecture, or of a round that is not before the last one.
    """
    new = initial_arrays(config, scenario)
    if not config.initial_model:
        return new, 1
    checkpoint = load_checkpoint(Path(config.initial_model))
    model_round = checkpoint.metadata.get(_ROUND, "")
    if not model_round.isdecimal() or int(model_round) >= config.num_server_rounds:
        raise CheckpointError(
            f"{checkpoint.path}: expected a model of a round before num-server-rounds = {config.num_server_rounds}, "
            f"found round {model_round or 'unknown'}"
        )
    return checkpoint.fitted(new), int(model_round) + 1


def run_record(config: RunConfig, scenario: Scenario, initial_digest: str) -> dict[str, Any]:
    """Return the first record of the result file: all that is needed to run it again and to name what was run."""
    dataset, split = scenario.dataset, scenario.split
    return {
        "config": _recorded(config),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
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
    }


def digest(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of named arrays: equal for bit-equal models alone."""
    sha = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        sha.update(f"{name}:{array.dtype}:{array.shape}".encode())
        sha.update(np.ascontiguousarray(array).tobytes())
    return sha.hexdigest()
