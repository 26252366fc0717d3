"""Independent random streams, addressed by what they are for.

Every draw of the project comes from a stream that is named by the run's seed, a purpose and a few integers
(round, client, episode). A result therefore depends neither on the order in which clients are scheduled nor on
what was drawn before, and a resumed run draws what it would have drawn.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def _entropy(seed: int, purpose: str, keys: tuple[int, ...]) -> int:
    """Hash the whole address: NumPy pads short entropy with zeros, so that (1,) and (1, 0) would be one stream."""
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
        What else tells the stream from its siblings, 0 or above each: server round, partition id, episode.

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


def torch_generator(seed: int, purpose: str, *keys: int) -> torch.Generator:
    """Return the same stream for draws that PyTorch makes, such as initial weights.

    Parameters
    ----------
    seed, purpose, *keys
        As in `generator`.

    Returns
    -------
    torch.Generator
        A generator on the CPU.
    """
    return torch.Generator().manual_seed(int(generator(seed, purpose, *keys).integers(2**63)))


@contextmanager
def torch_draws(seed: int, purpose: str, *keys: int) -> Iterator[None]:
    """Let PyTorch's global generators draw from a stream in a block, and put their states back after it.

    For what draws from no generator of its own, such as `torch.nn.Dropout`.

    Parameters
    ----------
    seed, purpose, *keys
        As in `generator`.
    """
    with global_torch_seed(int(generator(seed, purpose, *keys).integers(2**63))):
        yield


@contextmanager
def global_torch_seed(seed: int) -> Iterator[None]:
    """Seed PyTorch's global generators, of the CPU and of GPUs in use, and put their states back after the block."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=list(gpus)):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            torch.cuda.default_generators[gpu].manual_seed(seed)
        yield
