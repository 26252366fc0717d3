"""Builds the attack of an adversary from the run configuration."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from flwr.app import MetricRecord

from clients.memory import ClientMemory
from fedmeta_flwr.apps.known_rule import rule_of
from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.attacks import (
    Attack,
    Knowledge,
    Layer,
    Poisoning,
    PublicKnowledge,
    Turn,
    Upload,
    make_poison,
    stamped_images,
)
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.registry import (
    RegistryError,
    custom_code,
    is_custom,
    json_object,
    make,
    names,
    resolve,
)
from fedmeta_flwr.data import Episode
from fedmeta_flwr.learning import get_arrays
from fedmeta_flwr.protocol import KEY_LIMITS, NUM_EXAMPLES
from fedmeta_flwr.records import TRAIN_LOSS
from fedmeta_flwr.seeding import generator


def make_attack(config: RunConfig, knowledge: Knowledge) -> Attack:
    """Return the attack that the settings name.

    Raises
    ------
    RegistryError
        If a custom attack cannot be used, or the attack does not take an option.
    """
    if not getattr(resolve("attack", config.attack), "is_boosted", True):
        knowledge = replace(knowledge, boost_factor=float(len(knowledge.public.roles.adversaries)))
    known = replace(knowledge, layers=_layers(config.attack_layers, knowledge))
    with custom_code("attack", config.attack, config.attack_options):
        attack: Attack = make("attack", config.attack, Attack, {"knowledge": known}, config.attack_options)
    return attack


def _layers(attack_layers: str, knowledge: Knowledge) -> tuple[Layer, ...]:
    """Return the layers that a setting lists; raises `RegistryError` if one cannot be made."""
    layers = []
    for name, options in json_object(attack_layers).items():
        if not isinstance(options, dict):
            raise RegistryError(f"attack-layers: expected a JSON object of options for {name!r}, found {options!r}")
        layers.append(_layer(name, json.dumps(options), knowledge))
    return tuple(layers)


def _layer(name: str, options: str, knowledge: Knowledge) -> Layer:
    try:
        with custom_code("attack-layer", name, options):
            layer: Layer = make("attack-layer", name, Layer, {"knowledge": knowledge}, options)
    except RegistryError as error:  # it names a setting of its own, but all layers are in one
        problem = str(error).removeprefix("attack-layer-options: ").removeprefix("attack-layer: ")
        raise RegistryError(f"attack-layers: {problem}") from error
    return layer


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
        `measurement`, `outer_steps` and `outer_lr`. Of the latter's images and episodes, it gets none.
    """
    images = scenario.images_of_adversary(partition_id)
    context = client["measurement"].context
    return Knowledge(
        public=PublicKnowledge(
            roles=scenario.roles,
            quorum=config.quorum,
            strategy=config.strategy,
            defense=client["measurement"].defense,
            outer_steps=client["outer_steps"],
            outer_lr=client["outer_lr"],
            aggregate=rule_of(config),
            attack_order=config.attack_order,
        ),
        model=client["model"],
        shared=client["shared"],
        training=replace(client["training"], images=images),
        context=replace(context, training=replace(context.training, images=images)),
        holdings=scenario.split.clients[partition_id],
        target=scenario.split.target_adversary,
        backdoor=scenario.split.attack_images(partition_id),
        key=scenario.key,
        poisoning=_poisoning(config, scenario, partition_id),
        outer_steps=config.poison_outer_steps,
        outer_lr=config.poison_outer_lr,
        outer_lr_schedule=config.poison_outer_lr_schedule,
        boost_factor=config.boost_factor,
    )


def _poisoning(config: RunConfig, scenario: Scenario, partition_id: int) -> Poisoning:
    return Poisoning(
        stamped=stamped_images(scenario.dataset.images, scenario.split.attack_images(partition_id), scenario.key),
        poison=make_poison(config.poisoning, config.poisoning_options),
        poison_fraction=config.poison_fraction,
        poison_support_episodes=config.poison_support_episodes,
    )


