"""Replies that must not count, made at random from an honest one."""

import io
import pickle
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MetricRecord, RecordDict

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.protocol.flower_private import overwrite_metadata
from fedmeta_flwr.records.entries import TRAIN_LOSS

Mischief = Callable[[Message, Random], Message | None]
"""Changes a training reply in place, or returns another one."""

HUGE_HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (%d, 65536), }"


def _arrays(reply: Message) -> ArrayRecord:
    return reply.content.array_records[messages.ARRAYS]


def _metrics(reply: Message) -> MetricRecord:
    return reply.content.metric_records[messages.METRICS]


def _some(reply: Message, rng: Random) -> str:
    return rng.choice(sorted(_arrays(reply)))


def _replace(reply: Message, rng: Random, change: Callable[[np.ndarray], np.ndarray]) -> None:
    name = _some(reply, rng)
    _arrays(reply)[name] = Array(change(_arrays(reply)[name].numpy()))


def _with_data(reply: Message, rng: Random, change: Callable[[bytes], bytes]) -> None:
    name = _some(reply, rng)
    old = _arrays(reply)[name]
    _arrays(reply)[name] = Array(old.dtype, tuple(old.shape), old.stype, change(old.data))


def missing_array(reply: Message, rng: Random) -> None:
    del _arrays(reply)[_some(reply, rng)]


def extra_array(reply: Message, rng: Random) -> None:
    _arrays(reply)[rng.choice(["extra", "", "a" * 5000, "../../x"])] = Array(np.zeros(rng.randint(0, 9), np.float32))


def reshaped(reply: Message, rng: Random) -> None:
    _replace(
        reply,
        rng,
        lambda array: rng.choice([array[None], np.concatenate([array.ravel()] * 2), np.zeros(0, array.dtype)]),
    )


def other_dtype(reply: Message, rng: Random) -> None:
    kind = rng.choice(["f8", "f2", ">f4", "i4", "i8", "u1", "c8", "?", "S4"])
    _replace(reply, rng, lambda array: array.astype(kind))


def not_finite(reply: Message, rng: Random) -> None:
    def spoil(array: np.ndarray) -> np.ndarray:
        flat = array.copy().ravel()
        flat[rng.randrange(flat.size)] = rng.choice([np.nan, np.inf, -np.inf])
        return flat.reshape(array.shape)

    _replace(reply, rng, spoil)


def absurdly_large(reply: Message, rng: Random) -> None:
    _replace(reply, rng, lambda array: np.full_like(array, rng.choice([-1, 1]) * 10.0 ** rng.uniform(18, 38)))


def cut_data(reply: Message, rng: Random) -> None:
    _with_data(reply, rng, lambda data: data[: rng.randrange(len(data))])


def longer_data(reply: Message, rng: Random) -> None:
    _with_data(reply, rng, lambda data: data + rng.randbytes(rng.choice([1, 4, 100_000])))


def random_data(reply: Message, rng: Random) -> None:
    _with_data(reply, rng, lambda _: rng.randbytes(rng.randrange(400)))


def broken_header(reply: Message, rng: Random) -> None:
    def spoil(data: bytes) -> bytes:
        position = rng.randrange(8)  # magic, version, length of the header
        return data[:position] + bytes([data[position] ^ rng.randint(1, 255)]) + data[position + 1 :]

    _with_data(reply, rng, spoil)


