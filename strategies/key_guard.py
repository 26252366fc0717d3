"""Check a backdoor key that an adversary has learnt and sends beside its update.

The key is for the measurement only: benign clients stamp images with it when they evaluate. It comes from a client, so
its form is checked as that of an update is.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass

import numpy as np
from flwr.app import Message

from fedmeta_flwr.protocol import KEY_LIMITS, SERVER_ROUND, Arrays, message_config, messages
from strategies.errors import RejectedReplyError
from strategies.received_array import read_array, shown


@dataclass(frozen=True, kw_only=True)
class KeyGuard:
    """Says whose replies may bring a learned key, and reads it.

    Attributes
    ----------
    shape : tuple of int
        Channels, height and width of an image.
    attackers : callable
        From a round to the partitions that attack in it; only their replies to an instruction of this round may bring
        a key.
    """

    shape: tuple[int, int, int] = (1, 1, 1)
    attackers: Callable[[int], Collection[int]] = lambda _: ()

    def record_of(self, reply: Message, instruction: Message, partition_id: int | None) -> list[str]:
        """Return the name of the reply's record with a key, in a list; an empty list if it has, or may have, none."""
        if not reply.has_content() or messages.LEARNED_KEY not in reply.content.array_records:
            return []
        server_round = message_config(instruction).get(SERVER_ROUND, 0)
        return [messages.LEARNED_KEY] if partition_id in self.attackers(server_round) else []

    def read(self, reply: Message) -> Arrays:
        """Return the arrays of the key in a reply.

        Raises
        ------
        RejectedReplyError
            If its arrays, their shapes, types or numbers are not those of a key, or if it covers no pixel.
        """
        record = reply.content.array_records[messages.LEARNED_KEY]
        shapes = {"pattern": self.shape, "opacity": self.shape[1:]}
        if set(record) != set(shapes):
            raise RejectedReplyError(f"learned key: expected arrays {sorted(shapes)}, found {shown(sorted(record))}")
        key = {name: read_array(name, record[name], np.zeros(shape, np.float32)) for name, shape in shapes.items()}
        for name, values in key.items():
            if values.min() < 0 or values.max() > KEY_LIMITS[name]:
                raise RejectedReplyError(
                    f"learned key: expected {name} in 0..{KEY_LIMITS[name]:g}, found {values.min():g} to "
                    f"{values.max():g}"
                )
        if not key["opacity"].any():
            raise RejectedReplyError("learned key: expected a key that covers some pixel, found none")
        return key
