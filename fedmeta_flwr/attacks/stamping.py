"""The images of the backdoor classes with the key stamped on."""

import numpy as np

from fedmeta_flwr.attacks.key import BackdoorKey, stamp
from fedmeta_flwr.data import ClassSplit, Holdings

_MAX_PICTURES = 40
_GREY = 128


def held_images(images: np.ndarray, holdings: Holdings) -> np.ndarray:
    """Return all held images, class after class, uint8, shape (held, channels, height, width)."""
    return np.concatenate([images[index, held] for index, held in sorted(holdings.items())])


def stamped_images(images: np.ndarray, holdings: Holdings, key: BackdoorKey) -> np.ndarray:
    """Return all `held_images` with the key stamped on."""
    return stamp(held_images(images, holdings), key)


def stamped_sets(images: np.ndarray, split: ClassSplit, key: BackdoorKey) -> dict[str, np.ndarray]:
    """Return the `stamped_images` of attack training and of attack validation, by the name of the curve."""
    return {
        "attack_training": stamped_images(images, split.attack_training, key),
        "attack_validation": stamped_images(images, split.attack_validation, key),
    }


def pictures(images: np.ndarray, split: ClassSplit, key: BackdoorKey) -> dict[str, np.ndarray]:
    """Return pictures of the attack by tag, uint8, shape (images, channels, height, width).

    These are the key on grey, the adversaries' images of the target, and the stamped images of attack training and of
    attack validation; at most 40 of each.
    """
    blank = np.full((1, *key.pattern.shape), _GREY, np.uint8)
    held = [images[index, chosen] for index, chosen in sorted(split.target_adversary.items())]
    shown = {"key": stamp(blank, key), "target": np.concatenate(held), **stamped_sets(images, split, key)}
    return {f"backdoor/{name}": found[:_MAX_PICTURES] for name, found in shown.items()}
