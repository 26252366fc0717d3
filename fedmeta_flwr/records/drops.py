"""Why a client that was asked does not count: one of four reasons, and what else is known of it."""

import re
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
    """It chose to take no part."""
    FAILED = "failed"
    """It raised, could not be reached, did not answer in time, or its reply is not as agreed; the detail says which."""
    BUSY = "busy"
    """It was not asked: it still owed the reply to an instruction of an earlier round."""


# In result files of earlier versions one text says everything.
_ONE_TEXT = re.compile(
    rf"(?P<during>{_EVALUATION} )?(?P<reason>{'|'.join(DropReason)})(: (?P<detail>.*?))?"
    r"( \(sent in round (?P<sent_in_round>[0-9]{1,9})\))?",
    re.DOTALL,
)


@dataclass(frozen=True)
class Drop:
    """A client that was asked and does not count.

    Attributes
    ----------
    partition_id : int
        Whose reply does not count.
    reason : DropReason
        Why.
    detail : str
        What exactly has failed; empty where there is nothing to say.
    sent_in_round : int or None
        Round of the instruction, where it is an earlier one.
    in_evaluation : bool
        Whether an evaluation was asked for, rather than an update.
    """

    partition_id: int
    reason: DropReason
    detail: str = ""
    sent_in_round: int | None = None
    in_evaluation: bool = False

    @property
    def kind(self) -> str:
        """The reason, for a person; that of an evaluation says so."""
        return f"{_EVALUATION} {self.reason}" if self.in_evaluation else str(self.reason)

    def describe(self) -> str:
        """Return all that is known but the client, for a person."""
        detail = f": {self.detail}" if self.detail else ""
        late = "" if self.sent_in_round is None else f" (sent in round {self.sent_in_round})"
        return f"{self.kind}{detail}{late}"

    def to_json(self) -> dict[str, Any]:
        """Return it as it stands in a result file, which says only what there is to say."""
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
        """Undo `to_json`, also for an entry of an earlier version, whose reason says everything.

        Raises
        ------
        KeyError, TypeError
            If it names no client, or its reason is no text.
        """
        found = _ONE_TEXT.fullmatch(entry["reason"])
        if found is None:
            return cls(entry["partition_id"], DropReason.FAILED, detail=entry["reason"])
        sent_in_round = found["sent_in_round"]
        return cls(
            entry["partition_id"],
            DropReason(found["reason"]),
            detail=found["detail"] or entry.get("detail", ""),
            sent_in_round=int(sent_in_round) if sent_in_round else entry.get("sent_in_round"),
            in_evaluation=bool(found["during"]) or entry.get("during") == _EVALUATION,
        )
