"""Converts plain values to Flower messages and back; the only module that knows the keys of their records.

Every training reply has one ArrayRecord, and one MetricRecord with ``num-examples``, as all built-in strategies of
Flower expect. An abstention has only a MetricRecord.
"""

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict

from fedmeta_flwr.records import Counts, CurveCounts

ARRAYS = "arrays"
CONFIG = "config"
METRICS = "metrics"
NUM_EXAMPLES = "num-examples"
SERVER_ROUND = "server-round"
OLDEST_ROUND = "oldest-round"
"""No instruction of an earlier round will follow, even if the run resumes from a checkpoint."""
RUN = "run"
"""Identifies the run, also after it has resumed from a checkpoint; what a client kept in another run does not count."""
PARTITION_ID = "partition-id"
LEARNED_KEY = "backdoor-key"
"""Record of arrays in the reply of an adversary that has learnt a key, and in instructions to evaluate with it."""
KEY_LIMITS = {"pattern": 255.0, "opacity": 1.0}
"""The arrays of a learned key, with the largest number of each; the least is 0."""
CLIPPING_NORM = "clipping_norm"  # these two have Flower's spelling
NORM_BIT = "norm_bit"
_ABSTAINED = "abstained"
_COUNTS = ("hits", "trials")

Arrays = dict[str, np.ndarray]
Metrics = Mapping[str, Any]
"""Names to numbers or lists of numbers."""


def to_record(arrays: Mapping[str, np.ndarray]) -> ArrayRecord:
    """Return named arrays as a Flower record; their order and 0-d shapes are kept."""
    return ArrayRecord({name: Array(np.asarray(array)) for name, array in arrays.items()})


def from_record(record: ArrayRecord) -> Arrays:
    """Return a Flower record as named arrays in the same order; the record is not changed."""
    return {name: array.numpy() for name, array in record.items()}


def declared_array(array: Array) -> tuple[tuple[str, tuple[int, ...]], int]:
    """Return what the header of an array declares, without decoding the array.

    Returns
    -------
    tuple of str and tuple
        Dtype and shape.
    int
        Number of bytes after the header.

    Raises
    ------
    ValueError
        If the array is not in NumPy's format (version 1, which can hold every array of plain numbers).
    """
    stream = io.BytesIO(array.data)
    if (version := np.lib.format.read_magic(stream)) != (1, 0):
        raise ValueError(f"version {version}")
    shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
    return (str(dtype), shape), len(array.data) - stream.tell()


def message_arrays(message: Message) -> Arrays:
    """Return the arrays of an instruction or a training reply."""
    return from_record(message.content.array_records[ARRAYS])


def message_config(message: Message) -> dict[str, Any]:
    """Return the configuration in an instruction of the server."""
    return dict(message.content.config_records.get(CONFIG, ConfigRecord()))


def message_metrics(message: Message) -> dict[str, int | float | list[int] | list[float]]:
    """Return the metrics of a reply; an empty dict if it has none."""
    return dict(message.content.metric_records.get(METRICS, MetricRecord()))


def train_reply(instruction: Message, arrays: Mapping[str, np.ndarray], num_examples: int, metrics: Metrics) -> Message:
    """Answer a training instruction with the local model."""
    record = MetricRecord({NUM_EXAMPLES: num_examples, **metrics})
    return Message(RecordDict({ARRAYS: to_record(arrays), METRICS: record}), reply_to=instruction)


def put_key(message: Message, key: Mapping[str, np.ndarray]) -> None:
    """Add the arrays of a learned key to a training reply, or to an instruction to evaluate."""
    message.content[LEARNED_KEY] = to_record(key)


def message_key(message: Message) -> Arrays | None:
    """Return the arrays of the learned key in a message; None if it has none."""
    record = message.content.array_records.get(LEARNED_KEY)
    return None if record is None else from_record(record)


def remove_key(reply: Message) -> None:
    """Remove the learned key from a reply, because strategies expect a single record of arrays."""
    if LEARNED_KEY in reply.content:
        del reply.content[LEARNED_KEY]


def evaluate_reply(instruction: Message, num_examples: int, metrics: Metrics) -> Message:
    """Answer an evaluation instruction with counts."""
    record = MetricRecord({NUM_EXAMPLES: num_examples, **metrics})
    return Message(RecordDict({METRICS: record}), reply_to=instruction)


def abstention(instruction: Message) -> Message:
    """Answer an instruction with an abstention."""
    record = MetricRecord({NUM_EXAMPLES: 0, _ABSTAINED: 1})
    return Message(RecordDict({METRICS: record}), reply_to=instruction)


def is_abstention(reply: Message) -> bool:
    """Return whether a reply is an abstention."""
    return reply.has_content() and _ABSTAINED in message_metrics(reply)


def registration(node_id: int) -> Message:
    """Ask a node which partition it holds."""
    return Message(RecordDict(), dst_node_id=node_id, message_type=MessageType.QUERY)


def registration_reply(instruction: Message, partition_id: int) -> Message:
    """Answer with the partition that this node holds."""
    record = MetricRecord({PARTITION_ID: partition_id})
    return Message(RecordDict({METRICS: record}), reply_to=instruction)


