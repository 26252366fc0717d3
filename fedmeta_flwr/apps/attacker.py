"""Builds the attack of an adversary from the run configuration."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.attacks import (
    Attack,
    Knowledge,
    Poisoning,
    PublicKnowledge,
    Turn,
    Upload,
    make_poison,
    stamped_images,
)
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.registry import RegistryError, is_custom, make, parse_options, refusals
from fedmeta_flwr.data import Episode
from fedmeta_flwr.learning import get_arrays
from fedmeta_flwr.seeding import generator


def make_attack(config: RunConfig, knowledge: Knowledge) -> Attack:
    """Return the attack that the settings name.

    Raises
    ------
    RegistryError
        If a custom attack cannot be used, or the attack does not take an option.
    """
    attack: Attack = make("attack", config.attack, Attack, {"knowledge": knowledge}, config.attack_options)
    return attack


def knowledge_of(config: RunConfig, scenario: Scenario, partition_id: int, client: Mapping[str, Any]) -> Knowledge:
    """Return what an adversary knows.

    Parameters
    ----------
    config : RunConfig
        The run configuration.
    scenario : Scenario
        The scenario of the run.
    partition_id : int
        Which adversary.
    client : mapping
        The arguments that a benign client of this partition would have, among them `model`, `shared`, `training`,
        `outer_steps` and `outer_lr`.
    """
    return Knowledge(
        public=PublicKnowledge(
            roles=scenario.roles,
            quorum=config.quorum,
            strategy=config.strategy,
            defense=config.defense,
            outer_steps=client["outer_steps"],
            outer_lr=client["outer_lr"],
        ),
        model=client["model"],
        shared=client["shared"],
        training=client["training"],
        holdings=scenario.split.clients[partition_id],
        target=scenario.split.target_adversary,
        poisoning=_poisoning(config, scenario, partition_id),
        outer_steps=config.poison_outer_steps,
        outer_lr=config.poison_outer_lr,
        boost_factor=config.boost_factor,
    )


def _poisoning(config: RunConfig, scenario: Scenario, partition_id: int) -> Poisoning:
    return Poisoning(
        stamped=stamped_images(scenario.dataset.images, scenario.split.attack_images(partition_id), scenario.key),
        poison=make_poison(config.poisoning, config.poisoning_options),
        poison_fraction=config.poison_fraction,
        poison_support_episodes=config.poison_support_episodes,
    )


def try_attack(config: RunConfig, knowledge: Knowledge) -> None:
    """Use the custom parts of an attack once; the attack makes a single outer step of local training.

    Raises
    ------
    RegistryError
        If a custom poisoning or a custom attack does not return what the built-in one does.
    """
    if is_custom(config.poisoning) or config.poisoning_options:
        _try_poisoning(config, knowledge)
    attack = make_attack(config, replace(knowledge, outer_steps=1))
    if is_custom(config.attack):
        arrays = get_arrays(knowledge.shared)
        turn = Turn(1, arrays, generator(config.seed, "trial-of-attack"))
        _check_upload(config.attack, attack.local_update(replace(turn, memory=attack.remember(turn))), arrays)


def _check_upload(name: str, upload: Upload, arrays: Mapping[str, np.ndarray]) -> None:
    if not isinstance(upload, Upload):
        raise RegistryError(f"attack: expected {name!r} to return Upload, found {type(upload).__name__}")
    if set(upload.arrays) != set(arrays):
        found = ", ".join(sorted(upload.arrays)) or "none"
        raise RegistryError(f"attack: expected arrays {', '.join(sorted(arrays))} from {name!r}, found {found}")
    for key, array in arrays.items():
        uploaded = upload.arrays[key]
        if (uploaded.dtype, uploaded.shape) != (array.dtype, array.shape):
            raise RegistryError(
                f"attack: expected array {key} from {name!r} to be {array.dtype} of shape {array.shape}, "
                f"found {uploaded.dtype} of {uploaded.shape}"
            )


def _try_poisoning(config: RunConfig, knowledge: Knowledge) -> None:
    poisoning, training = knowledge.poisoning, knowledge.training
    rng = generator(config.seed, "trial-of-poisoning")
    pool = {**knowledge.holdings, **knowledge.target}
    clean = training.sample(pool, rng, required=(knowledge.target_class,))
    with refusals("poisoning", config.poisoning, parse_options("poisoning", config.poisoning_options)):
        poisoned = replace(poisoning, poison_support_episodes=1.0)(clean, knowledge.target_class, rng)
    if not isinstance(poisoned, Episode):
        raise RegistryError(
            f"poisoning: expected {config.poisoning!r} to return Episode, found {type(poisoned).__name__}"
        )
    for images in (poisoned.support, poisoned.query):
        if (images.dtype, images.shape[1:]) != (clean.query.dtype, clean.query.shape[1:]):
            raise RegistryError(
                f"poisoning: expected images of {clean.query.dtype} and shape {clean.query.shape[1:]} from "
                f"{config.poisoning!r}, found {images.dtype} and {images.shape[1:]}"
            )