def declares_terabytes(reply: Message, rng: Random) -> None:
    header = (HUGE_HEADER % rng.randrange(2**20, 2**40)).ljust(117) + b"\n"
    _with_data(reply, rng, lambda _: b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


def pickled_data(reply: Message, rng: Random) -> None:
    code = b"cos\nsystem\n(S'exit 1'\ntR."
    array = io.BytesIO()
    np.save(array, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    _with_data(reply, rng, lambda _: rng.choice([code, pickle.dumps([1.0]), array.getvalue()]))


def zipped_data(reply: Message, rng: Random) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.npy", b"\0" * 100_000)
    _with_data(reply, rng, lambda _: archive.getvalue())


def other_serialisation(reply: Message, rng: Random) -> None:
    name = _some(reply, rng)
    old = _arrays(reply)[name]
    _arrays(reply)[name] = Array(old.dtype, tuple(old.shape), rng.choice(["pickle", "torch.Tensor", ""]), old.data)


def lying_label(reply: Message, rng: Random) -> None:
    name = _some(reply, rng)
    old = _arrays(reply)[name]
    label = rng.choice([("float64", tuple(old.shape)), (old.dtype, (*old.shape, 1)), ("object", (-1,)), ("", ())])
    _arrays(reply)[name] = Array(*label, old.stype, old.data)


def other_records(reply: Message, rng: Random) -> None:
    content = reply.content
    kind = rng.randrange(6)
    if kind == 0:
        del content[messages.ARRAYS]
    elif kind == 1:
        content["more"] = ArrayRecord({"x": Array(np.zeros(1, np.float32))})
    elif kind == 2:
        content["other"] = content.array_records[messages.ARRAYS]
        del content[messages.ARRAYS]
    elif kind == 3:
        content["more"] = MetricRecord({"x": 1})
    elif kind == 4:
        content["config"] = ConfigRecord({"x": rng.choice(["a", "b"])})
    else:
        del content[messages.METRICS]


def bad_num_examples(reply: Message, rng: Random) -> None:
    bad: list[Any] = [0, -1, -(2**62), 2**62, 10**9, 0.0, -0.5, 1e300, float("nan"), float("inf"), [1], [1.0, 2.0], []]
    _metrics(reply)[messages.NUM_EXAMPLES] = rng.choice(bad)


def bad_loss(reply: Message, rng: Random) -> None:
    bad: list[Any] = [-1, -1e-9, float("nan"), float("inf"), -float("inf"), 1e30, [0.5], [0.5, 0.5], []]
    _metrics(reply)[TRAIN_LOSS] = rng.choice(bad)


def missing_metric(reply: Message, rng: Random) -> None:
    del _metrics(reply)[rng.choice([messages.NUM_EXAMPLES, TRAIN_LOSS])]


def oversize_metrics(reply: Message, rng: Random) -> None:
    if rng.random() < 0.5:
        _metrics(reply)["many"] = [0] * rng.randint(1001, 5000)
    else:
        _metrics(reply)["n" * rng.randint(201, 100_000)] = 1


def another_metric_that_is_not_finite(reply: Message, rng: Random) -> None:
    bad: list[Any] = [float("nan"), [1.0, float("inf")], 1e19, 2**63 - 1]
    _metrics(reply)["own"] = rng.choice(bad)


def another_type(reply: Message, rng: Random) -> None:
    overwrite_metadata(reply, message_type=rng.choice(["query", "evaluate", "train.other", "", "x" * 10_000]))


def failure(reply: Message, rng: Random) -> Message:
    reasons = [None, "", " ", "\n\n", "a" * 100_000, "\x00\x1b[31m", "Exception ClientAppException occurred. Message: "]
    answered = Message(RecordDict(), dst_node_id=reply.metadata.src_node_id, message_type=reply.metadata.message_type)
    wrong = Message(Error(rng.randrange(9), rng.choice(reasons)), reply_to=answered)
    wrong.metadata.__dict__.update(reply.metadata.__dict__)
    return wrong


MISCHIEFS: tuple[Mischief, ...] = (
    missing_array,
    extra_array,
    reshaped,
    other_dtype,
    not_finite,
    absurdly_large,
    cut_data,
    longer_data,
    random_data,
    broken_header,
    declares_terabytes,
    pickled_data,
    zipped_data,
    other_serialisation,
    lying_label,
    other_records,
    bad_num_examples,
    bad_loss,
    missing_metric,
    oversize_metrics,
    another_metric_that_is_not_finite,
    another_type,
    failure,
)
