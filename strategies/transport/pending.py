"""Instructions under way, and the two clocks that tell which of their replies lands next."""

import heapq
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flwr.app import ArrayRecord, Message

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.protocol.messages import Arrays
from strategies.errors import StrategyError
from strategies.transport.arrivals import ArrivalModel, LatencyModel, WallClock
from strategies.transport.grid import ArrivalGrid


@dataclass(frozen=True)
class Flight:
    """One training instruction that was sent and whose reply has not landed.

    Attributes
    ----------
    partition_id : int
        The client; it has one flight at most.
    sent_in_round : int
        Round of the instruction.
    message_id : str
        Under which the Grid knows it.
    deadline : float
        Time of `time.monotonic` until which its reply is waited for.
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
    """The arrays of instructions, decoded once for each record: strategies send the same record to all clients."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ArrayRecord, Arrays]] = {}  # by the record's id, which lives as long as this does

    def of(self, instruction: Message) -> Arrays:
        """Return what an instruction carries."""
        record = instruction.content.array_records[messages.ARRAYS]
        if id(record) not in self._known:
            self._known[id(record)] = (record, messages.from_record(record))
        return self._known[id(record)][1]


def save_flights(flights: Mapping[int, Flight]) -> list[dict[str, Any]]:
    """Return what `send_again` needs, in the order of partitions; `fedmeta_flwr.records.packing` takes it."""
    return [
        {
            "partition_id": partition_id,
            "sent_in_round": flight.sent_in_round,
            "message_type": flight.instruction.metadata.message_type,
            "content": flight.instruction.content,
        }
        for partition_id, flight in sorted(flights.items())
    ]


def send_again(saved: list[dict[str, Any]], grid: ArrivalGrid, timeout_seconds: float) -> dict[int, Flight]:
    """Ask again what was under way when a run was saved: a client's answer to an instruction is always the same.

    Parameters
    ----------
    saved : list of dict
        From `save_flights`.
    grid : ArrivalGrid
        After the roll call: nodes may be others than they were.
    timeout_seconds : float
        Longest wait for each reply.

    Returns
    -------
    dict
        Partition id to flight.
    """
    nodes = {partition_id: node_id for node_id, partition_id in grid.roster.items()}
    decoded = DecodedArrays()
    flights = {}
    for entry in saved:
        partition_id = entry["partition_id"]
        instruction = Message(entry["content"], nodes[partition_id], entry["message_type"])
        deadline = time.monotonic() + timeout_seconds
        message_id = grid.send(instruction, deadline)
        sent = decoded.of(instruction)
        flights[partition_id] = Flight(partition_id, entry["sent_in_round"], message_id, deadline, instruction, sent)
    return flights


class Clock(Protocol):
    """The order in which flights land, and what time it is."""

    def now(self) -> float:
        """Return the time in seconds, from an arbitrary zero."""
        ...

    def depart(self, flight: Flight) -> None:
        """Take note of a flight that leaves now."""
        ...

    def next_flight(self) -> Flight | None:
        """Return the flight that lands next, once; None where none is under way."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        ...

    def restore(self, state: dict[str, Any], flights: Iterable[Flight]) -> None:
        """Go on from a checkpoint; its flights have been sent again."""
        ...


class SimulatedClock:
    """Time that passes from landing to landing, as a latency model says.

    Parameters
    ----------
    model : LatencyModel
        Gives each flight its duration. Ties land in the order of partition ids.
    """

    def __init__(self, model: LatencyModel) -> None:
        self._model = model
        self._now = 0.0
        self._landings: list[tuple[float, int, Flight]] = []

    def now(self) -> float:
        """Return the simulated time in seconds since the start of the run."""
        return self._now

    def depart(self, flight: Flight) -> None:
        """Take note of a flight; raises `StrategyError` where its latency is no duration."""
        latency = self._model.latency_seconds(flight.sent_in_round, flight.partition_id)
        if not (math.isfinite(latency) and latency >= 0):
            raise StrategyError(
                f"arrival model {type(self._model).__name__}: expected a latency of 0 seconds or above, found "
                f"{latency!r} for client {flight.partition_id} in round {flight.sent_in_round}"
            )
        heapq.heappush(self._landings, (self._now + latency, flight.partition_id, flight))

    def next_flight(self) -> Flight | None:
        """Let time pass until the next landing; never waits."""
        if not self._landings:
            return None
        self._now, _, flight = heapq.heappop(self._landings)
        return flight

    def state(self) -> dict[str, Any]:
        """Return the time, and when each client's flight lands."""
        return {"now": self._now, "landings": {partition_id: time for time, partition_id, _ in self._landings}}

    def restore(self, state: dict[str, Any], flights: Iterable[Flight]) -> None:
        """Take up the time and the landings."""
        self._now = state["now"]
        self._landings = [(state["landings"][flight.partition_id], flight.partition_id, flight) for flight in flights]
        heapq.heapify(self._landings)


class RealClock:
    """Time as it passes; flights land when their replies come in.

    Parameters
    ----------
    grid : ArrivalGrid
        Where the replies come in.
    """

    def __init__(self, grid: ArrivalGrid) -> None:
        self._grid = grid
        self._flights: dict[str, Flight] = {}

    def now(self) -> float:
        """Return the monotonic time in seconds."""
        return time.monotonic()

    def depart(self, flight: Flight) -> None:
        """Take note of a flight."""
        self._flights[flight.message_id] = flight

    def next_flight(self) -> Flight | None:
        """Wait for the earliest reply; where a flight's deadline comes first, return that flight."""
        if not self._flights:
            return None
        overdue = min(self._flights, key=lambda message_id: self._flights[message_id].deadline)
        message_id = self._grid.await_first(self._flights, self._flights[overdue].deadline)
        return self._flights.pop(message_id or overdue)

    def state(self) -> dict[str, Any]:
        """Return nothing: flights that are sent again take the time that they take."""
        return {}

    def restore(self, state: dict[str, Any], flights: Iterable[Flight]) -> None:
        """Take note of the flights."""
        for flight in flights:
            self.depart(flight)


def make_clock(arrivals: ArrivalModel, grid: ArrivalGrid) -> Clock:
    """Return the clock of an arrival model."""
    return RealClock(grid) if isinstance(arrivals, WallClock) else SimulatedClock(arrivals)
