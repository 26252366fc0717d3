"""Builds a client from the run configuration and a partition id."""

from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.client import NumPyClient
from torch import nn

from clients.measurement import Measurement
from clients.memory import ClientMemory
from fedmeta_flwr.apps.attacker import knowledge_of, make_attack, needs_trial, try_attack
from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.attacks import Knowledge, stamped_sets
from fedmeta_flwr.config import RunConfig, whole_numbers
from fedmeta_flwr.config.registry import custom_code, is_custom, make
from fedmeta_flwr.defenses import Defense, LocalContext, MatchingSettings, make_defense
from fedmeta_flwr.defenses.step_curves import curves_of
from fedmeta_flwr.defenses.trial import try_defense
from fedmeta_flwr.learning import (
    Classifier,
    EvaluationPlan,
    InnerLoop,
    LocalTraining,
    build_classifier,
    fast_layout,
    get_arrays,
    make_attention,
    obstacle,
    outer_loop,
    set_precision,
    torch_draws,
    torch_generator,
    trial_rows,
    try_attention,
    try_embedding,
)


def initial_model(config: RunConfig, scenario: Scenario) -> nn.Module:
    """Build the model that a client trains, with the run's initial weights."""
    classifier = _new_classifier(config, _channels(scenario), "initial-model")
    return defense_of(config).model(classifier, _matching_settings(config))


def initial_arrays(config: RunConfig, scenario: Scenario) -> dict[str, np.ndarray]:
    """Return the arrays that are exchanged, by name, with the run's initial values."""
    return get_arrays(defense_of(config).shared_part(initial_model(config, scenario)))


def defense_of(config: RunConfig) -> Defense:
    """Return the defense of a run."""
    return make_defense(config.defense, config.defense_options)


def _channels(scenario: Scenario) -> int:
    return int(scenario.dataset.images.shape[2])


def _new_classifier(config: RunConfig, channels: int, purpose: str, *keys: int) -> Classifier:
    model = build_classifier(
        config.embedding,
        config.embedding_options,
        channels=channels,
        image_size=config.image_size,
        filters=config.filters,
        way=config.way,
        generator=torch_generator(config.seed, purpose, *keys),
    )
    set_precision(model, config.precision, config.embedding)
    return model


def make_client(
    config: RunConfig, scenario: Scenario, partition_id: int, device: torch.device, memory_folder: Path
) -> NumPyClient:
    """Return the client of a partition: an adversary, a benign or a defended client.

    A custom class is called with the same arguments as the built-in one that it replaces.

    Parameters
    ----------
    config : RunConfig
        The run configuration.
    scenario : Scenario
        The scenario of the run.
    partition_id : int
        Which client.
    device : torch.device
        The device of the client's model.
    memory_folder : Path
        The folder of the clients' private arrays.
    """
    model: nn.Module = initial_model(config, scenario).to(device).to(memory_format=fast_layout(device))
    defense = defense_of(config)
    benign = _benign_arguments(config, scenario, partition_id, model)
    memory = ClientMemory.of(memory_folder, partition_id)
    if scenario.roles.is_adversary(partition_id):
        attack = {
            "attack": make_attack(config, knowledge_of(config, scenario, partition_id, benign)),
            "is_attack": partial(config.is_attacker, scenario.roles.colluders.index(partition_id)),
            "between_attacks": config.adversary_between_attacks,
            "memory": memory,
        }
        return _new_client("adversary", config.adversary, benign | attack, config.adversary_options)
    if defense.label:
        benign |= {"private": defense.private_part(model), "memory": memory}
    return _new_client("client", config.client, benign, config.client_options)


def _benign_arguments(config: RunConfig, scenario: Scenario, partition_id: int, model: nn.Module) -> dict[str, Any]:
    defense, context = defense_of(config), _local_context(config, scenario, partition_id)
    return {
        "model": model,
        "shared": defense.shared_part(model),
        "training": defense.training(context),
        "holdings": scenario.split.training(partition_id),
        "outer_steps": config.benign_outer_steps,
        "outer_lr": config.outer_lr,
        "measurement": _measurement(config, scenario, partition_id, defense, context),
    }


def require_custom_clients(config: RunConfig, scenario: Scenario) -> None:
    """Build one benign client and one adversary if custom objects or options are used, and try these objects once.

    Otherwise a mistake in them would make only the clients fail, and a federation continues without a client that
    fails, such as its adversary.

    Raises
    ------
    RegistryError
        If an object does not take the arguments of the built-in one or one of its options, fails, or returns something
        else.
    """
    parts = ("client", "adversary", "poisoning", "attention", "embedding", "defense")
    if _needs_trial(config, *parts) or needs_trial(config):
        with torch_draws(config.seed, "trial-of-custom-objects"):
            _try_networks(config, scenario)
            if _needs_trial(config, "defense"):
                _try_defense(config, scenario)
            if config.attack_round:
                try_attack(config, _knowledge_of_first(config, scenario))
            parties = {"adversary": scenario.roles.colluders[0], "client": scenario.roles.first_benign}
            for kind, partition_id in parties.items():
                with _custom_code(config, kind):
                    make_client(config, scenario, partition_id, torch.device("cpu"), Path())


def attack_remark(config: RunConfig, scenario: Scenario) -> str:
    """Return what a user should know about the attack before the run; empty: nothing."""
    if not config.attack_round or not needs_trial(config):
        return ""
    with torch_draws(config.seed, "trial-of-custom-objects"):
        return make_attack(config, _knowledge_of_first(config, scenario)).remark


