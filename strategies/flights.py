"""Instructions under way, and the two clocks that tell which of their replies lands next."""

import heapq
import math
import time
from dataclasses import dataclass
from typing import Protocol

from fedmeta_flwr.messages import Arrays
from strategies.arrival_grid import ArrivalGrid
from strategies.arrivals import LatencyModel
from strategies.errors import StrategyError


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
    sent : dict
        The global arrays that went along.
    """

    partition_id: int
    sent_in_round: int
    message_id: str
    sent: Arrays


class Clock(Protocol):
    """The order in which flights land, and what time it is."""

    def now(self) -> float:
        """Return the time in seconds, from an arbitrary zero."""
        ...

    def depart(self, flight: Flight) -> None:
        """Take note of a flight that leaves now."""
        ...

    def next_flight(self, deadline: float) -> Flight | None:
        """Return the flight that lands next, once; None where none does before the (real) deadline."""
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

    def next_flight(self, deadline: float) -> Flight | None:
        """Let time pass until the next landing; never waits, so the deadline is of no concern."""
        if not self._landings:
            return None
        self._now, _, flight = heapq.heappop(self._landings)
        return flight


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

    def next_flight(self, deadline: float) -> Flight | None:
        """Wait for the earliest reply."""
        message_id = self._grid.await_first(self._flights, deadline)
        return None if message_id is None else self._flights.pop(message_id)
