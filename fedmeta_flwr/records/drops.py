"""Why a client does not count in a round: one of five reasons, and further details."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

_EVALUATION = "evaluation"


class DropReason(StrEnum):
    """Why a client does not count."""

    STRAGGLER = "straggler"
    """It had not answered when the quorum was complete."""
    ABSTAINED = "abstained"
    """It chose not to take part."""
    FAILED = "failed"
    """It raised, could not be reached, did not answer in time, or sent an invalid reply; the detail says which."""
    BUSY = "busy"
    """It was not asked, because a request of an earlier round was still pending."""
    UNASKED = "unasked"
    """It was to attack in this round, and the strategy did not select it; other clients that are not selected leave no
    trace."""


@dataclass(frozen=True)
class Drop:
    """A client that does not count in a round.

    Attributes
    ----------
    partition_id : int
        The client.
    reason : DropReason
        Why it does not count.
    detail : str
        What exactly has failed; empty if there are no details.
    sent_in_round : int or None
        Round of the instruction, if it is an earlier one.
    in_evaluation : bool
        Whether the client was to evaluate, rather than to train.
    """

    partition_id: int
    reason: DropReason
    detail: str = ""
    sent_in_round: int | None = None
    in_evaluation: bool = False

    @property
    def kind(self) -> str:
        """The reason in words, which also says whether it is of an evaluation."""
        return f"{_EVALUATION} {self.reason}" if self.in_evaluation else str(self.reason)

    def describe(self) -> str:
        """Return all details except the client, in words."""
        detail = f": {self.detail}" if self.detail else ""
        late = "" if self.sent_in_round is None else f" (sent in round {self.sent_in_round})"
        return f"{self.kind}{detail}{late}"

    def to_json(self) -> dict[str, Any]:
        """Return the entry of a result file, which has only the fields that are set."""
        known = {
            "detail": self.detail or None,
            "sent_in_round": self.sent_in_round,
            "during": _EVALUATION if self.in_evaluation else None,
        }
        return {"partition_id": self.partition_id, "reason": self.reason} | {
            name: value for name, value in known.items() if value is not None
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> "Drop":
        """Undo `to_json`.

        Raises
        ------
        KeyError, TypeError, ValueError
            If the entry does not name a client and one of the five reasons.
        """
        return cls(
            entry["partition_id"],
            DropReason(entry["reason"]),
            detail=entry.get("detail", ""),
            sent_in_round=entry.get("sent_in_round"),
            in_evaluation=entry.get("during") == _EVALUATION,
        )
