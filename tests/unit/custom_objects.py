"""What a user may name as ``module:attribute``: sound objects, and others."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from flwr.common import NDArrays, Scalar
from flwr.serverapp.strategy import FedAvg
from torch import Tensor, nn
from torch.nn import functional

from clients import Adversary, BenignClient
from fedmeta_flwr.attacks.key import BackdoorKey
from fedmeta_flwr.config.registry import resolve
from fedmeta_flwr.data import BuiltDataset, ImageDataset, load_strokes
from fedmeta_flwr.data.episodes import Episode
from fedmeta_flwr.learning.matching_network import Attention
from fedmeta_flwr.learning.models import Embedding
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


class Dropping(Linear):
    """An embedding with dropout as PyTorch has it."""

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        return functional.dropout(super().forward(images), 0.5, self.training)


class Watched(Dropping):
    """Notes of each pass whether it is in training mode, and whether anything is learned from it."""

    passes: ClassVar[list[tuple[bool, bool]]] = []

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        self.passes.append((self.training, torch.is_grad_enabled()))
        return super().forward(images)


class AlwaysDropping(Linear):
    """An embedding that drops out in evaluation mode, too."""

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        return functional.dropout(super().forward(images), 0.5)


class UnseededDropping(Linear):
    """An embedding that draws from a state which nobody seeds."""

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        features = super().forward(images)
        return features * float(np.random.default_rng().random()) if self.training else features


class BatchNormed(Linear):
    """An embedding that normalises by the batch, whatever `reference_rows` says."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.norm = nn.BatchNorm1d(self.features, track_running_stats=False)

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        features: Tensor = self.norm(super().forward(images))
        return features


class BatchNormedInTraining(BatchNormed):
    """An embedding that does so in training mode only."""

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        return super().forward(images) if self.training else Linear.forward(self, images)


class RunningStatistics(BatchNormed):
    """An embedding with PyTorch's ordinary batch normalisation."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.norm = nn.BatchNorm1d(self.features)


class HiddenStatistics(RunningStatistics):
    """The same, kept from the state that is exchanged."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        for name, buffer in list(self.norm.named_buffers()):
            self.norm.register_buffer(name, buffer, persistent=False)


def no_embedding(channels: int, filters: int, image_size: int) -> nn.Module:
    return nn.Flatten()


def flat_key(*, channels: int, image_size: int, **_: Any) -> BackdoorKey:
    return BackdoorKey(np.zeros((image_size, image_size), np.float32), np.ones((image_size, image_size), np.float32))


def key_of(pattern: float, opacity: float) -> Callable[..., BackdoorKey]:
    def build(*, channels: int, image_size: int, **_: Any) -> BackdoorKey:
        return BackdoorKey(
            np.full((channels, image_size, image_size), pattern, np.float32),
            np.full((image_size, image_size), opacity, np.float32),
        )

    return build


bright_key, opaque_key = key_of(300, 1), key_of(255, 1.5)
negative_key, unknown_key, invisible_key = key_of(-1, 1), key_of(255, math.nan), key_of(255, 0)


class Frozen(Linear):
    """An embedding that is not trained."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.layer.requires_grad_(False)


class Idle(Linear):
    """An embedding with a parameter that has no part in its features."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.unused = nn.Parameter(torch.zeros(1))


class NarrowAttention(nn.Module):
    """Attends to nothing in particular."""

    def __init__(self, features: int, temperature: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))

    def forward(self, queries: Tensor, support: Tensor) -> Tensor:
        return (queries * self.weight).sum(dim=1)


class DroppingAttention(Attention):
    """Attends to part of the features while it learns."""

    def forward(self, queries: Tensor, support: Tensor) -> Tensor:
        return super().forward(functional.dropout(queries, 0.5, self.training), support)


class AlwaysDroppingAttention(Attention):
    """Attends to part of the features always."""

    def forward(self, queries: Tensor, support: Tensor) -> Tensor:
        return super().forward(functional.dropout(queries, 0.5), support)


class MeanAttention(Attention):
    """Compares a query with what sets it apart from the other queries."""

    def forward(self, queries: Tensor, support: Tensor) -> Tensor:
        return super().forward(queries - queries.mean(dim=0), support)


class RunningAttention(Attention):
    """Normalises features by statistics that it keeps."""

    def __init__(self, features: int, temperature: float) -> None:
        super().__init__(features, temperature)
        self.norm = nn.BatchNorm1d(features)

    def forward(self, queries: Tensor, support: Tensor) -> Tensor:
        return super().forward(self.norm(queries), self.norm(support))


class NoisyClient(BenignClient):
    """Adds noise to its update, drawn as PyTorch's users do."""

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        arrays, num_examples, metrics = super().fit(parameters, config)
        return [array + 0.01 * torch.randn(array.shape).numpy() for array in arrays], num_examples, metrics


def returns_nothing(*_: Any, **__: Any) -> None:
    return None


def poisons_with_floats(episode: Episode, stamped: np.ndarray, target_class: int, **_: Any) -> Episode:
    return replace(episode, query=episode.query.astype(np.float32))


class EagerAdversary(Adversary):
    """An adversary that would have a say in the accuracies: it evaluates as benign clients do."""


def small_images(*, data_dir: Path | None, cache_dir: Path, image_size: int) -> BuiltDataset:
    return BuiltDataset(np.ones((2, 3, 1, 8, 8), np.uint8), ("a", "b"), ("g", "g"))


class RandomAttention(nn.Module):
    def __init__(self, features: int, temperature: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(features))


def needs_more(channels: int, filters: int, image_size: int, depth: int) -> Embedding:
    raise AssertionError("it is not called")


def lost_images(*, data_dir: Path | None, cache_dir: Path, image_size: int) -> BuiltDataset:
    return BuiltDataset(np.load("/home/rosalind/secret/images.npy"), (), ())


def demanding(built_in: Callable[..., Any]) -> Callable[..., Any]:
    """Return what stands in for a built-in object and has an option, which must be given and be 2."""

    def build(*arguments: Any, strength: int, **named: Any) -> Any:
        if strength != 2:
            raise ValueError("strength must be 2")
        return built_in(*arguments, **named)

    return build


def drawn_images(*, data_dir: Path | None, cache_dir: Path, image_size: int) -> ImageDataset:
    return load_strokes(60, 20, image_size, 0, cache_dir)


class DemandingStrategy(FedAvg):
    def __init__(self, *, strength: int, **fedavg: Any) -> None:
        if strength != 2:
            raise ValueError("strength must be 2")
        super().__init__(**fedavg)


class Demanding:
    """An object with an option, of every kind."""

    dataset = demanding(drawn_images)
    client = demanding(resolve("client", "built-in"))
    adversary = demanding(resolve("adversary", "built-in"))
    strategy = DemandingStrategy
    arrival_model = demanding(resolve("arrival-model", "latency"))
    embedding = demanding(resolve("embedding", "conv4"))
    poisoning = demanding(resolve("poisoning", "replacement"))
    backdoor_key = demanding(resolve("backdoor-key", "dots"))
    attention = demanding(resolve("attention", "cosine"))
    attack = demanding(resolve("attack", "model-replacement"))
    defense = demanding(resolve("defense", "rescue"))
