"""A round while it runs, and its record."""

import time
from dataclasses import dataclass, field

from flwr.app import ArrayRecord

from fedmeta_flwr.records import Arrival, ClientEvaluation, Drop, RoundRecord


@dataclass
class RoundProgress:
    """The current round.

    Attributes
    ----------
    server_round : int
        From 1.
    began : float
        Its start, by `time.monotonic`.
    arrays : ArrayRecord
        The global arrays: those sent to clients until the aggregation, then the new ones.
    arrivals, dropped, evaluation
        As in `RoundRecord`.
    key_round : int or None
        As in `RoundRecord`.
    """

    server_round: int
    began: float
    arrays: ArrayRecord
    arrivals: list[Arrival] = field(default_factory=list)
    dropped: list[Drop] = field(default_factory=list)
    evaluation: list[ClientEvaluation] | None = None
    key_round: int | None = None

    def record(self, phase: str) -> RoundRecord:
        """Return the record of the round; its duration ends now."""
        return RoundRecord(
            server_round=self.server_round,
            phase=phase,
            arrivals=self.arrivals,
            dropped=self.dropped,
            evaluation=self.evaluation,
            seconds=time.monotonic() - self.began,
            key_round=self.key_round,
        )
