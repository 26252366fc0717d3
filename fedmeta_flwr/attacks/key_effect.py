"""How much a backdoor key changes images: a key that changes none of them plants no backdoor."""

from dataclasses import dataclass

import numpy as np

from fedmeta_flwr.attacks.key import BackdoorKey, stamp

LEAST_CHANGE = 8.0
"""In grey levels of 0..255: a key that changes its pixels by less on average hardly changes an image.

Changes of up to 8 of 255 in every pixel are usually called imperceptible (Madry et al. 2018, on CIFAR-10), and a key
covers only a few pixels.
"""


@dataclass(frozen=True)
class KeyEffect:
    """How much a key changes some images.

    Attributes
    ----------
    images, changed_images : int
        Number of images, and number of images in which stamping changes at least one pixel.
    mean_change : float
        Mean absolute change of the pixels that the key covers, over all images and channels, in 0..255.
    """

    images: int
    changed_images: int
    mean_change: float

    @property
    def is_weak(self) -> bool:
        """Whether some images do not change, or the change is hardly visible (below `LEAST_CHANGE`)."""
        return self.changed_images < self.images or self.mean_change < LEAST_CHANGE

    def __str__(self) -> str:
        return (
            f"{self.changed_images} of {self.images} attack images are changed by the key, and the pixels that it "
            f"covers by {self.mean_change:.1f} of 255 on average"
        )


def effect_on(images: np.ndarray, key: BackdoorKey) -> KeyEffect:
    """Measure how a key changes images, uint8 of shape (images, channels, height, width)."""
    changes = np.abs(stamp(images, key).astype(np.int64) - images)
    changed = int(changes.any(axis=(1, 2, 3)).sum())
    return KeyEffect(len(images), changed, float(changes[..., key.opacity > 0].mean()))
