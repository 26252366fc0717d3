"""Server strategies: the first arrivals, around any strategy of Flower's or one's own."""

from strategies.arrivals import ArrivalModel, LatencyModel, SeededLatency, WallClock, make_arrivals
from strategies.errors import DeadActorError, QuorumError, RollCallError, StrategyError
from strategies.feasibility import Abstainers
from strategies.first_arrivals import FirstArrivals
from strategies.registry import STRATEGY_NAMES, make_strategy
from strategies.server_side_clipping import ServerSideAdaptiveClipping, ServerSideFixedClipping
from strategies.update_guard import ExpectedCounts, UpdateGuard

__all__ = [
    "STRATEGY_NAMES",
    "Abstainers",
    "ArrivalModel",
    "DeadActorError",
    "ExpectedCounts",
    "FirstArrivals",
    "LatencyModel",
    "QuorumError",
    "RollCallError",
    "SeededLatency",
    "ServerSideAdaptiveClipping",
    "ServerSideFixedClipping",
    "StrategyError",
    "UpdateGuard",
    "WallClock",
    "make_arrivals",
    "make_strategy",
]
