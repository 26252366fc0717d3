import numpy as np

from fedmeta_flwr.attacks.key import build_key, stamp
from fedmeta_flwr.attacks.stamping import stamped_images

KEY = build_key("dots", channels=1, image_size=16, size=6, position="top-left", intensity=1.0)


def test_stamped_images_are_the_held_ones_with_the_key(noise_images: np.ndarray) -> None:
    stamped = stamped_images(noise_images, {3: np.array([1]), 2: np.array([0, 5])}, KEY)
    expected = stamp(np.stack([noise_images[2, 0], noise_images[2, 5], noise_images[3, 1]]), KEY)
    assert (stamped == expected).all()
