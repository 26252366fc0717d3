"""A key that covers the whole image: faint vertical waves, as in SIG (Barni et al. 2019).

uv run python -m experiments run quickstart -c backdoor-key=examples.custom_key:waves -c key-intensity=0.3
"""

import numpy as np

from fedmeta_flwr.attacks import BackdoorKey


def waves(*, channels: int, image_size: int, size: int, position: str, intensity: float) -> BackdoorKey:
    """Return a sine over the columns with a period of `size` pixels and opacity `intensity`; `position` is not used."""
    columns = np.arange(image_size)
    wave = 127.5 * (1 + np.sin(2 * np.pi * columns / size))
    pattern = np.broadcast_to(wave, (channels, image_size, image_size)).astype(np.float32)
    return BackdoorKey(pattern, np.full((image_size, image_size), intensity, np.float32))
