"""Pending training requests, and the two clocks that decide which reply arrives next."""

import heapq
import itertools
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flwr.app import ArrayRecord, Message

from fedmeta_flwr.protocol import Arrays, messages
from strategies.errors import StrategyError
from strategies.transport.arrivals import ArrivalModel, LatencyModel, WallClock
from strategies.transport.grid import ArrivalGrid


@dataclass(frozen=True)
class PendingRequest:
    """One training instruction that was sent and whose reply has not arrived.

    Attributes
    ----------
    partition_id : int
        The client; it has at most one pending request.
    sent_in_round : int
        Round of the instruction.
    message_id : str
        Its id in the Grid.
    deadline : float
        Time of `time.monotonic` at which the wait for its reply ends.
    instruction : Message
        What was sent.
    sent : dict
        The global arrays in it.
    """

    partition_id: int
    sent_in_round: int
    message_id: str
    deadline: float
    instruction: Message
    sent: Arrays


class DecodedArrays:
    """Decoded arrays of instructions. Strategies send the same record to all clients, so each is decoded only once."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ArrayRecord, Arrays]] = {}  # by the record's id, which lives as long as this does

    def of(self, instruction: Message) -> Arrays:
        """Return the arrays of an instruction."""
        record = instruction.content.array_records[messages.ARRAYS]
        if id(record) not in self._known:
            self._known[id(record)] = (record, messages.from_record(record))
        return self._known[id(record)][1]


def save_pending(pending: Mapping[int, PendingRequest]) -> list[dict[str, Any]]:
    """Return the state for `send_again`, in the order of partitions; `fedmeta_flwr.records.packing` can pack it."""
    return [
        {
            "partition_id": partition_id,
            "sent_in_round": request.sent_in_round,
            "message_type": request.instruction.metadata.message_type,
            "content": request.instruction.content,
        }
        for partition_id, request in sorted(pending.items())
    ]


def send_again(saved: list[dict[str, Any]], grid: ArrivalGrid, timeout_seconds: float) -> dict[int, PendingRequest]:
    """Repeat the requests that were pending at a checkpoint; a client always answers an instruction in the same way.

    Parameters
    ----------
    saved : list of dict
        From `save_pending`.
    grid : ArrivalGrid
        After the registration, because node ids may have changed.
    timeout_seconds : float
        Longest wait for each reply.

    Returns
    -------
    dict
        Partition id to pending request.
    """
    nodes = {partition_id: node_id for node_id, partition_id in grid.roster.items()}
    decoded = DecodedArrays()
    pending = {}
    for entry in saved:
        partition_id = entry["partition_id"]
        instruction = Message(entry["content"], nodes[partition_id], entry["message_type"])
        deadline = time.monotonic() + timeout_seconds
        message_id = grid.send(instruction, deadline)
        sent = decoded.of(instruction)
        pending[partition_id] = PendingRequest(
            partition_id, entry["sent_in_round"], message_id, deadline, instruction, sent
        )
    return pending


class Clock(Protocol):
    """The current time, and the order in which replies arrive."""

    def now(self) -> float:
        """Return the time in seconds, from an arbitrary zero."""
        ...

    def add(self, request: PendingRequest) -> None:
        """Add a request that is sent now."""
        ...

    def next_arrival(self) -> PendingRequest | None:
        """Remove and return the request whose reply arrives next; None if none is pending."""
        ...

    def state(self) -> dict[str, Any]:
        """Return the state for a checkpoint."""
        ...

    def restore(self, state: dict[str, Any], pending: Iterable[PendingRequest]) -> None:
        """Resume from a checkpoint; its requests have been sent again."""
        ...


class SimulatedClock:
    """Simulated time, which advances from arrival to arrival according to a latency model.

    Parameters
    ----------
    model : LatencyModel
        Gives the time from each request to its reply. Ties are resolved in the order of partition ids.
    """

    def __init__(self, model: LatencyModel) -> None:
        self._model = model
        self._now = 0.0
        self._arrivals: list[tuple[float, int, PendingRequest]] = []

    def now(self) -> float:
        """Return the simulated time in seconds since the start of the run."""
        return self._now

    def add(self, request: PendingRequest) -> None:
        """Add a request; raises `StrategyError` if its latency is not a duration."""
        latency = self._model.latency_seconds(request.sent_in_round, request.partition_id)
        if not (math.isfinite(latency) and latency >= 0):
            raise StrategyError(
                f"arrival model {type(self._model).__name__}: expected a latency of 0 seconds or above, found "
                f"{latency!r} for client {request.partition_id} in round {request.sent_in_round}"
            )
        heapq.heappush(self._arrivals, (self._now + latency, request.partition_id, request))

    def next_arrival(self) -> PendingRequest | None:
        """Advance the time to the next arrival, without waiting."""
        if not self._arrivals:
            return None
        self._now, _, request = heapq.heappop(self._arrivals)
        return request

    def state(self) -> dict[str, Any]:
        """Return the time, and when each client's reply arrives."""
        return {"now": self._now, "arrives_at": {partition_id: time for time, partition_id, _ in self._arrivals}}

    def restore(self, state: dict[str, Any], pending: Iterable[PendingRequest]) -> None:
        """Restore the time and the times of arrival."""
        self._now = state["now"]
        self._arrivals = [
            (state["arrives_at"][request.partition_id], request.partition_id, request) for request in pending
        ]
        heapq.heapify(self._arrivals)


class RealClock:
    """Real time: replies count in the order in which they arrive.

    Parameters
    ----------
    grid : ArrivalGrid
        Receives the replies.
    """

    def __init__(self, grid: ArrivalGrid) -> None:
        self._grid = grid
        self._pending: dict[str, PendingRequest] = {}
        self._deadlines: list[tuple[float, int, str]] = []  # a heap: deadline, order of requests, message id
        self._numbers = itertools.count()

    def now(self) -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()

    def add(self, request: PendingRequest) -> None:
        """Add a request."""
        self._pending[request.message_id] = request
        heapq.heappush(self._deadlines, (request.deadline, next(self._numbers), request.message_id))

    def next_arrival(self) -> PendingRequest | None:
        """Wait for the first reply; if a request's deadline comes first, return that request."""
        if not self._pending:
            return None
        while self._deadlines[0][-1] not in self._pending:
            heapq.heappop(self._deadlines)
        deadline, _, overdue = self._deadlines[0]
        message_id = self._grid.await_first(self._pending, deadline)
        return self._pending.pop(message_id or overdue)

    def state(self) -> dict[str, Any]:
        """Return no state: requests that are sent again take as long as they take."""
        return {}

    def restore(self, state: dict[str, Any], pending: Iterable[PendingRequest]) -> None:
        """Add the requests."""
        for request in pending:
            self.add(request)


def make_clock(arrivals: ArrivalModel, grid: ArrivalGrid) -> Clock:
    """Return the clock of an arrival model."""
    return RealClock(grid) if isinstance(arrivals, WallClock) else SimulatedClock(arrivals)
