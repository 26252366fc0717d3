"""What becomes known of a round while it runs, and the record that is made of it."""

import time
from dataclasses import dataclass, field

from flwr.app import ArrayRecord

from fedmeta_flwr.records.drops import Drop
from fedmeta_flwr.records.entries import Arrival, ClientEvaluation
from fedmeta_flwr.records.results import RoundRecord


@dataclass
class RoundProgress:
    """The round under way.

    Attributes
    ----------
    server_round : int
        From 1.
    began : float
        When, by `time.monotonic`.
    arrays : ArrayRecord
        The global arrays: until the aggregation those that are sent, then the new ones.
    arrivals, dropped, evaluation
        As in `RoundRecord`.
    """

    server_round: int
    began: float
    arrays: ArrayRecord
    arrivals: list[Arrival] = field(default_factory=list)
    dropped: list[Drop] = field(default_factory=list)
    evaluation: list[ClientEvaluation] | None = None

    def record(self, phase: str) -> RoundRecord:
        """Return the record of the round, which lasted until now."""
        return RoundRecord(
            server_round=self.server_round,
            phase=phase,
            arrivals=self.arrivals,
            dropped=self.dropped,
            evaluation=self.evaluation,
            seconds=time.monotonic() - self.began,
        )