def registered_partition(reply: Message) -> int:
    """Return the partition id in a reply to a registration."""
    value = message_metrics(reply)[PARTITION_ID]
    if not isinstance(value, int):
        raise ValueError(f"registration: expected a whole number as {PARTITION_ID}, found {value!r}")
    return value


def counts_to_metrics(counts: CurveCounts) -> dict[str, list[int]]:
    """Convert hits and trials by curve, a number per episode, to metrics such as ``meta-testing-hits``."""
    return {
        f"{_dashed(curve)}-{kind}": list(getattr(numbers, kind))
        for curve, numbers in counts.items()
        for kind in _COUNTS
    }


def step_curves_to_metrics(step_curves: Mapping[str, Mapping[int, CurveCounts]]) -> dict[str, list[int]]:
    """Convert counts by step curve and step to metrics such as ``fine-tuning:500:meta-testing-hits``."""
    return {
        f"{_dashed(name)}:{step}:{key}": numbers
        for name, steps in step_curves.items()
        for step, counts in steps.items()
        for key, numbers in counts_to_metrics(counts).items()
    }


def metrics_to_counts(metrics: Metrics) -> dict[str, Counts]:
    """Undo `counts_to_metrics`; metrics that are not counts of a curve are left out."""
    keys = [key for key in metrics if ":" not in key]
    return _counts({key: metrics[key] for key in keys})


def metrics_to_step_curves(metrics: Metrics) -> dict[str, dict[int, dict[str, Counts]]]:
    """Undo `step_curves_to_metrics`; raises `ValueError` for a step that is not written as a whole number."""
    grouped: dict[str, dict[int, dict[str, Any]]] = {}
    for key, numbers in metrics.items():
        dashed, _, rest = key.partition(":")
        step, colon, count = rest.partition(":")
        if colon:
            name = dashed.replace("-", "_")
            if not (step.isascii() and step.isdecimal() and step == str(int(step))):
                raise ValueError(f"{name}: expected a whole number as step, found {step!r}")
            grouped.setdefault(name, {}).setdefault(int(step), {})[count] = numbers
    return {name: {step: _counts(counts) for step, counts in steps.items()} for name, steps in grouped.items()}


def _counts(metrics: Metrics) -> dict[str, Counts]:
    curves = [key.removesuffix("-hits") for key in metrics if key.endswith("-hits")]
    return {
        curve.replace("-", "_"): Counts(**{kind: list(metrics[f"{curve}-{kind}"]) for kind in _COUNTS})
        for curve in curves
    }


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def stamp_round(instruction: Message, server_round: int, oldest_round: int, run: str) -> None:
    """Write the rounds and the run into an instruction, and give it a separate configuration.

    Flower's strategies use the same configuration in all their messages, and change it from round to round, even while
    a message of an earlier round is still pending.
    """
    content = RecordDict(dict(instruction.content))
    for name, record in content.config_records.items():
        content[name] = ConfigRecord(dict(record))
    stamp: dict[str, int | str] = {SERVER_ROUND: server_round, OLDEST_ROUND: oldest_round, RUN: run}
    config = ConfigRecord(dict(content.config_records.get(CONFIG, ConfigRecord())))
    config.update(stamp)
    content[CONFIG] = config
    instruction.content = content


def weigh_equally(reply: Message) -> None:
    """Set the weight that a reply claims (``num-examples``) to 1, and keep its type."""
    metrics = message_metrics(reply)
    weight = metrics[NUM_EXAMPLES]
    reply.content[METRICS] = MetricRecord({**metrics, NUM_EXAMPLES: 1.0 if isinstance(weight, float) else 1})


def keep_common_metrics(replies: Sequence[Message]) -> None:
    """Remove metrics that not all replies have in the same form, because Flower cannot aggregate them."""
    forms = [{name: _form(value) for name, value in message_metrics(reply).items()} for reply in replies]
    common = set(forms[0].items()).intersection(*(form.items() for form in forms)) if forms else set()
    names = {name for name, _ in common}
    for reply in replies:
        metrics = message_metrics(reply)
        if not names.issuperset(metrics):
            reply.content[METRICS] = MetricRecord({name: metrics[name] for name in metrics if name in names})


def _form(value: object) -> int:
    """Return the length of a list, -1 for a number."""
    return len(value) if isinstance(value, list) else -1


def set_arrays(reply: Message, arrays: Mapping[str, np.ndarray]) -> None:
    """Replace the arrays of a training reply."""
    reply.content[ARRAYS] = to_record(arrays)


def set_metric(reply: Message, name: str, value: float) -> None:
    """Add a metric to a reply, or replace it."""
    reply.content[METRICS] = MetricRecord({**message_metrics(reply), name: value})


def order_arrays(reply: Message, names: list[str]) -> None:
    """Put the arrays of a training reply in the given order, because some strategies identify them by position."""
    record = reply.content.array_records[ARRAYS]
    if list(record) != names:
        reply.content[ARRAYS] = ArrayRecord({name: record[name] for name in names})
