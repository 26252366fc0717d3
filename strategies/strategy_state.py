"""What a strategy carries from round to round (momenta, second moments, clipping norms), taken out and put back.

A strategy's attributes are its state, whatever strategy it is: those that are plain values, arrays or records are
saved; functions are part of its construction and are left alone, and so are they of a strategy that it wraps. A
strategy with other attributes may have methods ``state_dict`` and ``load_state_dict``, as PyTorch's modules have.
"""

from typing import Any

from flwr.serverapp.strategy import Strategy

from fedmeta_flwr.packing import PackingError, pack
from strategies.errors import StrategyError

_WRAPPED = "wrapped"


def get_state(strategy: Strategy) -> dict[str, Any]:
    """Return the state of a strategy, as values that `packing.pack` takes.

    Raises
    ------
    StrategyError
        Naming the attribute that cannot be saved.
    """
    if hasattr(strategy, "state_dict"):
        return {"own": strategy.state_dict()}
    state: dict[str, Any] = {}
    for name, value in vars(strategy).items():
        if isinstance(value, Strategy):
            state[name] = {_WRAPPED: get_state(value)}
        elif not callable(value):
            _require_packable(strategy, name, value)
            state[name] = value
    return {"attributes": state}


def set_state(strategy: Strategy, state: dict[str, Any]) -> None:
    """Put back what `get_state` returned for a strategy of the same construction.

    Raises
    ------
    StrategyError
        If the state is of another strategy.
    """
    name = type(strategy).__name__
    load_own = getattr(strategy, "load_state_dict", None)
    if set(state) != {"own" if load_own else "attributes"}:
        raise StrategyError(f"strategy {name}: expected its own state, found {sorted(state)}")
    if load_own:
        load_own(state["own"])
        return
    for key, value in state["attributes"].items():
        present = getattr(strategy, key, None)
        if isinstance(present, Strategy):
            set_state(present, value[_WRAPPED])
        elif callable(present) or hasattr(type(strategy), key):
            raise StrategyError(f"strategy {name}: expected attributes, found a value for its function {key!r}")
        else:
            setattr(strategy, key, value)


def _require_packable(strategy: Strategy, name: str, value: object) -> None:
    try:
        pack(value)
    except PackingError as error:
        raise StrategyError(
            f"strategy {type(strategy).__name__}: attribute {name!r} cannot be saved in a checkpoint ({error}); give "
            f"it the methods state_dict and load_state_dict, or set checkpoint-every to 0"
        ) from error
