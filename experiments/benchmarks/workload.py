"""The work that benchmarks of one client share: network, images, settings."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from experiments.benchmarks.bare_loop import Recipe, Task
from fedmeta_flwr.data import Episode, Holdings, load_strokes
from fedmeta_flwr.learning import (
    Classifier,
    InnerLoop,
    LocalTraining,
    build_classifier,
    outer_loop,
    query_of,
    support_of,
)

WAY, SHOT, META_BATCH_SIZE, INNER_STEPS = 5, 5, 4, 3
CPU = torch.device("cpu")
_CLASSES, _INSTANCES = 100, 20


@dataclass(frozen=True)
class Workload:
    """One kind of image, with its network.

    Attributes
    ----------
    name, embedding : str
        What it is called; a built-in one.
    filters, inner_lr
        As in the run configuration.
    images : np.ndarray
        Uint8, shape (classes, instances, channels, height, width).
    """

    name: str
    embedding: str
    filters: int
    inner_lr: float
    images: np.ndarray

    @property
    def holdings(self) -> Holdings:
        """All classes, with all their instances."""
        return {index: np.arange(self.images.shape[1]) for index in range(len(self.images))}

    def model(self) -> Classifier:
        """Build the network; every time the same."""
        _, _, channels, side, _ = self.images.shape
        return build_classifier(
            self.embedding,
            channels=channels,
            image_size=side,
            filters=self.filters,
            way=WAY,
            generator=torch.Generator().manual_seed(0),
        )

    def inner(self, batch_norm: str) -> InnerLoop:
        """Return the inner loop of a mode of normalisation."""
        return InnerLoop(self.inner_lr, INNER_STEPS, batch_norm)

    def recipe(self, algorithm: str, batch_norm: str) -> Recipe:
        """Return the same for the bare loop."""
        pooling = self.embedding == "conv4-pool"
        return Recipe(pooling, algorithm == "maml", batch_norm, self.inner_lr, INNER_STEPS)

    def training(self, algorithm: str, batch_norm: str) -> LocalTraining:
        """Return a benign client's local training."""
        return LocalTraining(
            images=self.images,
            way=WAY,
            shot=SHOT,
            query_shot=SHOT,
            rotation=False,
            meta_batch_size=META_BATCH_SIZE,
            learn=partial(outer_loop, algorithm=algorithm, inner=self.inner(batch_norm)),
            optimizer="adam",
            seed=0,
            partition_id=1,
        )


@contextmanager
def drawings() -> Iterator[Workload]:
    """Return generated characters of 28 pixels with the Omniglot embedding."""
    with tempfile.TemporaryDirectory(prefix="fedmeta-bench-") as folder:
        images = load_strokes(_CLASSES, _INSTANCES, 28, 0, Path(folder)).images
        yield Workload("Omniglot embedding, 28 pixels", "conv4", 64, 0.1, images)


@contextmanager
def photos() -> Iterator[Workload]:
    """Return noise instead of photos of 42 pixels, with the photo embedding; the time does not depend on the images."""
    images = np.random.default_rng(0).integers(256, size=(_CLASSES, _INSTANCES, 3, 42, 42), dtype=np.uint8)
    yield Workload("photo embedding, 42 pixels", "conv4-pool", 32, 0.03, images)


def as_task(episode: Episode) -> Task:
    """Return an episode as the bare loop needs it: tensors in PyTorch's default layout."""
    support, query = support_of(episode, CPU), query_of(episode, CPU)
    return Task(in_default_layout(support.images), support.labels, in_default_layout(query.images), query.labels)


def in_default_layout(images: Tensor) -> Tensor:
    """Return a copy with channels outermost; `contiguous` would leave images of one channel as they are."""
    return images.clone(memory_format=torch.contiguous_format)
