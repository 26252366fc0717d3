"""From the run configuration and a partition id to the client that plays this part."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from flwr.client import NumPyClient
from torch import nn

from clients.adversary import Adversary
from clients.benign import BenignClient
from clients.defended import DefendedClient
from clients.measurement import LocalSteps, Measurement
from clients.memory import ClientMemory
from fedmeta_flwr.apps.attacker import knowledge_of, make_attack, try_attack
from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.registry import is_custom, make
from fedmeta_flwr.config.setting import whole_numbers
from fedmeta_flwr.learning.device import fast_layout
from fedmeta_flwr.learning.evaluation import EvaluationPlan
from fedmeta_flwr.learning.local_training import LocalTraining
from fedmeta_flwr.learning.matching_network import MatchingNetwork, make_attention, matching_loop
from fedmeta_flwr.learning.meta_learning import InnerLoop, outer_loop
from fedmeta_flwr.learning.models import Classifier, build_classifier
from fedmeta_flwr.learning.network_trials import trial_rows, try_attention, try_embedding
from fedmeta_flwr.seeding import torch_draws, torch_generator


def initial_model(config: RunConfig, scenario: Scenario) -> Classifier | MatchingNetwork:
    """Build what a client trains, with the weights that the run starts from.

    In a defended federation the classifier's embedding is part of a matching network, and its head is dropped.
    """
    classifier = build_classifier(
        config.embedding,
        channels=scenario.dataset.images.shape[2],
        image_size=config.image_size,
        filters=config.filters,
        way=config.way,
        generator=torch_generator(config.seed, "initial-model"),
    )
    if config.defense != "federation":
        return classifier
    return MatchingNetwork(classifier.embedding, _new_attention(config, classifier.embedding.features))


def shared_part(model: Classifier | MatchingNetwork) -> nn.Module:
    """Return the part of a model that is exchanged: all of a classifier, of a matching network the embedding alone."""
    return model.embedding if isinstance(model, MatchingNetwork) else model


def make_client(
    config: RunConfig, scenario: Scenario, partition_id: int, device: torch.device, memory_folder: Path
) -> NumPyClient:
    """Return the client of a partition: an adversary, a benign or a defended client.

    In the place of the class it may be a custom one, which is called with the same arguments.

    Parameters
    ----------
    config : RunConfig
        The run's.
    scenario : Scenario
        The run's.
    partition_id : int
        Which client.
    device : torch.device
        Where its model lives.
    memory_folder : Path
        Where a client keeps what is its own.
    """
    model = initial_model(config, scenario).to(device).to(memory_format=fast_layout(device))
    benign = _benign_arguments(config, scenario, partition_id, model)
    if scenario.roles.is_adversary(partition_id):
        attack = {
            "attack": make_attack(config, knowledge_of(config, scenario, partition_id, benign)),
            "is_attack": config.is_attack,
            "between_attacks": config.adversary_between_attacks,
            "memory": ClientMemory.of(memory_folder, partition_id),
        }
        return _made("adversary", config.adversary, Adversary, benign | attack)
    if config.defense == "none":
        return _made("client", config.client, BenignClient, benign)
    own: dict[str, Any] = {"attention": None, "memory": None}
    if isinstance(model, MatchingNetwork):
        own = {"attention": model.attention, "memory": ClientMemory.of(memory_folder, partition_id)}
    return _made("client", config.client, DefendedClient, benign | own)


def _benign_arguments(
    config: RunConfig, scenario: Scenario, partition_id: int, model: Classifier | MatchingNetwork
) -> dict[str, Any]:
    return {
        "model": model,
        "shared": shared_part(model),
        "training": _local_training(config, scenario, partition_id),
        "holdings": scenario.split.training(partition_id),
        "outer_steps": config.benign_outer_steps,
        "outer_lr": config.outer_lr,
        "measurement": _measurement(config, scenario, partition_id),
    }


def require_own_clients(config: RunConfig, scenario: Scenario) -> None:
    """Build one client of either kind where the user's own code has a part in it, and use that part once.

    Otherwise a mistake there would fail the clients alone, and a federation goes on without a client that fails, such
    as its adversary.

    Raises
    ------
    RegistryError
        If something of the user's own does not take the arguments of the built-in one, or returns something else.
    """
    parts = (config.client, config.adversary, config.attack, config.poisoning, config.attention, config.embedding)
    if config.attack_options or any(is_custom(part) for part in parts):
        with torch_draws(config.seed, "trial-of-own-code"):
            _try_networks(config, scenario)
            _try_attack(config, scenario)
            for partition_id in (scenario.roles.colluders[0], scenario.roles.first_benign):
                make_client(config, scenario, partition_id, torch.device("cpu"), Path())


def _try_networks(config: RunConfig, scenario: Scenario) -> None:
    embedding = initial_model(config, scenario).embedding
    if is_custom(config.embedding):
        images = torch.rand(trial_rows(), scenario.dataset.images.shape[2], config.image_size, config.image_size)
        try_embedding(embedding, config.embedding, images, config.batch_norm)
    if is_custom(config.attention):
        attention = _new_attention(config, embedding.features)
        try_attention(attention, config.attention, embedding.features, config.batch_norm)


def _try_attack(config: RunConfig, scenario: Scenario) -> None:
    partition_id = scenario.roles.colluders[0]
    arguments = _benign_arguments(config, scenario, partition_id, initial_model(config, scenario))
    try_attack(config, knowledge_of(config, scenario, partition_id, arguments))


def _made(key: str, name: str, built_in: type[NumPyClient], arguments: dict[str, Any]) -> NumPyClient:
    if not is_custom(name):
        return built_in(**arguments)
    client: NumPyClient = make(key, name, NumPyClient, arguments)
    return client


def _new_attention(config: RunConfig, features: int) -> nn.Module:
    return make_attention(
        config.attention,
        features=features,
        temperature=config.matching_temperature,
        generator=torch_generator(config.seed, "initial-attention"),
    )


def _local_training(config: RunConfig, scenario: Scenario, partition_id: int) -> LocalTraining:
    """Return how a client trains in a round."""
    if config.defense == "federation":
        return _matching_training(config, scenario, partition_id)
    return _head_training(config, scenario, partition_id)


def _head_training(config: RunConfig, scenario: Scenario, partition_id: int) -> LocalTraining:
    inner = InnerLoop(config.inner_lr, config.inner_steps, config.batch_norm)
    return LocalTraining(
        way=config.way,
        meta_batch_size=config.meta_batch_size,
        learn=partial(outer_loop, algorithm=config.algorithm, inner=inner),
        **_episodes(config, scenario, partition_id),
    )


def _matching_training(config: RunConfig, scenario: Scenario, partition_id: int) -> LocalTraining:
    return LocalTraining(
        way=config.matching_way,
        meta_batch_size=1,
        learn=partial(matching_loop, batch_norm=config.batch_norm),
        **_episodes(config, scenario, partition_id),
    )


def _episodes(config: RunConfig, scenario: Scenario, partition_id: int) -> dict[str, Any]:
    return {
        "images": scenario.dataset.images,
        "shot": config.shot,
        "query_shot": config.query_shot,
        "rotation": config.rotation_augmentation,
        "optimizer": config.outer_optimizer,
        "seed": config.seed,
        "partition_id": partition_id,
    }


def _measurement(config: RunConfig, scenario: Scenario, partition_id: int) -> Measurement:
    local = LocalSteps(
        matching=replace(_matching_training(config, scenario, partition_id), purpose="local-matching-episode"),
        head=replace(_head_training(config, scenario, partition_id), purpose="local-head-episode"),
        holdings=scenario.split.training(partition_id),
        matching_lr=config.matching_lr,
        head_lr=config.local_head_lr,
        new_attention=partial(_new_attention, config),
    )
    return Measurement(
        plan=_evaluation_plan(config, scenario, partition_id),
        inner=InnerLoop(config.inner_lr, config.evaluate_inner_steps, config.batch_norm),
        local=local,
        matching_steps=config.matching_steps,
        step_curves=config.step_curve_names,
        has_step_curves=config.has_step_curves,
        fine_tuning_steps=whole_numbers(config.fine_tuning_curve_steps),
        local_steps=whole_numbers(config.local_curve_steps),
        fine_tuning_episodes=config.fine_tuning_episodes,
    )


def _evaluation_plan(config: RunConfig, scenario: Scenario, partition_id: int) -> EvaluationPlan:
    return EvaluationPlan(
        images=scenario.dataset.images,
        split=scenario.split,
        key=scenario.key,
        batch_norm=config.batch_norm,
        way=config.way,
        shot=config.shot,
        query_shot=config.evaluate_query_shot,
        episodes=config.evaluate_episodes,
        seed=config.seed,
        partition_id=partition_id,
    )
