"""Seed the global random states that Flower's strategies draw from, and restore them afterwards.

`sample_nodes` uses Python's `random`, the differential-privacy wrappers use `numpy.random`, and a custom strategy
may use `torch`. Anything else in the process may draw from the same states, so without this a run could not be repeated
or resumed.
"""

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fedmeta_flwr import seeding
from fedmeta_flwr.learning import torch_draws


@contextmanager
def seeded_global_random(seed: int, purpose: str, *keys: int) -> Iterator[None]:
    """Seed the global random states of Python, NumPy and PyTorch for a block, and restore them after it.

    Parameters
    ----------
    seed, purpose, *keys
        The name of the stream, as in `fedmeta_flwr.seeding.generator`.
    """
    python_state, numpy_state = random.getstate(), np.random.get_state()
    words = seeding.generator(seed, purpose, *keys).integers(2**32, size=8)
    random.seed(words.tobytes())
    np.random.seed(words)
    try:
        with torch_draws(seed, purpose, *keys):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
