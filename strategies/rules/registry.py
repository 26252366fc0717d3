"""Strategies by name: Flower's built-in ones, and the user's own as ``module:Class``."""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from flwr.serverapp import strategy as flower
from flwr.serverapp.strategy import Strategy

from fedmeta_flwr.config.registry import is_own, load_own
from fedmeta_flwr.protocol import messages
from strategies.errors import StrategyError
from strategies.rules.base import ServerRule
from strategies.rules.options import require_admitted, require_consistent, require_type
from strategies.rules.server_side_clipping import ServerSideAdaptiveClipping, ServerSideFixedClipping

_SAMPLING: dict[str, type[Strategy]] = {
    "fedavg": flower.FedAvg,
    "fedavgm": flower.FedAvgM,
    "fedadam": flower.FedAdam,
    "fedadagrad": flower.FedAdagrad,
    "fedyogi": flower.FedYogi,
    "fedmedian": flower.FedMedian,
    "fedtrimmedavg": flower.FedTrimmedAvg,
    "krum": flower.Krum,
    "multikrum": flower.MultiKrum,
    "bulyan": flower.Bulyan,
    "fedprox": flower.FedProx,
    "qfedavg": flower.QFedAvg,
}
_PRIVATE: dict[str, type[Strategy]] = {
    "dp-server-fixed-clipping": ServerSideFixedClipping,
    "dp-client-fixed-clipping": flower.DifferentialPrivacyClientSideFixedClipping,
    "dp-server-adaptive-clipping": ServerSideAdaptiveClipping,
    "dp-client-adaptive-clipping": flower.DifferentialPrivacyClientSideAdaptiveClipping,
}
_FOR_TREES = ("fedxgbbagging", "fedxgbcyclic")
BUILT_IN = _SAMPLING | _PRIVATE
STRATEGY_NAMES = tuple(BUILT_IN)
_LONGEST_SHOWN = 200


def make_strategy(name: str, options: str, quorum: int, num_clients: int) -> Strategy | ServerRule:
    """Build the strategy of a run configuration.

    Parameters
    ----------
    name : str
        One of `STRATEGY_NAMES`, or ``"module:Class"`` for a custom `Strategy` or `ServerRule`.
    options : str
        Keyword arguments of its constructor as a JSON object; empty: none. `strategies.rules.options` has the range of
        each number. A ``dp-...`` name wraps another strategy, which its options name as ``"strategy"`` (fedavg if left
        out) and may give ``"strategy_options"``: ``{"clipping_norm": 2.0, "strategy": "fedmedian"}``.
    quorum : int
        Updates that it will aggregate: default of ``num_sampled_clients``, on which a dp strategy bases its noise.
    num_clients : int
        Nodes of the federation: default of the minimum numbers of nodes, so that all are asked.

    Returns
    -------
    Strategy or ServerRule
        With Flower's defaults, but for: all clients are asked (unless a fraction is given); fedtrimmedavg trims
        at least one update at either end (Flower's beta of 0.2 trims none of 3); qfedavg reads the train loss that
        the clients report, with a client learning rate of 0.1; dp strategies clip at 1.0 with a noise multiplier
        of 0.1, which makes them run but promises no privacy.

    Raises
    ------
    StrategyError
        Naming the key (``strategy`` or ``strategy-options``), what was expected, and what was found.
    OwnCodeError
        If there is no such class of one's own.
    """
    return _make(name, _parsed(options), quorum, num_clients)


def _make(name: str, options: dict[str, Any], quorum: int, num_clients: int) -> Strategy | ServerRule:
    if is_own(name):
        return _construct(name, _imported(name), options)
    if name in _SAMPLING:
        defaults = _sampling_defaults(name, options, quorum, num_clients)
        return _built_in(name, options, defaults, quorum)
    if name in _PRIVATE:
        wrapped, own = _unwrapped(options, quorum, num_clients)
        defaults = {"noise_multiplier": 0.1, "num_sampled_clients": quorum}
        if name.endswith("fixed-clipping"):
            defaults["clipping_norm"] = 1.0
        return _built_in(name, own, defaults, quorum, strategy=wrapped)
    if name in _FOR_TREES:
        raise StrategyError(f"strategy: expected one for neural networks, found {name!r}, which merges XGBoost trees")
    known = ", ".join(STRATEGY_NAMES)
    raise StrategyError(f"strategy: expected one of {known}, or 'module:Class', found {name!r}")


