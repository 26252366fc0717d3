"""What the backdoor key does to the images of an attack: one that changes none of them plants nothing."""

from dataclasses import dataclass

import numpy as np

from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.attacks.key import BackdoorKey, BackdoorKeyError, stamp
from fedmeta_flwr.config import RunConfig

LEAST_CHANGE = 8.0
"""Grey levels of 255; a key that changes its pixels by less on the mean hardly changes an image.

Changes of up to 8 of 255 in every pixel are the usual bound of what is called imperceptible (Madry et al. 2018, on
CIFAR-10), and a key covers few pixels.
"""

_OTHERS = {
    "dots": "'dots' (white dots, for dark backgrounds)",
    "dots-inverted": "'dots-inverted' (black dots, for light backgrounds)",
    "patch": "'patch' (a checker, for photos)",
}


@dataclass(frozen=True)
class KeyEffect:
    """How much a key changes some images.

    Attributes
    ----------
    images, changed_images : int
        How many there are, and in how many at least one pixel differs once they are stamped.
    mean_change : float
        Mean absolute change of the pixels that the key covers, over all images and channels, in 0..255.
    """

    images: int
    changed_images: int
    mean_change: float

    @property
    def is_weak(self) -> bool:
        """Whether some images stay as they are, or the change is hardly to be seen (`LEAST_CHANGE`)."""
        return self.changed_images < self.images or self.mean_change < LEAST_CHANGE

    def __str__(self) -> str:
        return (
            f"{self.changed_images} of {self.images} attack images are changed by the key, and the pixels that it "
            f"covers by {self.mean_change:.1f} of 255 on the mean"
        )


def effect_on(images: np.ndarray, key: BackdoorKey) -> KeyEffect:
    """Measure what a key does to images, uint8 of shape (images, channels, height, width)."""
    changes = np.abs(stamp(images, key).astype(np.int64) - images)
    changed = int(changes.any(axis=(1, 2, 3)).sum())
    return KeyEffect(len(images), changed, float(changes[..., key.opacity > 0].mean()))


def key_effect(scenario: Scenario) -> KeyEffect:
    """Measure what the key does to the images of the backdoor classes, attack training and attack validation."""
    split = scenario.split
    held = [*sorted(split.attack_training.items()), *sorted(split.attack_validation.items())]
    return effect_on(np.concatenate([scenario.dataset.images[index, chosen] for index, chosen in held]), scenario.key)


def check_key(config: RunConfig, scenario: Scenario) -> str:
    """Return a warning where the key of an attack changes little; empty where it does not, or there is no attack.

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
