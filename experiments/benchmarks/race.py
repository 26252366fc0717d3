"""Measure contenders side by side: they take turns repeatedly, and ratios are computed turn by turn.

The other load on the machine changes from second to second; in this way it affects all contenders alike.
"""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Contender:
    """One way of doing the work.

    Attributes
    ----------
    name : str
        In the table.
    run : callable
        Does `units` of work.
    units : float
        What is counted: episodes, or floating-point operations.
    """

    name: str
    run: Callable[[], object]
    units: float


@dataclass(frozen=True)
class Turn:
    """The progress of a benchmark.

    Attributes
    ----------
    case : str
        What is measured.
    number, turns : int
        Turns that have ended, and their total number; turns that are not timed do not count.
    """

    case: str
    number: int
    turns: int


Tell = Callable[[Turn], None]
"""Called whenever a turn has ended."""


def race(
    contenders: Sequence[Contender],
    repetitions: int,
    on_turn: Callable[[int], None] = lambda turns: None,
    *,
    warms_up: bool = True,
) -> list[dict[str, Any]]:
    """Time all contenders.

    Parameters
    ----------
    contenders : sequence of Contender
        The first is the one that the others are compared with.
    repetitions : int
        Timed runs of each.
    on_turn : callable
        Told how many turns have ended: 0 at first, then after every one.
    warms_up : bool
        Whether each has a run that is not timed before.

    Returns
    -------
    list of dict
        For each: ``contender``, ``per_second`` (median of units per second), ``seconds`` (of every run), and ``ratio``,
        how many times as fast the first contender is: ``median``, ``lowest`` and ``highest`` of the ratios of turns.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    on_turn(0)
    for contender in contenders if warms_up else ():
        contender.run()
    for turn in range(repetitions):
        # Every other turn is in reverse order, so that no contender always follows the same one.
        for contender in contenders if turn % 2 == 0 else reversed(contenders):
            began = time.perf_counter()
            contender.run()
            seconds[contender.name].append(time.perf_counter() - began)
        on_turn(turn + 1)
    rates = {one.name: [one.units / taken for taken in seconds[one.name]] for one in contenders}
    first = rates[contenders[0].name]
    return [
        {
            "contender": name,
            "per_second": statistics.median(rates[name]),
            "ratio": spread([ours / theirs for ours, theirs in zip(first, rates[name], strict=True)]),
            "seconds": seconds[name],
        }
        for name in rates
    ]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, lowest and highest."""
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
