"""Save and restore the state of a strategy or a rule between rounds, such as momenta and clipping norms.

The state of any strategy is its attributes, and those of strategies that it wraps. Plain values, arrays and records are
saved; functions are not, because the constructor sets them. A strategy with other attributes, such as a PyTorch module,
or with slots may have methods ``state_dict`` and ``load_state_dict``, as PyTorch's modules have.
"""

import inspect
from typing import Any

from flwr.serverapp.strategy import Strategy

from fedmeta_flwr.records.packing import PackingError, pack
from strategies.errors import StrategyError
from strategies.rules.base import ServerRule

_WRAPPED = "wrapped"


def wrapped_strategies(strategy: Strategy | ServerRule) -> list[Strategy]:
    """Return the strategies that are attributes of a strategy."""
    return [value for value in vars(strategy).values() if isinstance(value, Strategy)]


def get_state(strategy: Strategy | ServerRule) -> dict[str, Any]:
    """Return the state of a strategy or a rule, as values that `packing.pack` can pack.

    Raises
    ------
    StrategyError
        Names the attribute that cannot be saved, or the only one of the two methods that was found.
    """
    if _has_custom_state(strategy):
        return {"custom": strategy.state_dict()}  # type: ignore[union-attr]
    for name, _ in inspect.getmembers_static(type(strategy), inspect.ismemberdescriptor):
        raise _unsaved(strategy, name, "it is a slot")
    state: dict[str, Any] = {}
    for name, value in vars(strategy).items():
        if isinstance(value, Strategy | ServerRule):
            state[name] = {_WRAPPED: get_state(value)}
        elif not callable(value) or _is_module(value):
            _require_packable(strategy, name, value)
            state[name] = value
    return {"attributes": state}


def set_state(strategy: Strategy | ServerRule, state: dict[str, Any]) -> None:
    """Restore the result of `get_state` for a strategy with the same constructor arguments.

    Raises
    ------
    StrategyError
        If the state is of another strategy.
    """
    name = type(strategy).__name__
    has_custom_state = _has_custom_state(strategy)
    if set(state) != {"custom" if has_custom_state else "attributes"}:
        raise StrategyError(f"strategy {name}: expected a state of its construction, found {sorted(state)}")
    if has_custom_state:
        strategy.load_state_dict(state["custom"])  # type: ignore[union-attr]
        return
    for key, value in state["attributes"].items():
        present = getattr(strategy, key, None)
        if isinstance(present, Strategy | ServerRule):
            set_state(present, value[_WRAPPED])
        elif callable(present) or inspect.isdatadescriptor(getattr(type(strategy), key, None)):
            raise StrategyError(f"strategy {name}: expected attributes, found a value for its function {key!r}")
        else:
            vars(strategy)[key] = value  # not setattr, which a frozen dataclass refuses


def _has_custom_state(strategy: Strategy | ServerRule) -> bool:
    found = [name for name in ("state_dict", "load_state_dict") if hasattr(strategy, name)]
    if len(found) == 1:
        raise StrategyError(
            f"strategy {type(strategy).__name__}: expected both of state_dict and load_state_dict, or none of them, "
            f"found only {found[0]}"
        )
    return bool(found)


def _require_packable(strategy: Strategy | ServerRule, name: str, value: object) -> None:
    try:
        pack(value)
    except PackingError as error:
        raise _unsaved(strategy, name, error) from error


def _is_module(value: object) -> bool:
    """Return whether a callable has a state, as PyTorch's modules have, and is not a class."""
    return hasattr(value, "state_dict") and not inspect.isclass(value)


def _unsaved(strategy: Strategy | ServerRule, name: str, reason: object) -> StrategyError:
    kind = type(strategy).__name__
    return StrategyError(
        f"strategy {kind}: attribute {name!r} cannot be saved in a checkpoint ({reason}); give {kind} the methods "
        f"state_dict and load_state_dict, or set checkpoint-every to 0"
    )
