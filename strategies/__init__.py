"""Server strategies: the first arrivals, around any strategy of Flower's or one's own."""

from strategies.arrivals import ArrivalModel, LatencyModel, SeededLatency, WallClock
from strategies.errors import QuorumError, RollCallError, StrategyError
from strategies.first_arrivals import FirstArrivals
from strategies.registry import STRATEGY_NAMES, make_strategy

__all__ = [
    "STRATEGY_NAMES",
    "ArrivalModel",
    "FirstArrivals",
    "LatencyModel",
    "QuorumError",
    "RollCallError",
    "SeededLatency",
    "StrategyError",
    "WallClock",
    "make_strategy",
]
