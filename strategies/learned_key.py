"""The newest backdoor key that adversaries have learnt, which the server sends with each evaluation."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from flwr.app import Message

from fedmeta_flwr.protocol import Arrays, messages
from strategies.received_update import ReceivedUpdate

OnKey = Callable[[int, Arrays], None]


@dataclass(frozen=True)
class LearnedKey:
    """A key that came with an aggregated update.

    Attributes
    ----------
    server_round : int
        The round in which it was learnt.
    arrays : dict
        Its pattern and opacity.
    """

    server_round: int
    arrays: Arrays


class NewestKey:
    """The newest key of a run, if any.

    Parameters
    ----------
    state : dict, optional
        What `state` returned at a checkpoint.
    """

    def __init__(self, state: Mapping[str, Any] | None = None) -> None:
        self._key = LearnedKey(**state) if state else None
        self._reported = self._key

    def take(self, received: list[ReceivedUpdate]) -> list[ReceivedUpdate]:
        """Take the newest key of a round's updates, and return the updates.

        Of several keys that were learnt in one round, it is that of the lowest partition, so that it does not depend on
        the order of arrival.
        """
        for update in sorted(received, key=lambda update: update.arrival.partition_id):
            learnt_in = update.arrival.sent_in_round
            if update.key is not None and (self._key is None or learnt_in > self._key.server_round):
                self._key = LearnedKey(learnt_in, update.key)
        return received

    def send_with(self, instructions: Mapping[int, Message]) -> int | None:
        """Add the key to instructions to evaluate; return the round in which it was learnt, None if there is none."""
        if self._key is None:
            return None
        for instruction in instructions.values():
            messages.put_key(instruction, self._key.arrays)
        return self._key.server_round

    def report(self, on_key: OnKey | None) -> None:
        """Call a function with a key that is new since the last call."""
        if on_key is not None and self._key is not None and self._key is not self._reported:
            on_key(self._key.server_round, self._key.arrays)
        self._reported = self._key

    def state(self) -> dict[str, Any] | None:
        """Return the key for a checkpoint; None if there is none."""
        return None if self._key is None else vars(self._key)
