"""Flower messages to plain values and back; the only place that knows the keys of their records.

Every training reply carries one ArrayRecord and one MetricRecord with ``num-examples``, as all of Flower's
built-in strategies expect. An abstention carries a MetricRecord alone.
"""

from collections.abc import Mapping
from typing import Any

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
_COUNTS = ("hits", "trials")

Arrays = dict[str, np.ndarray]
Metrics = Mapping[str, Any]
"""Names to numbers or lists of numbers."""


def to_record(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Return named arrays as a Flower record, order and 0-d shapes kept."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def from_record(record: ArrayRecord) -> Arrays:
    """Return a Flower record as named arrays, order kept; the record stays as it is."""
    return {name: array.numpy() for name, array in record.items()}


def message_arrays(message: Message) -> Arrays:
    """Return the arrays of an instruction or a training reply."""
    return from_record(message.content.array_records[ARRAYS])


def message_config(message: Message) -> dict[str, Any]:
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


def counts_to_metrics(counts: Mapping[str, Mapping[str, list[int]]]) -> dict[str, list[int]]:
    """Flatten curve -> hits/trials -> a number per episode, to metrics such as ``meta-testing-hits``."""
    return {_counts_key(curve, kind): numbers[kind] for curve, numbers in counts.items() for kind in _COUNTS}


def metrics_to_counts(metrics: Metrics) -> dict[str, dict[str, list[int]]]:
    """Undo `counts_to_metrics`; metrics that are not counts are left out."""
    curves = [key.removesuffix("-hits").replace("-", "_") for key in metrics if key.endswith("-hits")]
    return {curve: {kind: list(metrics[_counts_key(curve, kind)]) for kind in _COUNTS} for curve in curves}


def _counts_key(curve: str, kind: str) -> str:
    return f"{curve.replace('_', '-')}-{kind}"


def stamp_round(instruction: Message, server_round: int) -> None:
    """Write the round into an instruction, and give it a configuration of its own.

    Flower's strategies share one configuration among all their messages and change it from round to round, also
    while a message of an earlier round is still waiting for its client.
    """
    content = RecordDict(dict(instruction.content))
    for name, record in content.config_records.items():
        content[name] = ConfigRecord(dict(record))
    content[CONFIG] = ConfigRecord({**content.config_records.get(CONFIG, ConfigRecord()), SERVER_ROUND: server_round})
    instruction.content = content


def weigh_equally(reply: Message) -> None:
    """Set the weight that a reply claims (``num-examples``) to 1, its type kept."""
    metrics = message_metrics(reply)
    weight = metrics[NUM_EXAMPLES]
    reply.content[METRICS] = MetricRecord({**metrics, NUM_EXAMPLES: 1.0 if isinstance(weight, float) else 1})


def order_arrays(reply: Message, names: list[str]) -> None:
    """Put the arrays of a training reply in the given order; some strategies tell them by position."""
    record = reply.content.array_records[ARRAYS]
    if list(record) != names:
        reply.content[ARRAYS] = ArrayRecord({name: record[name] for name in names})
