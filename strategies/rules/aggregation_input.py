"""What a strategy is handed to aggregate: updates of the current global arrays, in the order of partitions.

A late update started from an earlier global model. What its client has learnt is the difference to that model; a
strategy is handed the current one with that difference added, so that none averages an old model into the new one.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from flwr.app import ArrayRecord, Message
from flwr.serverapp.strategy import Bulyan, MultiKrum, QFedAvg, Strategy

from fedmeta_flwr.protocol import messages
from strategies.received_update import ReceivedUpdate
from strategies.rules.base import moved
from strategies.rules.state import wrapped_strategies

# These subtract numbers that may be almost equal (Krum's distances), or take powers that no float32 holds.
_COMPUTE_IN_DOUBLES = (MultiKrum, Bulyan, QFedAvg)


def training_input(
    received: Iterable[ReceivedUpdate], arrays: ArrayRecord, strategy: Strategy, weighting: str
) -> list[Message]:
    """Return the replies to aggregate, in the order of partitions, so that sums of floats depend only on their set.

    Parameters
    ----------
    received : iterable of ReceivedUpdate
        The updates that count; their replies are changed in place.
    arrays : ArrayRecord
        The current global arrays.
    strategy : Strategy
        What will aggregate. Some are handed float64 arrays; `strategies.rules.conform` takes the result back.
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
    """Return replies with the metrics that all of them have, and with equal weights unless clients may claim theirs."""
    messages.keep_common_metrics(replies)
    if weighting == "uniform":
        for reply in replies:
            messages.weigh_equally(reply)
    return list(replies)


def _computes_in_doubles(strategy: Strategy) -> bool:
    return isinstance(strategy, _COMPUTE_IN_DOUBLES) or any(map(_computes_in_doubles, wrapped_strategies(strategy)))
