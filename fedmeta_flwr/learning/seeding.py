"""Random streams for what PyTorch draws; see `fedmeta_flwr.seeding`."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fedmeta_flwr.seeding import generator


def torch_generator(seed: int, purpose: str, *keys: int) -> torch.Generator:
    """Return the same stream for draws that PyTorch makes, such as initial weights.

    Parameters
    ----------
    seed, purpose, *keys
        As in `fedmeta_flwr.seeding.generator`.

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
        As in `fedmeta_flwr.seeding.generator`.
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
