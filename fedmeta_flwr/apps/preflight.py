"""Checks and builds what a run needs, before the first message and the first file."""

import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from flwr.serverapp.strategy import Strategy

from fedmeta_flwr.apps.assembly import attack_remark, defense_of, initial_arrays, require_custom_clients
from fedmeta_flwr.apps.key_check import check_key
from fedmeta_flwr.apps.scenario import Scenario, load_scenario, roles_of
from fedmeta_flwr.apps.slow_ways import slow_ways
from fedmeta_flwr.config import ConfigError, RunConfig
from fedmeta_flwr.config.contradictions import defense_contradictions
from fedmeta_flwr.config.registry import RegistryError, is_custom
from fedmeta_flwr.defenses.step_curves import curves_of, head_curves
from fedmeta_flwr.records import TRAIN_LOSS, recorded_curves, recorded_name
from fedmeta_flwr.records.checkpoint import CheckpointError, load_checkpoint
from strategies import (
    Abstainers,
    ArrivalModel,
    ExpectedCounts,
    Federation,
    FirstArrivals,
    KeyGuard,
    RoundSchedule,
    ServerRule,
    TransportSettings,
    UpdateGuard,
    make_arrivals,
    make_strategy,
)
from strategies.errors import StrategyError
from strategies.rules.feasibility import evaluates_nobody
from strategies.rules.state import get_state

ROUND = "server-round"
"""Metadata key of a model file: the round of the model."""


@dataclass(frozen=True)
class Prepared:
    """The parts of a run.

    Attributes
    ----------
    scenario : Scenario
        Images, who holds which of them, and the key.
    arrays : dict of str to np.ndarray
        The arrays that the run starts from.
    strategy : FirstArrivals
        The strategy, ready for its first round.
    warning : str
        Describes what is valid but probably not intended; empty if there is nothing to warn about.
    """

    scenario: Scenario
    arrays: dict[str, np.ndarray]
    strategy: FirstArrivals
    warning: str


def preflight(config: RunConfig, *, is_model_there: bool = True) -> Prepared:
    """Check everything that a run needs except its results folder; quick checks come first.

    Parameters
    ----------
    config : RunConfig
        The run configuration.
    is_model_there : bool
        Whether the model in `initial-model` can be checked; False if another run has yet to write it.

    Raises
    ------
    ConfigError, RegistryError
        If a custom object cannot be used, or settings contradict a custom defense.
    StrategyError
        If the strategy is unknown, has wrong options, can never aggregate, or cannot be saved in a checkpoint.
    DatasetError, SplitError, BackdoorKeyError
        If the dataset is missing or damaged, cannot be downloaded, or is too small for the scenario, or if the key
        cannot be used.
    CheckpointError
        If the model to start from cannot be used.
    """
    config.require_custom_objects()
    _require_fitting_defense(config)
    inner = inner_strategy(config)
    scenario = load_scenario(config)
    key_warning = check_key(config, scenario)
    require_custom_clients(config, scenario)
    warning = "\n".join(filter(None, [key_warning, attack_remark(config, scenario), *slow_ways(config, scenario)]))
    arrays, first_round = starting_point(config if is_model_there else replace(config, initial_model=""), scenario)
    return Prepared(scenario, arrays, first_arrivals(config, inner, first_round, scenario.key.pattern.shape), warning)


def _require_fitting_defense(config: RunConfig) -> None:
    """Raise `ConfigError` if a custom defense cannot be made, or if settings contradict it."""
    if not is_custom(config.defense):
        return
    try:
        defense = defense_of(config)
    except RegistryError as error:
        raise ConfigError([str(error)]) from error
    if problems := defense_contradictions(asdict(config), defense, curves_of(defense)):
        raise ConfigError(problems)


def inner_strategy(config: RunConfig) -> Strategy | ServerRule:
    """Return the configured strategy, before it is wrapped; raises as `preflight` does."""
    inner = make_strategy(config.strategy, config.strategy_options, config.quorum, config.num_clients)
    if config.evaluate_every and evaluates_nobody(inner):
        raise StrategyError(
            f"strategy-options: fraction_evaluate: expected above 0 where evaluate-every = {config.evaluate_every}, "
            f"found 0; without an evaluation, set evaluate-every to 0"
        )
    if config.checkpoint_every:
        get_state(inner)
    return inner


