"""What a run decides round by round, and what it wants to be told."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord

from fedmeta_flwr.records.progress import Observer
from fedmeta_flwr.records.results import RoundRecord

OnRound = Callable[[RoundRecord, ArrayRecord], None]
OnCheckpoint = Callable[[int, dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class RoundSchedule:
    """What happens in which round.

    Attributes
    ----------
    phase : callable
        Round to ``RoundRecord.phase``.
    is_evaluated : callable
        Round to whether the clients evaluate the aggregated model.
    is_checkpointed : callable
        Round to whether a checkpoint follows it, where `Hooks.on_checkpoint` takes one.
    """

    phase: Callable[[int], str] = lambda _: "benign"
    is_evaluated: Callable[[int], bool] = lambda _: True
    is_checkpointed: Callable[[int], bool] = lambda _: True


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Who is told of a run.

    Attributes
    ----------
    on_round : callable, optional
        Called after each round with its `RoundRecord` and the global arrays that it ended with.
    on_checkpoint : callable, optional
        Called after a round in which a checkpoint is due with its number and all that `FirstArrivals.resume` needs to
        go on after it, which `fedmeta_flwr.records.packing` takes.
    observer : Observer
        Is told what goes on inside a round.
    """

    on_round: OnRound | None = None
    on_checkpoint: OnCheckpoint | None = None
    observer: Observer = field(default_factory=Observer)
