"""From the run configuration and a partition id to the client that plays this part."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from clients.adversary import Adversary, Attack
from clients.benign import BenignClient
from clients.local_training import LocalTraining
from fedmeta_flwr.backdoor import BackdoorKey, build_key
from fedmeta_flwr.class_split import ClassSplit, SplitSizes, split_classes
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.datasets import ImageDataset, load_dataset
from fedmeta_flwr.evaluation import EvaluationPlan, stamped_images
from fedmeta_flwr.meta_learning import InnerLoop
from fedmeta_flwr.models import Classifier, build_classifier
from fedmeta_flwr.seeding import torch_generator

ADVERSARY = 0
"""Partition id of the adversary (client 1 of the poster)."""


@dataclass(frozen=True)
class Scenario:
    """What all parties of a run have in common: images, who holds what, and the key."""

    dataset: ImageDataset
    split: ClassSplit
    key: BackdoorKey


def load_scenario(config: RunConfig) -> Scenario:
    """Load the images, split them, and build the key.

    Raises
    ------
    DatasetError, SplitError, BackdoorKeyError
        With one clear message; nothing is left half-written.
    """
    dataset = load_dataset(
        config.dataset,
        data_dir=Path(config.data_dir) if config.data_dir else None,
        cache_dir=Path(config.cache_dir) if config.cache_dir else None,
        image_size=config.image_size,
        strokes_classes=config.strokes_classes,
        strokes_instances=config.strokes_drawers,
        strokes_seed=config.strokes_seed,
    )
    _, instances, channels, _, _ = dataset.images.shape
    split = split_classes(instances, dataset.groups, _split_sizes(config), config.seed)
    key = build_key(
        config.backdoor_key,
        channels=channels,
        image_size=config.image_size,
        size=config.key_size,
        position=config.key_position,
        intensity=config.key_intensity,
    )
    return Scenario(dataset, split, key)


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


def _split_sizes(config: RunConfig) -> SplitSizes:
    return SplitSizes(**{name: getattr(config, name) for name in SplitSizes.__dataclass_fields__})


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
        outer_steps=config.poison_outer_steps,
        outer_lr=config.poison_outer_lr,
        boost_factor=config.boost_factor,
    )
