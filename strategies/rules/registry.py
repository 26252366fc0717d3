"""Strategies by name: built-in ones, most of them Flower's, and custom ones as ``module:Class``."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from flwr.serverapp.strategy import Strategy

from fedmeta_flwr.config.registry import (
    is_custom,
    names,
    parse_options,
    refusals,
    require_arguments,
    require_options,
    resolve,
)
from fedmeta_flwr.records import TRAIN_LOSS
from strategies.errors import StrategyError
from strategies.rules.base import ServerRule
from strategies.rules.options import require_admitted, require_consistent, require_type

STRATEGY_NAMES = names("strategy")
_PRIVATE = tuple(name for name in STRATEGY_NAMES if name.startswith("dp-"))


def make_strategy(name: str, options: str, quorum: int, num_clients: int) -> Strategy | ServerRule:
    """Build the strategy of a run configuration.

    Parameters
    ----------
    name : str
        One of `STRATEGY_NAMES`, or ``"module:Class"`` for a custom `Strategy` or `ServerRule`.
    options : str
        Keyword arguments of its constructor as a JSON object; empty: none. `strategies.rules.options` has the range of
        each number. A ``dp-...`` strategy wraps another one, given by its options ``"strategy"`` (default: fedavg) and
        ``"strategy_options"``: ``{"clipping_norm": 2.0, "strategy": "fedmedian"}``.
    quorum : int
        Number of updates that it aggregates; default of ``num_sampled_clients``, which sets the noise of a dp strategy.
    num_clients : int
        Number of nodes; default of the minimum numbers of nodes, so that all are asked.

    Returns
    -------
    Strategy or ServerRule
        With Flower's defaults, except that all clients are asked (unless a fraction is given); fedtrimmedavg trims at
        least one update at either end (Flower's beta of 0.2 trims none of 3); qfedavg reads the training loss that the
        clients report, with a client learning rate of 0.1; dp strategies clip at 1.0 with a noise multiplier of 0.1,
        which lets them run but guarantees no privacy.

    Raises
    ------
    StrategyError
        Names the key (``strategy`` or ``strategy-options``), what was expected, and what was found.
    RegistryError
        If there is no such strategy, it has no such option or refuses one, or the options are not a JSON object.
    """
    return _make(name, parse_options("strategy", options), quorum, num_clients)


def _make(name: str, options: dict[str, Any], quorum: int, num_clients: int) -> Strategy | ServerRule:
    kind = _imported(name)
    if is_custom(name) or issubclass(kind, ServerRule):
        return _construct(name, kind, options)
    if name not in _PRIVATE:
        defaults = _sampling_defaults(name, options, quorum, num_clients)
        return _built_in(name, kind, options, defaults, quorum)
    wrapped, own = _unwrapped(options, quorum, num_clients)
    defaults = {"noise_multiplier": 0.1, "num_sampled_clients": quorum}
    if name.endswith("fixed-clipping"):
        defaults["clipping_norm"] = 1.0
    return _built_in(name, kind, own, defaults, quorum, strategy=wrapped)


def _built_in(
    name: str,
    kind: type[Strategy],
    options: Mapping[str, Any],
    defaults: Mapping[str, Any],
    quorum: int,
    **fixed: Strategy,
) -> Strategy | ServerRule:
    _require_known(name, kind, options)
    require_admitted(name, kind, options)
    require_consistent(name, options, {**defaults, **options}, quorum)
    return _construct(name, kind, {**defaults, **options}, **fixed)


def _sampling_defaults(name: str, options: Mapping[str, Any], quorum: int, num_clients: int) -> dict[str, Any]:
    defaults: dict[str, Any] = {
        "min_train_nodes": quorum if "fraction_train" in options else num_clients,
        "min_evaluate_nodes": 1 if "fraction_evaluate" in options else num_clients,
        "min_available_nodes": 1 if "fraction_evaluate" in options else num_clients,  # all have registered
    }
    if name == "qfedavg":
        defaults |= {"client_learning_rate": 0.1, "train_loss_key": TRAIN_LOSS}
    if name == "fedtrimmedavg" and quorum >= 3:
        defaults["beta"] = max(0.2, 1.01 / quorum)  # int(beta * quorum) are cut at either end; below 0.5
    return defaults


def _unwrapped(options: Mapping[str, Any], quorum: int, num_clients: int) -> tuple[Strategy, dict[str, Any]]:
    """Return the strategy that a dp strategy wraps, and the other options."""
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
    found = resolve("strategy", name)
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
    require_arguments("strategy", name, kind, options, **fixed)
    with refusals("strategy", name, options):
        return kind(**options, **fixed)


def _require_known(name: str, kind: Callable[..., Strategy | ServerRule], options: Mapping[str, Any]) -> None:
    """Check the names of options, and their types if annotated; Flower would fail some rounds later."""
    require_options("strategy", name, kind, options)
    parameters = inspect.signature(kind).parameters
    for key, value in options.items():
        if key in parameters:
            require_type(name, key, parameters[key].annotation, value)
