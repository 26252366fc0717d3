"""The current activity of a run in words: what the runner does, or what the server reports of a round."""

import time
from dataclasses import dataclass

from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import Progress, Stage

_LISTED = 12


@dataclass(frozen=True)
class Activity:
    """What is being done.

    Attributes
    ----------
    text : str
        In words.
    began : float
        Seconds since the epoch.
    server_round : int
        The round that it belongs to, from 1; 0 for none.
    round_began : float
        Start of that round, in seconds since the epoch.
    """

    text: str
    began: float
    server_round: int = 0
    round_began: float = 0.0


def runner_activity(text: str) -> Activity:
    """Return an activity of the runner that begins now."""
    return Activity(text, time.time())


def server_activity(config: RunConfig, progress: Progress) -> Activity:
    """Return what a run's server is doing."""
    text = _stage(config, progress)
    return Activity(text, progress.stage_began, progress.server_round, progress.round_began)


def clock(seconds: float) -> str:
    """Return a duration as ``m:ss`` or ``h:mm:ss``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _stage(config: RunConfig, progress: Progress) -> str:
    texts: dict[Stage, str] = {
        "preparing": "preparing the server",
        "registering": _registration(config, progress),
        "training": f"training, {_answers(progress)}",
        "aggregating": "aggregating",
        "evaluating": f"evaluation{_curves(config, progress)}, {_answers(progress)}",
        "saving": f"saving{_late(progress)}",
        "ending": f"ending{_late(progress)}",
    }
    return texts[progress.stage]


def _registration(config: RunConfig, progress: Progress) -> str:
    if not progress.asked:
        return f"waiting for clients, {progress.nodes} of {config.num_clients} registered"
    return f"waiting for clients, {len(progress.answered)} of {config.num_clients} answered"


def _curves(config: RunConfig, progress: Progress) -> str:
    names = ", ".join(config.step_curves.split())
    if not names or not config.has_step_curves(progress.server_round):
        return ""
    return f" with {'curves' if ',' in names else 'the curve'} {names}"


def _answers(progress: Progress) -> str:
    answered = f" ({_listed(progress.answered)})" if progress.answered else ""
    text = f"{len(progress.answered)} of {len(progress.clients)} answered{answered}"
    awaited = set(progress.clients) - set(progress.answered)
    return f"{text}; waiting for {_listed(awaited)}" if awaited else text


def _late(progress: Progress) -> str:
    awaited = set(progress.clients) - set(progress.answered)
    return f", waiting for late answers of {_listed(awaited)}" if awaited else ""


def _listed(partitions: "set[int] | tuple[int, ...]") -> str:
    first, rest = sorted(partitions)[:_LISTED], len(partitions) - _LISTED
    return ", ".join(map(str, first)) + (f" and {rest} more" if rest > 0 else "")
