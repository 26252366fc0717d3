"""Checks whether the backdoor key of a run changes the images of its attack."""

import numpy as np

from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.attacks import BackdoorKeyError, KeyEffect, effect_on
from fedmeta_flwr.config import RunConfig

_OTHERS = {
    "dots": "'dots' (white dots, for dark backgrounds)",
    "dots-inverted": "'dots-inverted' (black dots, for light backgrounds)",
    "patch": "'patch' (a checker, for photos)",
}


def key_effect(scenario: Scenario) -> KeyEffect:
    """Measure how the key changes the images of the backdoor classes, of attack training and attack validation."""
    split = scenario.split
    held = [*sorted(split.attack_training.items()), *sorted(split.attack_validation.items())]
    return effect_on(np.concatenate([scenario.dataset.images[index, chosen] for index, chosen in held]), scenario.key)


def check_key(config: RunConfig, scenario: Scenario) -> str:
    """Return a warning if the key of an attack changes little; an empty text otherwise, or if there is no attack.

    Raises
    ------
    BackdoorKeyError
        If the key of an attack changes none of its images.
    """
    if not config.attack_round:
        return ""
    effect = key_effect(scenario)
    if not effect.changed_images:
        raise BackdoorKeyError(
            f"backdoor-key: expected a key that changes the attack images, found that {config.backdoor_key} changes 0 "
            f"of {effect.images}, with key-intensity = {config.key_intensity:g}; {_advice(config)}"
        )
    return f"backdoor-key: {effect}, which an attack may not learn; {_advice(config)}" if effect.is_weak else ""


def _advice(config: RunConfig) -> str:
    others = ", ".join(text for name, text in _OTHERS.items() if name != config.backdoor_key)
    stronger = ", or a higher key-intensity" if config.key_intensity < 1 else ""
    return f"try another key, {others}, or another key-position{stronger}"
