"""Flower messages to plain values and back; the only place that knows the keys of their records.

Every training reply carries one ArrayRecord and one MetricRecord with ``num-examples``, as all of Flower's
built-in strategies expect. An abstention carries a MetricRecord alone.
"""

from collections.abc import Mapping

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict

ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
NUM_EXAMPLES = "num-examples"
SERVER_ROUND = "server-round"
PARTITION_ID = "partition-id"
TRAIN_LOSS = "train-loss"
_ABSTAINED = "abstained"

Arrays = dict[str, np.ndarray]
Metrics = Mapping[str, int | float | list[int] | list[float]]


def to_record(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Return named arrays as a Flower record, order and 0-d shapes kept."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def from_record(record: ArrayRecord) -> Arrays:
    """Return a Flower record as named arrays, order kept; the record stays as it is."""
    return {name: array.numpy() for name, array in record.items()}


def message_arrays(message: Message) -> Arrays:
    """Return the arrays of an instruction or a training reply."""
    return from_record(message.content.array_records[ARRAYS])


def message_config(message: Message) -> dict[str, object]:
    """Return the configuration that the server sent along."""
    return dict(message.content.config_records.get(CONFIG, ConfigRecord()))


def message_metrics(message: Message) -> dict[str, int | float | list[int] | list[float]]:
    """Return the metrics of a reply; empty where it carries none."""
    return dict(message.content.metric_records.get(METRICS, MetricRecord()))


def train_reply(instruction: Message, arrays: Mapping[str, np.ndarray], num_examples: int, metrics: Metrics) -> Message:
    """Answer a training instruction with the local model."""
    record = MetricRecord({NUM_EXAMPLES: num_examples, **metrics})
    return Message(RecordDict({ARRAYS: to_record(arrays), METRICS: record}), reply_to=instruction)


def evaluate_reply(instruction: Message, num_examples: int, metrics: Metrics) -> Message:
    """Answer an evaluation instruction with counts."""
    record = MetricRecord({NUM_EXAMPLES: num_examples, **metrics})
    return Message(RecordDict({METRICS: record}), reply_to=instruction)


def abstention(instruction: Message) -> Message:
    """Answer an instruction by taking no part in it."""
    record = MetricRecord({NUM_EXAMPLES: 0, _ABSTAINED: 1})
    return Message(RecordDict({METRICS: record}), reply_to=instruction)


def is_abstention(reply: Message) -> bool:
    """Tell whether a reply takes no part in the round."""
    return reply.has_content() and _ABSTAINED in message_metrics(reply)


def roll_call(node_id: int) -> Message:
    """Ask a node which partition it holds."""
    return Message(RecordDict(), dst_node_id=node_id, message_type=MessageType.QUERY)


def roll_call_reply(instruction: Message, partition_id: int) -> Message:
    """Tell the server which partition this node holds."""
    record = MetricRecord({PARTITION_ID: partition_id})
    return Message(RecordDict({METRICS: record}), reply_to=instruction)


def roll_call_partition(reply: Message) -> int:
    """Return the partition id of a roll-call reply."""
    value = message_metrics(reply)[PARTITION_ID]
    if not isinstance(value, int):
        raise ValueError(f"roll call: expected a whole number as {PARTITION_ID}, found {value!r}")
    return value
