"""An update as the server has it: what is recorded of it, and what is aggregated."""

from dataclasses import dataclass

from flwr.app import Message

from fedmeta_flwr.protocol.messages import Arrays
from fedmeta_flwr.records.entries import Arrival


@dataclass(frozen=True)
class ReceivedUpdate:
    """One update that counts.

    Attributes
    ----------
    arrival : Arrival
        What is recorded of it.
    reply : Message
        As the client sent it.
    sent : dict
        The global arrays that it started from.
    is_late : bool
        Whether these are of an earlier round.
    """

    arrival: Arrival
    reply: Message
    sent: Arrays
    is_late: bool