def _built_in(
    name: str, options: Mapping[str, Any], defaults: Mapping[str, Any], quorum: int, **fixed: Strategy
) -> Strategy | ServerRule:
    kind = BUILT_IN[name]
    _require_known(name, kind, options)
    require_admitted(name, kind, options)
    require_consistent(name, options, {**defaults, **options}, quorum)
    return _construct(name, kind, {**defaults, **options}, **fixed)


def _parsed(options: str) -> dict[str, Any]:
    try:
        parsed = json.loads(options or "{}")
    except (ValueError, RecursionError) as error:  # also of a number with thousands of digits
        shown = repr(options[:_LONGEST_SHOWN]) + "..." * (len(options) > _LONGEST_SHOWN)
        raise StrategyError(f"strategy-options: expected a JSON object, found {shown} ({error})") from error
    if not isinstance(parsed, dict):
        raise StrategyError(f"strategy-options: expected a JSON object, found {options!r}")
    return parsed


def _sampling_defaults(name: str, options: Mapping[str, Any], quorum: int, num_clients: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "min_train_nodes": quorum if "fraction_train" in options else num_clients,
        "min_evaluate_nodes": 1 if "fraction_evaluate" in options else num_clients,
        "min_available_nodes": 1
        if "fraction_evaluate" in options
        else num_clients,  # all are there, by their registration
    }
    if name == "qfedavg":
        defaults |= {"client_learning_rate": 0.1, "train_loss_key": messages.TRAIN_LOSS}
    if name == "fedtrimmedavg" and quorum >= 3:
        defaults["beta"] = max(0.2, 1.01 / quorum)  # int(beta * quorum) are cut at either end; below 0.5
    return defaults


def _unwrapped(options: Mapping[str, Any], quorum: int, num_clients: int) -> tuple[Strategy, dict[str, Any]]:
    """Split the options of a dp strategy into what it wraps and its own."""
    own = dict(options)
    name, inner_options = own.pop("strategy", "fedavg"), own.pop("strategy_options", {})
    if not isinstance(name, str) or not isinstance(inner_options, dict):
        raise StrategyError(
            "strategy-options: expected 'strategy' to be a name and 'strategy_options' an object, "
            f"found {name!r} and {inner_options!r}"
        )
    if name in _PRIVATE:
        raise StrategyError(f"strategy-options: strategy: expected one that does not clip itself, found {name!r}")
    wrapped = _make(name, inner_options, quorum, num_clients)
    if isinstance(wrapped, ServerRule):
        raise StrategyError(f"strategy-options: strategy: expected a Strategy of flwr, found the rule {name!r}")
    return wrapped, own


def _imported(name: str) -> type[Strategy | ServerRule]:
    found = load_own("strategy", name)
    if not (inspect.isclass(found) and issubclass(found, Strategy | ServerRule)):
        raise StrategyError(
            f"strategy: expected a subclass of flwr's Strategy or of strategies.ServerRule, found {name!r}"
        )
    if inspect.isabstract(found):
        kind = "Strategy" if issubclass(found, Strategy) else "ServerRule"
        missing = ", ".join(sorted(found.__abstractmethods__))
        raise StrategyError(f"strategy: expected {name!r} to define all of {kind}'s methods, found none for {missing}")
    return found


def _construct(
    name: str, kind: Callable[..., Strategy | ServerRule], options: Mapping[str, Any], **fixed: Strategy
) -> Strategy | ServerRule:
    _require_known(name, kind, options)
    try:
        return kind(**options, **fixed)
    except (TypeError, ValueError, ArithmeticError) as error:
        raise StrategyError(f"strategy-options: {name} refuses {dict(options)!r}: {error}") from error


def _require_known(name: str, kind: Callable[..., Strategy | ServerRule], options: Mapping[str, Any]) -> None:
    """Check the names of options, and their types where an annotation says them: Flower would fail rounds later."""
    parameters = inspect.signature(kind).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    for key, value in options.items():
        if key in parameters:
            require_type(name, key, parameters[key].annotation, value)
        elif not takes_any:
            known = ", ".join(parameters)
            raise StrategyError(f"strategy-options: expected options of {name} ({known}), found {key!r}")
