"""The schedule of a run's rounds, and the functions that the run calls."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any

from flwr.app import ArrayRecord

from fedmeta_flwr.records import Drop, DropReason, Observer, RoundRecord
from strategies.learned_key import OnKey

OnRound = Callable[[RoundRecord, ArrayRecord], None]
OnCheckpoint = Callable[[int, dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class RoundSchedule:
    """What happens in which round.

    Attributes
    ----------
    phase : callable
        From a round to its ``RoundRecord.phase``.
    is_evaluated : callable
        From a round to whether the clients evaluate the aggregated model.
    is_checkpointed : callable
        From a round to whether `Hooks.on_checkpoint` is called after it.
    attackers : callable
        From a round to the partitions that attack in it.
    """

    phase: Callable[[int], str] = lambda _: "benign"
    is_evaluated: Callable[[int], bool] = lambda _: True
    is_checkpointed: Callable[[int], bool] = lambda _: True
    attackers: Callable[[int], Collection[int]] = lambda _: ()

    def unasked(self, server_round: int, asked: Collection[int]) -> list[Drop]:
        """Return a `Drop` for each client that was to attack in a round, and is not among those that are asked."""
        missing = (client for client in sorted(self.attackers(server_round)) if client not in asked)
        return [Drop(client, DropReason.UNASKED) for client in missing]


@dataclass(frozen=True, kw_only=True)
class Hooks:
    """Functions that a run calls.

    Attributes
    ----------
    on_round : callable, optional
        Called after each round with its `RoundRecord` and the new global arrays.
    on_checkpoint : callable, optional
        Called after a round with a checkpoint. Its arguments are the round and the state for `FirstArrivals.resume`,
        which `fedmeta_flwr.records.packing` can pack.
    on_key : callable, optional
        Called after a round that brought a learned key, before `on_round`, with the round in which the key was learnt
        and its arrays.
    observer : Observer
        Follows the progress within a round.
    """

    on_round: OnRound | None = None
    on_checkpoint: OnCheckpoint | None = None
    on_key: OnKey | None = None
    observer: Observer = field(default_factory=Observer)