def arrivals_of(config: RunConfig) -> ArrivalModel:
    """Return the configured arrival model; raises `RegistryError` if it cannot be used."""
    return make_arrivals(
        config.arrival_model,
        config.arrival_model_options,
        seed=config.seed,
        median_seconds=config.latency_median_seconds,
        sigma=config.latency_sigma,
        first=roles_of(config).adversaries if config.adversary_arrives_first else frozenset(),
    )


def first_arrivals(
    config: RunConfig, inner: Strategy | ServerRule, first_round: int, image_shape: tuple[int, int, int] | None = None
) -> FirstArrivals:
    """Wrap a strategy so that it aggregates on the first arrivals.

    Learned keys are for images of `image_shape` (channels, height, width); None: no client may send one.
    """
    every, adversaries = config.checkpoint_every, roles_of(config).adversaries

    def attackers(server_round: int) -> list[int]:
        return [roles_of(config).colluders[place] for place in config.attackers(server_round)]

    federation = Federation(
        num_clients=config.num_clients,
        quorum=config.quorum,
        late_updates=config.late_updates,
        weighting=config.weighting,
        abstainers=Abstainers(
            training=adversaries if config.adversary_between_attacks == "abstain" else frozenset(),
            evaluation=adversaries,
        ),
        tolerated_adversaries=config.num_adversaries,
    )
    return FirstArrivals(
        inner,
        federation,
        arrivals=arrivals_of(config),
        seed=config.seed,
        first_round=first_round,
        schedule=RoundSchedule(
            phase=config.phase,
            is_evaluated=config.is_evaluated,
            is_checkpointed=lambda server_round: server_round % every == 0,
            attackers=attackers,
        ),
        guard=UpdateGuard(
            max_num_examples=config.max_num_examples,
            max_norm=config.max_update_norm or math.inf,
            least_metrics={TRAIN_LOSS: 0.0},
            expected_counts=_expected_counts(config),
            keys=KeyGuard(shape=image_shape, attackers=attackers) if image_shape else KeyGuard(),
        ),
        transport=TransportSettings(
            registration_seconds=config.registration_timeout_seconds, messages_in_flight=config.messages_in_flight
        ),
    )


def _expected_counts(config: RunConfig) -> ExpectedCounts:
    curves = [along.curve for along in (head_curves() | curves_of(defense_of(config))).values() if along.curve]
    clean = config.way * config.evaluate_query_shot
    trials = {
        "meta_testing": clean,
        "main_task": clean,
        "attack_training": config.backdoor_classes * config.attack_training_instances,
        "attack_validation": config.backdoor_classes * config.attack_validation_instances,
    }
    return ExpectedCounts(
        trials={
            recorded_name(curve, case, config.case): number for case in config.case for curve, number in trials.items()
        },
        curves=recorded_curves(config.case),
        episodes=config.evaluate_episodes,
        step_curves={
            curve.key: config.fine_tuning_episodes if curve.is_of_episode else config.evaluate_episodes
            for curve in curves
        },
    )


def starting_point(config: RunConfig, scenario: Scenario) -> tuple[dict[str, np.ndarray], int]:
    """Return the arrays that a run starts from, and its first round.

    These are new arrays and round 1, or the model in `initial-model` and the round after the model's round.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of another architecture, or of a round that is not before the last one.
    """
    new = initial_arrays(config, scenario)
    if not config.initial_model:
        return new, 1
    checkpoint = load_checkpoint(Path(config.initial_model))
    model_round = checkpoint.metadata.get(ROUND, "")
    if not model_round.isdecimal() or int(model_round) >= config.num_server_rounds:
        raise CheckpointError(
            f"{checkpoint.path}: expected a model of a round before num-server-rounds = {config.num_server_rounds}, "
            f"found round {model_round or 'unknown'}"
        )
    return checkpoint.fitted(new), int(model_round) + 1
