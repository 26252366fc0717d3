"""Why a client that was asked does not count: one of four reasons, and what else is known of it.

An entry of `results.RoundRecord.dropped` has ``partition_id`` and ``reason`` and, only where there is something to say,
``detail`` (a text), ``sent_in_round`` (of an instruction of an earlier round) and ``during`` (``"evaluation"``).
"""

import re
from collections.abc import Mapping
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


def drop_entry(
    partition_id: int,
    reason: DropReason,
    *,
    detail: str = "",
    sent_in_round: int | None = None,
    in_evaluation: bool = False,
) -> dict[str, Any]:
    """Return an entry of `results.RoundRecord.dropped`.

    Parameters
    ----------
    partition_id : int
        Whose reply does not count.
    reason : DropReason
        Why.
    detail : str
        What exactly has failed.
    sent_in_round : int or None
        Round of the instruction, where it is an earlier one.
    in_evaluation : bool
        Whether an evaluation was asked for, rather than an update.
    """
    known = {"detail": detail or None, "sent_in_round": sent_in_round, "during": _EVALUATION if in_evaluation else None}
    return {"partition_id": partition_id, "reason": reason} | {
        name: value for name, value in known.items() if value is not None
    }


def read_drop(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return an entry of a result file, also one of an earlier version, in today's form.

    Raises
    ------
    KeyError, TypeError
        If it names no client, or its reason is no text.
    """
    found = _ONE_TEXT.fullmatch(entry["reason"])
    if found is None:
        return drop_entry(entry["partition_id"], DropReason.FAILED, detail=entry["reason"])
    sent_in_round = found["sent_in_round"]
    return drop_entry(
        entry["partition_id"],
        DropReason(found["reason"]),
        detail=found["detail"] or entry.get("detail", ""),
        sent_in_round=int(sent_in_round) if sent_in_round else entry.get("sent_in_round"),
        in_evaluation=bool(found["during"]) or is_of_evaluation(entry),
    )


def is_of_evaluation(entry: Mapping[str, Any]) -> bool:
    """Return whether an evaluation was asked for, rather than an update."""
    return entry.get("during") == _EVALUATION


def drop_kind(entry: Mapping[str, Any]) -> str:
    """Return the reason, for a person; that of an evaluation says so."""
    return f"{_EVALUATION} {entry['reason']}" if is_of_evaluation(entry) else str(entry["reason"])


def describe_drop(entry: Mapping[str, Any]) -> str:
    """Return all that is known of a drop but the client, for a person."""
    detail = f": {entry['detail']}" if "detail" in entry else ""
    late = f" (sent in round {entry['sent_in_round']})" if "sent_in_round" in entry else ""
    return f"{drop_kind(entry)}{detail}{late}"
