"""A received update: its entry in the record, and the reply to aggregate."""

from dataclasses import dataclass

from flwr.app import Message

from fedmeta_flwr.protocol import Arrays
from fedmeta_flwr.records import Arrival


@dataclass(frozen=True)
class ReceivedUpdate:
    """One update that counts.

    Attributes
    ----------
    arrival : Arrival
        Its entry in the round's record.
    reply : Message
        As the client sent it, without a learned key.
    sent : dict
        The global arrays that it started from.
    is_late : bool
        Whether they are of an earlier round.
    key : dict or None
        The arrays of the key that an adversary has learnt and sent with it.
    """

    arrival: Arrival
    reply: Message
    sent: Arrays
    is_late: bool
    key: Arrays | None = None
