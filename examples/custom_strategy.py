"""A strategy that clips every update to the median norm of a round's updates (Sun et al. 2019, norm clipping).

A boosted update has a large norm; here it counts no more than any other.

    uv run python -m experiments run quickstart -c strategy=examples.custom_strategy:MedianNormClipping
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg


class MedianNormClipping(FedAvg):
    """Flower's FedAvg after clipping; an update may have up to `slack` times the median norm."""

    def __init__(self, slack: float = 1.0, **fedavg: Any) -> None:
        super().__init__(**fedavg)
        self.slack = slack
        self.global_arrays = ArrayRecord()

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember the model from which the clients start."""
        self.global_arrays = arrays
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Clip in place, and average as FedAvg does."""
        replies, key = list(replies), self.arrayrecord_key
        start = self.global_arrays.to_numpy_ndarrays()
        updates = [
            [new - old for new, old in zip(reply.content.array_records[key].to_numpy_ndarrays(), start, strict=True)]
            for reply in replies
        ]
        norms = [float(np.sqrt(sum((part**2).sum() for part in update))) for update in updates]
        largest = self.slack * float(np.median(norms))
        for reply, update, norm in zip(replies, updates, norms, strict=True):
            factor = np.float32(min(1.0, largest / norm)) if norm else np.float32(1)
            clipped = [old + factor * part for old, part in zip(start, update, strict=True)]
            reply.content[key] = ArrayRecord(dict(zip(self.global_arrays, map(Array, clipped), strict=True)))
        return super().aggregate_train(server_round, replies)
