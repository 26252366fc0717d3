"""What all tests share: the default configuration, and a small made-up data set."""

import os
import tomllib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy is imported: each worker of the tests is one core

import numpy as np
import pytest
import torch

from fedmeta_flwr.config import RunConfig, Value
from fedmeta_flwr.protocol.flower_private import as_server_task

torch.set_num_threads(1)  # as in an actor
os.environ.setdefault("RAY_worker_niceness", "0")  # by default, actors yield to all other processes of the machine

ROOT = Path(__file__).resolve().parents[1]


def default_values() -> dict[str, Value]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        values: dict[str, Value] = tomllib.load(file)["tool"]["flwr"]["app"]["config"]
    return values


def as_task() -> AbstractContextManager[None]:
    """Messages can only be built inside a task; Flower and the engines set this when they start an app."""
    return as_server_task(run_id=7)


@pytest.fixture
def task_identity() -> Iterator[None]:
    with as_task():
        yield


@pytest.fixture
def double_precision() -> Iterator[None]:
    """Make 64-bit floats the default: in 32 bits, a value near a rectifier's kink may fall to either side."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def run_config() -> Callable[..., RunConfig]:
    """Return the default configuration with some settings changed."""

    def configured(**changes: Value) -> RunConfig:
        return RunConfig.parse(
            {**default_values(), **{name.replace("_", "-"): value for name, value in changes.items()}}
        )

    return configured


@pytest.fixture
def noise_images() -> np.ndarray:
    """40 classes of 20 images, 1 x 16 x 16; every image is unlike every other."""
    images: np.ndarray = np.random.default_rng(7).integers(0, 256, (40, 20, 1, 16, 16), dtype=np.uint8)
    return images
