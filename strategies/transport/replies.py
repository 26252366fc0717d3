"""Errors that arrive instead of a reply."""

from flwr.app import Message

from fedmeta_flwr.protocol.flower_private import CLASS_MARK, CLIENT_EXCEPTION, DEAD_ACTOR, TEXT_MARK

_LONGEST_REASON = 300


def failure_reason(reply: Message) -> str:
    """Return one line that says why a client failed.

    A simulation wraps the client's exception in a traceback, whose first line contains a process id; a SuperNode puts
    the exception's class in front.
    """
    reason = (reply.error.reason or "").strip() or f"no reason given, error code {reply.error.code}"
    text = reason.partition(CLIENT_EXCEPTION)[2].removesuffix("'>").strip() or reason
    if text.startswith(CLASS_MARK) and not any(name in text for name in DEAD_ACTOR):
        text = text.partition(TEXT_MARK)[2].removesuffix("'>").strip() or text
    return text.splitlines()[0][:_LONGEST_REASON]


def dead_actor(reply: Message) -> str | None:
    """Return the reason if a reply reports that a process of the simulation has died; otherwise None."""
    if reply.has_error() and any(name in (reply.error.reason or "") for name in DEAD_ACTOR):
        return failure_reason(reply)
    return None
