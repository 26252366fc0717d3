"""Differential-privacy strategies that clip on the server; unlike with Flower's, an update of norm 0 ends no run.

Each clips the replies and then does the same as the corresponding Flower strategy for clients that clip.
"""

from collections.abc import Iterable

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import (
    DifferentialPrivacyClientSideAdaptiveClipping,
    DifferentialPrivacyClientSideFixedClipping,
)

from fedmeta_flwr.protocol import clip, messages


class ServerSideFixedClipping(DifferentialPrivacyClientSideFixedClipping):
    """Like Flower's `DifferentialPrivacyServerSideFixedClipping`, but an update may have norm 0."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Store the arrays that the clients start from, and ask them; they are sent no norm to clip to."""
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
    """Like Flower's `DifferentialPrivacyServerSideAdaptiveClipping`, but an update may have norm 0."""

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Store the arrays that the clients start from, and ask them; they are sent no norm to clip to."""
        self.current_arrays = arrays
        return self.strategy.configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Clip, record which updates were clipped, aggregate, adapt the norm, and add noise."""
        clipped = list(replies)
        for reply, is_clipped in zip(clipped, _clip(clipped, self.current_arrays, self.clipping_norm), strict=True):
            messages.set_metric(reply, messages.NORM_BIT, int(is_clipped))
        return super().aggregate_train(server_round, clipped)


def _clip(replies: list[Message], arrays: ArrayRecord, clipping_norm: float) -> list[bool]:
    """Clip replies in place; return for each whether it was clipped."""
    sent = messages.from_record(arrays)
    found = [clip(messages.message_arrays(reply), sent, clipping_norm) for reply in replies]
    for reply, (clipped, _) in zip(replies, found, strict=True):
        messages.set_arrays(reply, clipped)
    return [is_clipped for _, is_clipped in found]
