"""A federation in memory: a Grid that answers by calling a function, in a real order of arrival that a test sets."""

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, Error, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg, Result, Strategy

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.protocol.flower_private import overwrite_metadata
from fedmeta_flwr.records.entries import TRAIN_LOSS, Counts
from fedmeta_flwr.records.results import CURVES, RoundRecord
from strategies import Federation, FirstArrivals, Hooks, RoundSchedule, ServerRule, TransportSettings
from strategies.transport.arrivals import ArrivalModel

GLOBAL = {
    "weight": np.array([[1.0, 2.0], [3.0, 4.0]], np.float32),
    "bias": np.array([0.5, -0.5], np.float32),
    "a-scale": np.array(2.0, np.float32),
}
"""Neither in alphabetical order nor without a 0-d array."""

Client = Callable[[int, Message], Message]
Delay = Callable[[int, int], int | None]


class InMemoryGrid(Grid):
    """Call `client` for every message; its reply shows after as many looks as `delay` says, None: never.

    `delay` gets the partition and how many messages it has had before. `overrun` lists the partitions that were
    sent a message while they owed a reply, `most_under_way` is the largest number of messages without a reply.
    """

    def __init__(self, client: Client, num_clients: int = 4, delay: Delay = lambda *_: 0) -> None:
        self._client = client
        self._delay = delay
        self.partitions = {random.Random().getrandbits(60): partition for partition in range(num_clients)}
        self._numbers = itertools.count()
        self._waiting: dict[str, tuple[int, Message, int | None]] = {}
        self._had = dict.fromkeys(range(num_clients), 0)
        self.sent: list[tuple[int, str, object]] = []
        self.overrun: list[int] = []
        self.looks = 0
        self.most_under_way = 0

    def get_node_ids(self) -> Iterable[int]:
        return set(self.partitions)

    def push_messages(self, messages_: Iterable[Message]) -> Iterable[str]:
        return [self._push(message) for message in messages_ if message.metadata.dst_node_id in self.partitions]

    def _push(self, message: Message) -> str:
        partition = self.partitions[message.metadata.dst_node_id]
        message_id = f"message-{next(self._numbers)}"
        overwrite_metadata(message, message_id=message_id)
        if any(owing == partition for owing, _, _ in self._waiting.values()):
            self.overrun.append(partition)
        kind = message.metadata.message_type
        self.sent.append((partition, kind, messages.message_config(message).get(messages.SERVER_ROUND)))
        delay = 0 if kind == MessageType.QUERY else self._delay(partition, self._had[partition])
        self._had[partition] += kind != MessageType.QUERY
        self._waiting[message_id] = (partition, self._answer(partition, message), delay)
        self.most_under_way = max(self.most_under_way, len(self._waiting))
        return message_id

    def _answer(self, partition: int, message: Message) -> Message:
        try:
            return self._client(partition, message)
        except Exception as error:
            return Message(Error(2, f"{type(error).__name__}: {error}\nsecond line"), reply_to=message)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        self.looks += 1
        arrived = []
        for message_id in message_ids:
            partition, reply, delay = self._waiting[message_id]
            if delay is None or delay > 0:
                self._waiting[message_id] = (partition, reply, delay and delay - 1)
            else:
                arrived.append(reply)
                del self._waiting[message_id]
        random.Random(self.looks).shuffle(arrived)
        return arrived

    def send_and_receive(self, messages_: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise AssertionError("FirstArrivals polls by itself")

    def set_run(self, run: object) -> None:
        raise NotImplementedError

    @property
    def run(self) -> Any:
        raise NotImplementedError

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        raise NotImplementedError


def local_arrays(partition: int, arrays: messages.Arrays) -> messages.Arrays:
    """Return an update that identifies the client; sums of such updates depend on their order."""
    return {
        name: (array * np.float32(0.9) + np.float32(0.1 * partition)).astype(np.float32)
        for name, array in arrays.items()
    }


def honest_client(partition: int, message: Message) -> Message:
    """Answer everything as a client of this project does."""
    kind = message.metadata.message_type
    if kind == MessageType.QUERY:
        return messages.registration_reply(message, partition)
    if kind == MessageType.EVALUATE:
        counts = {curve: Counts(hits=[partition, 1], trials=[5, 5]) for curve in CURVES}
        return messages.evaluate_reply(message, 2, messages.counts_to_metrics(counts))
    metrics: dict[str, int | float] = {TRAIN_LOSS: 0.5 + partition}
    if "clipping_norm" in messages.message_config(message):
        metrics["norm_bit"] = partition % 2
    arrays = local_arrays(partition, messages.message_arrays(message))
    return messages.train_reply(message, arrays, 10 * (partition + 1), metrics)


@dataclass(frozen=True)
class Latencies:
    """Latencies from a table: row by round (the last one repeats), column by partition."""

    rows: Sequence[Sequence[float]]

    def latency_seconds(self, server_round: int, partition_id: int) -> float:
        return self.rows[min(server_round, len(self.rows)) - 1][partition_id]


@dataclass
class Run:
    """A run and all that it reported."""

    grid: InMemoryGrid
    records: list[RoundRecord] = field(default_factory=list)
    arrays: list[messages.Arrays] = field(default_factory=list)
    result: Result = field(default_factory=Result)

    def arrived(self) -> list[list[tuple[int, int]]]:
        """Return, per round, partition and round of the instruction, in the order of arrival."""
        return [[(a.partition_id, a.sent_in_round) for a in record.arrivals] for record in self.records]

    def dropped(self) -> list[dict[int, str]]:
        return [{drop.partition_id: drop.describe() for drop in record.dropped} for record in self.records]


def federate(  # noqa: PLR0917
    arrivals: ArrivalModel,
    rounds: int = 1,
    client: Client = honest_client,
    delay: Delay = lambda *_: 0,
    inner: Strategy | ServerRule | None = None,
    timeout: float = 5.0,
    grid: InMemoryGrid | None = None,
    state: dict[str, Any] | None = None,
    start: messages.Arrays = GLOBAL,
    **options: Any,
) -> Run:
    """Run a federation of 4 clients with a quorum of 3 by default.

    `state` is one to resume from, `start` the model of a run that begins, `options` are attributes of `Federation`,
    `RoundSchedule`, `Hooks` and `TransportSettings`, and arguments of `FirstArrivals`.
    """
    federation, schedule, hooks, transport = (
        {name: options.pop(name) for name in [field.name for field in fields(kind)] if name in options}
        for kind in (Federation, RoundSchedule, Hooks, TransportSettings)
    )
    size = Federation(**{"num_clients": 4, "quorum": 3} | federation)
    run = Run(grid or InMemoryGrid(client, size.num_clients, delay))

    def on_round(record: RoundRecord, arrays: ArrayRecord) -> None:
        run.records.append(record)
        run.arrays.append(messages.from_record(arrays))

    strategy = FirstArrivals(
        inner or FedAvg(),
        size,
        arrivals=arrivals,
        schedule=RoundSchedule(**{"is_evaluated": lambda _: False} | schedule),
        hooks=Hooks(on_round=on_round, **hooks),
        transport=TransportSettings(**{"poll_seconds": 0.0} | transport),
        **{"seed": 3} | options,
    )
    arrays = messages.to_record(start) if state is None else strategy.resume(state)
    run.result = strategy.start(run.grid, arrays, num_rounds=rounds, timeout=timeout)
    return run
