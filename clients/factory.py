"""From the run configuration and a partition id to the client that plays this part."""

from typing import Any

import torch

from clients.adversary import Adversary, Attack
from clients.benign import BenignClient
from clients.local_training import LocalTraining
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.evaluation import EvaluationPlan, stamped_images
from fedmeta_flwr.meta_learning import InnerLoop
from fedmeta_flwr.models import Classifier, build_classifier
from fedmeta_flwr.scenario import Scenario
from fedmeta_flwr.seeding import torch_generator

ADVERSARY = 0
"""Partition id of the adversary (client 1 of the poster)."""


def initial_model(config: RunConfig, scenario: Scenario) -> Classifier:
    """Build the network with the weights that the run starts from."""
    return build_classifier(
        config.embedding,
        channels=scenario.dataset.images.shape[2],
        image_size=config.image_size,
        filters=config.filters,
        way=config.way,
        generator=torch_generator(config.seed, "initial-model"),
    )


def make_client(config: RunConfig, scenario: Scenario, partition_id: int, device: torch.device) -> BenignClient:
    """Return the client of a partition: the adversary for 0, a benign client for every other."""
    benign: dict[str, Any] = {
        "model": initial_model(config, scenario).to(device),
        "training": _local_training(config, scenario, partition_id),
        "holdings": scenario.split.training(partition_id),
        "outer_steps": config.benign_outer_steps,
        "outer_lr": config.outer_lr,
        "plan": _evaluation_plan(config, scenario, partition_id),
    }
    if partition_id != ADVERSARY:
        return BenignClient(**benign)
    return Adversary(attack=_attack(config, scenario), between_attacks=config.adversary_between_attacks, **benign)


def _local_training(config: RunConfig, scenario: Scenario, partition_id: int) -> LocalTraining:
    return LocalTraining(
        images=scenario.dataset.images,
        way=config.way,
        shot=config.shot,
        query_shot=config.query_shot,
        rotation=config.rotation_augmentation,
        meta_batch_size=config.meta_batch_size,
        algorithm=config.algorithm,
        inner=InnerLoop(config.inner_lr, config.inner_steps, config.batch_norm),
        optimizer=config.outer_optimizer,
        seed=config.seed,
        partition_id=partition_id,
    )


def _evaluation_plan(config: RunConfig, scenario: Scenario, partition_id: int) -> EvaluationPlan:
    return EvaluationPlan(
        images=scenario.dataset.images,
        split=scenario.split,
        key=scenario.key,
        inner=InnerLoop(config.inner_lr, config.evaluate_inner_steps, config.batch_norm),
        way=config.way,
        shot=config.shot,
        query_shot=config.evaluate_query_shot,
        episodes=config.evaluate_episodes,
        seed=config.seed,
        partition_id=partition_id,
    )


def _attack(config: RunConfig, scenario: Scenario) -> Attack:
    return Attack(
        is_attack=config.is_attack,
        holdings=scenario.split.poisoned_training(),
        stamped=stamped_images(scenario.dataset.images, scenario.split.attack_training, scenario.key),
        target_class=scenario.split.target_class,
        poison_fraction=config.poison_fraction,
        poison_support_episodes=config.poison_support_episodes,
        outer_steps=config.poison_outer_steps,
        outer_lr=config.poison_outer_lr,
        boost_factor=config.boost_factor,
    )
