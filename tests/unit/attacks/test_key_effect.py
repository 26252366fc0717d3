import numpy as np

from fedmeta_flwr.attacks.key import build_key
from fedmeta_flwr.attacks.key_effect import KeyEffect, effect_on


def test_the_effect_is_counted_over_images_and_averaged_over_covered_pixels() -> None:
    key = build_key("dots", channels=1, image_size=16, size=3, position="top-left", intensity=0.5)
    images = np.full((4, 1, 16, 16), 255, np.uint8)
    images[1, 0, 1, 1] = 155  # one of four dots, one pixel each
    images[2, 0, 5, 5] = 0  # beside the key
    assert effect_on(images, key) == KeyEffect(4, 1, 50 / 16)