def needs_trial(config: RunConfig) -> bool:
    """Return whether the attack is tried before a run: it is not the default one, or has options or layers."""
    default, *_ = names("attack")
    return config.attack != default or bool(config.attack_options or config.attack_layers)


def try_attack(config: RunConfig, knowledge: Knowledge) -> None:
    """Use the custom parts of an attack once; the attack makes a single outer step of local training.

    Raises
    ------
    RegistryError
        If a custom poisoning or a custom attack fails, or does not return what the built-in one does.
    """
    if is_custom(config.poisoning) or config.poisoning_options:
        with custom_code("poisoning", config.poisoning, config.poisoning_options):
            _try_poisoning(config, knowledge)
    attack = make_attack(config, replace(knowledge, outer_steps=1))
    if is_custom(config.attack) or config.attack_layers:
        arrays = get_arrays(knowledge.shared)
        turn = Turn(1, arrays, generator(config.seed, "trial-of-attack"))
        with custom_code("attack", config.attack, config.attack_options):
            upload = attack.local_update(replace(turn, memory=_kept(attack, turn)))
            _check_upload(config.attack, upload, arrays)
            _check_metrics(config.attack, upload)
            _check_key(config.attack, upload, knowledge.training.images.shape[2:])


def _kept(attack: Attack, turn: Turn) -> Mapping[str, np.ndarray]:
    """Return what the attack remembers, after it was written to a file and read, as between two rounds."""
    with TemporaryDirectory() as folder:
        memory = ClientMemory.of(Path(folder), 0)
        if remembered := attack.remember(turn):
            memory.keep(remembered, turn.server_round, turn.server_round)
        return memory.recall(None, turn.server_round + 1) or {}


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
        if not np.isfinite(uploaded).all():
            raise RegistryError(f"attack: expected array {key} from {name!r} to have finite numbers, found others")


def _check_metrics(name: str, upload: Upload) -> None:
    """Check the numbers beside the arrays as the server will."""
    metrics: dict[str, Any] = {**upload.metrics}
    reported = MetricRecord({NUM_EXAMPLES: upload.num_examples, **metrics})
    for key, value in reported.items():
        if not np.isfinite(value).all():
            raise RegistryError(f"attack: expected {key} from {name!r} to be finite, found {value}")
    examples, loss = reported[NUM_EXAMPLES], reported.get(TRAIN_LOSS)
    if not isinstance(examples, int | float) or examples <= 0:
        raise RegistryError(f"attack: expected num_examples above 0 from {name!r}, found {examples}")
    if not isinstance(loss, int | float) or loss < 0:
        raise RegistryError(f"attack: expected a metric {TRAIN_LOSS} of 0 or above from {name!r}, found {loss}")


def _check_key(name: str, upload: Upload, shape: tuple[int, ...]) -> None:
    """Check a learned key as the server will."""
    if upload.key is None:
        return
    expected = {"pattern": shape, "opacity": shape[1:]}
    for part, array in upload.key.arrays().items():
        if array.shape != expected[part] or array.dtype != np.float32:
            raise RegistryError(
                f"attack: expected a key from {name!r} with {part} of float32 and shape {expected[part]}, found "
                f"{array.dtype} of {array.shape}"
            )
        if not ((array >= 0) & (array <= KEY_LIMITS[part])).all():  # not-a-number is neither
            raise RegistryError(f"attack: expected a key from {name!r} with {part} in 0..{KEY_LIMITS[part]:g}")
    if not upload.key.opacity.any():
        raise RegistryError(f"attack: expected a key from {name!r} that covers some pixel, found none")


def _try_poisoning(config: RunConfig, knowledge: Knowledge) -> None:
    poisoning, training = knowledge.poisoning, knowledge.training
    rng = generator(config.seed, "trial-of-poisoning")
    pool = {**knowledge.holdings, **knowledge.target}
    clean = training.sample(pool, rng, required=(knowledge.target_class,))
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
