"""Flower's strategies with differential privacy that clip on the server; an update of norm 0 does not end a run.

Each does what its sibling for clients that clip does, after it has clipped the replies itself.
"""

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
)

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.protocol.clipping import clip


class ServerSideFixedClipping(DifferentialPrivacyClientSideFixedClipping):
    """As Flower's `DifferentialPrivacyServerSideFixedClipping`."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember what the clients start from, and ask them; they are told no norm to clip to."""
        self.current_arrays = arrays
        return self._prepare_accounting(server_round, self.strategy.configure_train(server_round, arrays, config, grid))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Clip, aggregate, and add noise."""
        clipped = list(replies)
        _clip(clipped, self.current_arrays, self.clipping_norm)
        return super().aggregate_train(server_round, clipped)


class ServerSideAdaptiveClipping(DifferentialPrivacyClientSideAdaptiveClipping):
    """As Flower's `DifferentialPrivacyServerSideAdaptiveClipping`."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Remember what the clients start from, and ask them; they are told no norm to clip to."""
        self.current_arrays = arrays
        return self.strategy.configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Clip, note who was clipped, aggregate, adapt the norm, and add noise."""
        clipped = list(replies)
        for reply, is_clipped in zip(clipped, _clip(clipped, self.current_arrays, self.clipping_norm), strict=True):
            messages.set_metric(reply, messages.NORM_BIT, int(is_clipped))
        return super().aggregate_train(server_round, clipped)


def _clip(replies: list[Message], arrays: ArrayRecord, clipping_norm: float) -> list[bool]:
    """Clip replies in place; return which of them had to be."""
    sent = messages.from_record(arrays)
    found = [clip(messages.message_arrays(reply), sent, clipping_norm) for reply in replies]
    for reply, (clipped, _) in zip(replies, found, strict=True):
        messages.set_arrays(reply, clipped)
    return [is_clipped for _, is_clipped in found]