def obstacle_to_batches(config: RunConfig, scenario: Scenario) -> str:
    """Return why the run's network cannot learn from several episodes at once; empty if it can or never does so."""
    if not defense_of(config).has_head:
        return ""
    with torch_draws(config.seed, "trial-of-custom-objects"):
        images = scenario.dataset.images
        return obstacle(initial_model(config, scenario), config.batch_norm, images.shape[2:])


def _needs_trial(config: RunConfig, *kinds: str) -> bool:
    """Return whether one of these objects is custom or has options."""
    return any(is_custom(getattr(config, kind)) or getattr(config, f"{kind}_options") for kind in kinds)


def _custom_code(config: RunConfig, kind: str) -> AbstractContextManager[None]:
    """Return the context of a trial of this object; errors of a built-in one pass as they are."""
    if not _needs_trial(config, kind):
        return nullcontext()
    return custom_code(kind, getattr(config, kind), getattr(config, f"{kind}_options"))


def _try_networks(config: RunConfig, scenario: Scenario) -> None:
    with _custom_code(config, "embedding"):
        embedding = _new_classifier(config, _channels(scenario), "initial-model").embedding
        if _needs_trial(config, "embedding"):
            images = torch.rand(trial_rows(), scenario.dataset.images.shape[2], config.image_size, config.image_size)
            try_embedding(embedding, config.embedding, images, config.batch_norm)
    if _needs_trial(config, "attention"):
        with _custom_code(config, "attention"):
            attention = _new_attention(config, embedding.features)
            try_attention(attention, config.attention, embedding.features, config.batch_norm)


def _try_defense(config: RunConfig, scenario: Scenario) -> None:
    partition_id = scenario.roles.first_benign
    context, plan = _local_context(config, scenario, partition_id), _evaluation_plan(config, scenario, partition_id)
    defense = defense_of(config)
    with _custom_code(config, "defense"):
        model, curves = initial_model(config, scenario), _step_curves(config, defense)
        try_defense(defense, config.defense, model, context, plan.meta_testing_episode(0), curves=curves)


def _knowledge_of_first(config: RunConfig, scenario: Scenario) -> Knowledge:
    """Return what the first adversary knows."""
    partition_id = scenario.roles.colluders[0]
    arguments = _benign_arguments(config, scenario, partition_id, initial_model(config, scenario))
    return knowledge_of(config, scenario, partition_id, arguments)


def _new_client(kind: str, name: str, arguments: dict[str, Any], options: str) -> NumPyClient:
    client: NumPyClient = make(kind, name, NumPyClient, arguments, options)
    return client


def _new_attention(config: RunConfig, features: int, draw: int = 0) -> nn.Module:
    return make_attention(
        config.attention,
        config.attention_options,
        features=features,
        temperature=config.matching_temperature,
        generator=torch_generator(config.seed, "initial-attention", *([draw] if draw else [])),
    )


def _matching_settings(config: RunConfig) -> MatchingSettings:
    return MatchingSettings(
        way=config.matching_way,
        steps=config.matching_steps,
        lr=config.matching_lr,
        new_attention=partial(_new_attention, config),
    )


def _local_context(config: RunConfig, scenario: Scenario, partition_id: int) -> LocalContext:
    return LocalContext(
        training=_head_training(config, scenario, partition_id),
        holdings=scenario.split.training(partition_id),
        inner=_inner_loop(config, config.evaluate_inner_steps),
        head_lr=config.local_head_lr,
        matching=_matching_settings(config),
        new_classifier=partial(_new_classifier, config, _channels(scenario), "local-only-model", partition_id),
    )


def _inner_loop(config: RunConfig, steps: int) -> InnerLoop:
    return InnerLoop(config.inner_lr, steps, config.batch_norm, config.episodes_at_once)


def _head_training(config: RunConfig, scenario: Scenario, partition_id: int) -> LocalTraining:
    return LocalTraining(
        images=scenario.dataset.images,
        way=config.way,
        shot=config.shot,
        query_shot=config.query_shot,
        rotation=config.rotation_augmentation,
        meta_batch_size=config.meta_batch_size,
        learn=partial(outer_loop, algorithm=config.algorithm, inner=_inner_loop(config, config.inner_steps)),
        optimizer=config.outer_optimizer,
        seed=config.seed,
        partition_id=partition_id,
    )


def _measurement(
    config: RunConfig, scenario: Scenario, partition_id: int, defense: Defense, context: LocalContext
) -> Measurement:
    return Measurement(
        plan=_evaluation_plan(config, scenario, partition_id),
        defense=defense,
        context=context,
        step_curves=_step_curves(config, defense),
        has_step_curves=config.has_step_curves,
        fine_tuning_steps=whole_numbers(config.fine_tuning_curve_steps),
        local_steps=whole_numbers(config.local_curve_steps),
        fine_tuning_episodes=config.fine_tuning_episodes,
    )


def _step_curves(config: RunConfig, defense: Defense) -> tuple[Defense, ...]:
    curves = curves_of(defense)
    return tuple(curves[name] for name in config.step_curves.split())


def _evaluation_plan(config: RunConfig, scenario: Scenario, partition_id: int) -> EvaluationPlan:
    return EvaluationPlan(
        images=scenario.dataset.images,
        split=scenario.split,
        stamped=stamped_sets(scenario.dataset.images, scenario.split, scenario.key),
        batch_norm=config.batch_norm,
        way=config.way,
        shot=config.shot,
        query_shot=config.evaluate_query_shot,
        episodes=config.evaluate_episodes,
        seed=config.seed,
        partition_id=partition_id,
    )
