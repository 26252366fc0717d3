"""Episodes as tensors on a device."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fedmeta_flwr.data import Episode
from fedmeta_flwr.learning.device import fast_layout

IMAGE_ROWS, LOGIT_ROWS = -4, -2
"""The dimension of rows in images (rows, channels, height, width) and logits (rows, way), of one episode or several."""


@dataclass(frozen=True)
class Batch:
    """Images and labels on a device: images in 0..1, shape (rows, channels, height, width); labels int64 (rows,).

    In a batch of several episodes, both have a first dimension of episodes.
    """

    images: Tensor
    labels: Tensor


def to_batch(images: np.ndarray, labels: np.ndarray, device: torch.device) -> Batch:
    """Move uint8 images and their labels to a device, scaled to 0..1, in the device's `fast_layout`."""
    pixels = torch.from_numpy(np.ascontiguousarray(images)).to(device)
    scaled = pixels.to(dtype=torch.get_default_dtype(), memory_format=fast_layout(device)) / 255
    return Batch(scaled, torch.from_numpy(labels).to(device))


def together(batches: Sequence[Batch]) -> Batch:
    """Return batches of one shape as a batch of several episodes; one batch as it is."""
    if len(batches) == 1:
        return batches[0]
    return Batch(torch.stack([batch.images for batch in batches]), torch.stack([batch.labels for batch in batches]))


def support_of(episode: Episode, device: torch.device) -> Batch:
    """Return an episode's support set as tensors."""
    return to_batch(episode.support, episode.support_labels, device)


def query_of(episode: Episode, device: torch.device) -> Batch:
    """Return an episode's query set as tensors."""
    return to_batch(episode.query, episode.query_labels, device)
