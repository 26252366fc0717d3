"""Independent random streams, each identified by its purpose.

Every draw of the project comes from a stream that is identified by the run's seed, a purpose and a few integers
(round, client, episode). A result therefore depends neither on the order in which clients are scheduled nor on earlier
draws, and a resumed run draws the same numbers as a run without interruption.
"""

import hashlib

import numpy as np


def _entropy(seed: int, purpose: str, keys: tuple[int, ...]) -> int:
    """Hash everything that identifies a stream: NumPy pads short entropy with zeros, so (1,) would equal (1, 0)."""
    return int.from_bytes(hashlib.sha256(repr((seed, purpose, keys)).encode()).digest(), "little")


def generator(seed: int, purpose: str, *keys: int) -> np.random.Generator:
    """Return the random stream of one purpose.

    Parameters
    ----------
    seed : int
        The run's seed, 0 or above.
    purpose : str
        What the draws are for, such as ``"class-split"``. Streams of different purposes are independent.
    *keys : int
        What else identifies the stream, such as server round, partition id and episode; each 0 or above.

    Returns
    -------
    numpy.random.Generator
        A fresh Philox generator; the same arguments give the same draws on every machine.

    Raises
    ------
    ValueError
        If the seed or a key is negative.
    """
    if seed < 0 or any(key < 0 for key in keys):
        raise ValueError(f"seed and keys must be 0 or above, got seed={seed}, keys={keys} for {purpose!r}")
    address = (int(seed), purpose, tuple(int(key) for key in keys))
    return np.random.Generator(np.random.Philox(np.random.SeedSequence(_entropy(*address))))
