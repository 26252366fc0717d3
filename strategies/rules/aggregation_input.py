"""The replies that a strategy aggregates: updates of the current global arrays, in the order of partitions.

A late update started from an earlier global model. Its client has learnt the difference to that model, so a strategy
gets the current model plus that difference. Otherwise it would average an old model into the new one.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from flwr.app import ArrayRecord, Message
from flwr.serverapp.strategy import Bulyan, MultiKrum, QFedAvg, Strategy

from fedmeta_flwr.protocol import messages
from strategies.received_update import ReceivedUpdate
from strategies.rules.base import moved
from strategies.rules.state import wrapped_strategies

# These subtract numbers that may be almost equal (Krum's distances), or take powers outside the range of a float32.
_COMPUTE_IN_DOUBLES = (MultiKrum, Bulyan, QFedAvg)


def training_input(
    received: Iterable[ReceivedUpdate], arrays: ArrayRecord, strategy: Strategy, weighting: str
) -> list[Message]:
    """Return the replies to aggregate, in the order of partitions, so that sums of floats do not depend on arrival.

    Parameters
    ----------
    received : iterable of ReceivedUpdate
        The updates that count; their replies are changed in place.
    arrays : ArrayRecord
        The current global arrays.
    strategy : Strategy
        Will aggregate them. Some strategies get float64 arrays; `strategies.rules.conform` converts the result back.
    weighting : str
        As in `Federation`.
    """
    current = messages.from_record(arrays)
    in_doubles = _computes_in_doubles(strategy)
    replies = []
    for update in sorted(received, key=lambda update: update.arrival.partition_id):
        messages.order_arrays(update.reply, list(arrays))
        if update.is_late:
            messages.set_arrays(update.reply, moved(messages.message_arrays(update.reply), update.sent, current))
        if in_doubles:
            found = messages.message_arrays(update.reply)
            messages.set_arrays(update.reply, {name: array.astype(np.float64) for name, array in found.items()})
        replies.append(update.reply)
    return weighted(replies, weighting)


def weighted(replies: Sequence[Message], weighting: str) -> list[Message]:
    """Return replies with only the metrics that all of them have, and with equal weights if weighting is uniform."""
    messages.keep_common_metrics(replies)
    if weighting == "uniform":
        for reply in replies:
            messages.weigh_equally(reply)
    return list(replies)


def _computes_in_doubles(strategy: Strategy) -> bool:
    return isinstance(strategy, _COMPUTE_IN_DOUBLES) or any(map(_computes_in_doubles, wrapped_strategies(strategy)))
