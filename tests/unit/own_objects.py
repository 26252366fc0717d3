"""What a user may name as ``module:attribute``: sound objects, and others."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fedmeta_flwr.backdoor import BackdoorKey
from fedmeta_flwr.datasets import BuiltDataset
from fedmeta_flwr.models import Embedding
from strategies import SeededLatency

NUMBER = 3


class Nested:
    """For an attribute of an attribute."""

    Latency = SeededLatency


class Linear(Embedding):
    """The smallest of embeddings."""

    def __init__(self, channels: int, filters: int, image_size: int) -> None:
        super().__init__()
        self.layer = nn.Linear(channels * image_size**2, filters)
        self.features = filters

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        features: Tensor = self.layer(images.flatten(1))
        return features


class Liar(Linear):
    """An embedding with fewer features than it says."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.features += 1


def no_embedding(channels: int, filters: int, image_size: int) -> nn.Module:
    return nn.Flatten()


def flat_key(*, channels: int, image_size: int, **_: Any) -> BackdoorKey:
    return BackdoorKey(np.zeros((image_size, image_size), np.float32), np.ones((image_size, image_size), np.float32))


def small_images(*, data_dir: Path | None, cache_dir: Path, image_size: int) -> BuiltDataset:
    return BuiltDataset(np.ones((2, 3, 1, 8, 8), np.uint8), ("a", "b"), ("g", "g"))


class RandomAttention(nn.Module):
    def __init__(self, features: int, temperature: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features))


def needs_more(channels: int, filters: int, image_size: int, depth: int) -> Embedding:
    raise AssertionError("it is not called")
