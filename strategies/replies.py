"""Reading what clients answer: why a reply does not count, and how far an update moves the model.

Replies come from machines that may fail or be hostile: everything is checked before a strategy sees it.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from flwr.app import Message

from fedmeta_flwr import messages
from fedmeta_flwr.messages import Arrays, Metrics
from strategies.errors import RejectedReplyError

# Flower's simulation wraps a client's exception into a traceback, whose first line names a process id; this
# marks the exception's own text (flwr.clientapp.client_app.ClientAppException).
_CLIENT_EXCEPTION = "Exception ClientAppException occurred. Message: "


@dataclass(frozen=True)
class Update:
    """What is recorded of a training reply.

    Attributes
    ----------
    norm : float
        Euclidean norm, over all arrays, of the difference to the arrays that were sent; in float64.
    metrics : Mapping
        As the client reported them.
    """

    norm: float
    metrics: Metrics


def failure_reason(reply: Message) -> str:
    """Return one line that says why a client failed."""
    reason = (reply.error.reason or f"no reason given, error code {reply.error.code}").strip()
    text = reason.partition(_CLIENT_EXCEPTION)[2].removesuffix("'>").strip() or reason
    return text.splitlines()[0]


def read_update(reply: Message, sent: Arrays) -> Update:
    """Check a training reply and measure its update.

    Parameters
    ----------
    reply : Message
        As it came; stays as it is.
    sent : dict
        The global arrays that the client was sent.

    Returns
    -------
    Update
        Its norm and metrics.

    Raises
    ------
    RejectedReplyError
        If the client failed or abstained, or its arrays or metrics are not of the agreed form, or not finite.
    """
    metrics = _checked_metrics(reply)
    arrays = _decoded(reply)
    if set(arrays) != set(sent):
        raise RejectedReplyError(f"failed: expected the arrays {sorted(sent)}, found {sorted(arrays)}")
    squares = (_squared_difference(name, arrays[name], sent[name]) for name in sent)
    return Update(norm=math.sqrt(sum(squares)), metrics=metrics)


def read_counts(reply: Message) -> dict[str, Any]:
    """Check an evaluation reply and return its counts.

    Returns
    -------
    dict
        ``counts`` and, where the reply has some, ``step_curves``, both as in `results.RoundRecord.evaluation`.

    Raises
    ------
    RejectedReplyError
        If the client failed or abstained, or its counts are not 0 <= hits <= trials, episode by episode.
    """
    metrics = _checked_metrics(reply)
    try:
        counts = messages.metrics_to_counts(metrics)
        step_curves = messages.metrics_to_step_curves(metrics)
        _check_counts(counts)
        for name, steps in step_curves.items():
            for step, numbers in steps.items():
                if not (step.isascii() and step.isdecimal() and step == str(int(step))):
                    raise ValueError(f"{name}: expected a whole number as step, found {step!r}")
                _check_counts(numbers)
    except (KeyError, TypeError, ValueError) as error:
        raise RejectedReplyError(f"failed: expected hits and trials of every curve, found {error}") from error
    return {"counts": counts} | ({"step_curves": step_curves} if step_curves else {})


def _check_counts(counts: Mapping[str, Mapping[str, list[int]]]) -> None:
    for curve, numbers in counts.items():
        pairs = list(zip(numbers["hits"], numbers["trials"], strict=True))
        whole = all(isinstance(number, int) for pair in pairs for number in pair)
        if not whole or not all(0 <= hits <= trials for hits, trials in pairs):
            raise ValueError(f"{curve}: expected 0 <= hits <= trials, found {numbers}")


def _checked_metrics(reply: Message) -> Metrics:
    if reply.has_error():
        raise RejectedReplyError(f"failed: {failure_reason(reply)}")
    if messages.is_abstention(reply):
        raise RejectedReplyError("abstained")
    metrics = messages.message_metrics(reply)
    weight = metrics.get(messages.NUM_EXAMPLES)
    if not isinstance(weight, int | float) or weight <= 0:
        raise RejectedReplyError(f"failed: {messages.NUM_EXAMPLES}: expected a number above 0, found {weight!r}")
    for name, value in metrics.items():
        if not np.all(np.isfinite(value)):
            raise RejectedReplyError(f"failed: {name}: expected finite numbers, found {value!r}")
    return metrics


def _decoded(reply: Message) -> Arrays:
    if list(reply.content.array_records) != [messages.ARRAYS]:
        found = list(reply.content.array_records)
        raise RejectedReplyError(f"failed: expected one array record {messages.ARRAYS!r}, found {found}")
    try:
        return messages.message_arrays(reply)
    except (ValueError, TypeError, EOFError, OSError) as error:
        raise RejectedReplyError(f"failed: expected readable arrays, found {error}") from error


def _squared_difference(name: str, array: np.ndarray, sent: np.ndarray) -> float:
    if (array.shape, array.dtype) != (sent.shape, sent.dtype):
        raise RejectedReplyError(
            f"failed: array {name!r}: expected {sent.dtype} of shape {sent.shape}, found {array.dtype} of {array.shape}"
        )
    if not np.isfinite(array).all():
        raise RejectedReplyError(f"failed: array {name!r}: expected finite numbers, found others")
    return float(np.sum(np.square(array.astype(np.float64) - sent.astype(np.float64))))
