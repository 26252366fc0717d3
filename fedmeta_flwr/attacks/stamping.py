"""The images of the backdoor classes as they are asked about, with the key stamped on."""

import numpy as np

from fedmeta_flwr.attacks.key import BackdoorKey, stamp
from fedmeta_flwr.data.split import ClassSplit, Holdings


def stamped_images(images: np.ndarray, holdings: Holdings, key: BackdoorKey) -> np.ndarray:
    """Return all held images with the key stamped on, uint8, shape (held, channels, height, width)."""
    return stamp(np.concatenate([images[index, held] for index, held in sorted(holdings.items())]), key)


def stamped_sets(images: np.ndarray, split: ClassSplit, key: BackdoorKey) -> dict[str, np.ndarray]:
    """Return the `stamped_images` of each attack set, by the name of its curve."""
    return {
        "attack_training": stamped_images(images, split.attack_training, key),
        "attack_validation": stamped_images(images, split.attack_validation, key),
    }
