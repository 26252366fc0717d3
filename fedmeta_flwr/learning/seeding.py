"""Random streams for PyTorch; see `fedmeta_flwr.seeding`."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from fedmeta_flwr.seeding import generator


def torch_generator(seed: int, purpose: str, *keys: int) -> torch.Generator:
    """Return a stream for draws by PyTorch, such as of initial weights.

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
    """Seed PyTorch's global generators from a stream in a block, and restore their states after it.

    This is for code that always draws from the global generators, such as `torch.nn.Dropout`.

    Parameters
    ----------
    seed, purpose, *keys
        As in `fedmeta_flwr.seeding.generator`.
    """
    with global_torch_seed(int(generator(seed, purpose, *keys).integers(2**63))):
        yield


@contextmanager
def global_torch_seed(seed: int) -> Iterator[None]:
    """Seed PyTorch's global generators of the CPU and of GPUs in use, and restore their states after the block."""
    gpus = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=list(gpus)):
        torch.default_generator.manual_seed(seed)
        for gpu in gpus:
            torch.cuda.default_generators[gpu].manual_seed(seed)
        yield
