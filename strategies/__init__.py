"""Server strategies: aggregate the first arrivals with any Flower strategy, a custom one, or a server rule."""

from strategies.errors import DeadActorError, QuorumError, RegistrationError, StrategyError
from strategies.federation import Abstainers, Federation
from strategies.first_arrivals import FirstArrivals
from strategies.hooks import Hooks, RoundSchedule
from strategies.key_guard import KeyGuard
from strategies.rules.base import ClientUpdate, RuleContext, ServerRule
from strategies.rules.registry import STRATEGY_NAMES, make_strategy
from strategies.rules.server_side_clipping import ServerSideAdaptiveClipping, ServerSideFixedClipping
from strategies.transport.arrivals import ArrivalModel, LatencyModel, SeededLatency, WallClock, make_arrivals
from strategies.transport.grid import TransportSettings
from strategies.update_guard import ExpectedCounts, UpdateGuard

__all__ = [
    "STRATEGY_NAMES",
    "Abstainers",
    "ArrivalModel",
    "ClientUpdate",
    "DeadActorError",
    "ExpectedCounts",
    "Federation",
    "FirstArrivals",
    "Hooks",
    "KeyGuard",
    "LatencyModel",
    "QuorumError",
    "RegistrationError",
    "RoundSchedule",
    "RuleContext",
    "SeededLatency",
    "ServerRule",
    "ServerSideAdaptiveClipping",
    "ServerSideFixedClipping",
    "StrategyError",
    "TransportSettings",
    "UpdateGuard",
    "WallClock",
    "make_arrivals",
    "make_strategy",
]
