"""Server strategies: the first arrivals, around any strategy of Flower's or one's own."""

from strategies.errors import DeadActorError, QuorumError, RegistrationError, StrategyError
from strategies.first_arrivals import FirstArrivals
from strategies.rules.feasibility import Abstainers
from strategies.rules.registry import STRATEGY_NAMES, make_strategy
from strategies.rules.server_side_clipping import ServerSideAdaptiveClipping, ServerSideFixedClipping
from strategies.transport.arrivals import ArrivalModel, LatencyModel, SeededLatency, WallClock, make_arrivals
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
    "RegistrationError",
    "SeededLatency",
    "ServerSideAdaptiveClipping",
    "ServerSideFixedClipping",
    "StrategyError",
    "UpdateGuard",
    "WallClock",
    "make_arrivals",
    "make_strategy",
]
