"""What an error that comes instead of a reply says."""

from flwr.app import Message

# Flower's simulation wraps a client's exception into a traceback, whose first line names a process id; this
# marks the exception's own text (flwr.clientapp.client_app.ClientAppException).
_CLIENT_EXCEPTION = "Exception ClientAppException occurred. Message: "
# A SuperNode puts the class in front: ``<class 'module.Error'>:<'text'>``.
_CLASS, _TEXT = "<class ", ">:<'"
# Ray's exceptions for an actor that is gone, as Flower's simulation reports them (an error of unknown kind).
_DEAD_ACTOR = ("ray.exceptions.ActorDiedError", "ray.exceptions.ActorUnavailableError")
_LONGEST_REASON = 300


def failure_reason(reply: Message) -> str:
    """Return one line that says why a client failed."""
    reason = (reply.error.reason or "").strip() or f"no reason given, error code {reply.error.code}"
    text = reason.partition(_CLIENT_EXCEPTION)[2].removesuffix("'>").strip() or reason
    if text.startswith(_CLASS) and not any(name in text for name in _DEAD_ACTOR):
        text = text.partition(_TEXT)[2].removesuffix("'>").strip() or text
    return text.splitlines()[0][:_LONGEST_REASON]


def dead_actor(reply: Message) -> str | None:
    """Return what a reply says of a process of the simulation that has died; None where it says no such thing."""
    if reply.has_error() and any(name in (reply.error.reason or "") for name in _DEAD_ACTOR):
        return failure_reason(reply)
    return None
