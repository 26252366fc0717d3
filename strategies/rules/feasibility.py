"""Reject strategies that can never aggregate a quorum, before the first message and with the reason.

Flower itself waits forever for nodes that do not exist, or skips the aggregation round after round.
"""

from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Bulyan, FedXgbBagging, FedXgbCyclic, MultiKrum, Strategy

from fedmeta_flwr.protocol import messages
from strategies.errors import StrategyError
from strategies.federation import Federation
from strategies.rules.base import ServerRule
from strategies.rules.state import wrapped_strategies


def require_feasible(strategy: Strategy | ServerRule, federation: Federation) -> None:
    """Check that a strategy or a rule can aggregate the quorum of a federation.

    Parameters
    ----------
    strategy : Strategy or ServerRule
        Any. A strategy that it wraps, as Flower's differential-privacy wrappers do, is checked as well.
    federation : Federation
        Its quorum is the number of updates that the strategy gets in each round.

    Raises
    ------
    StrategyError
        Names the strategy, what it expects, and what it would find.

    Notes
    -----
    Krum and MultiKrum score an update by its n - f - 2 nearest ones, and tolerate f attackers among n updates if
    2f + 2 < n (Blanchard et al. 2017, proposition 4.2). With fewer updates Flower still computes a score, from one
    nearest neighbour; that is rejected here. Bulyan needs n >= 4f + 3 (El Mhamdi et al. 2018).
    """
    quorum, num_clients = federation.quorum, federation.num_clients
    sure = num_clients - len(federation.abstainers.training)
    if not 1 <= quorum <= sure:
        without = f" - {num_clients - sure} that may abstain" * (sure < num_clients)
        raise StrategyError(f"quorum: expected 1 to num-clients{without} = {sure}, found {quorum}")
    if isinstance(strategy, ServerRule):
        _require_feasible_rule(strategy, federation)
    else:
        _require_feasible_strategy(strategy, federation)


def _require_feasible_rule(rule: ServerRule, federation: Federation) -> None:
    try:
        rule.require_feasible(federation.quorum, federation.tolerated_adversaries)
    except ValueError as error:
        raise StrategyError(f"strategy {type(rule).__name__}: {error}") from error


def _require_feasible_strategy(strategy: Strategy, federation: Federation) -> None:
    name = type(strategy).__name__
    quorum, num_clients, abstainers = federation.quorum, federation.num_clients, federation.abstainers
    if isinstance(strategy, FedXgbBagging | FedXgbCyclic):
        raise StrategyError(f"strategy {name}: expected one for neural networks, found one that merges XGBoost trees")
    _require_enough_replies(name, strategy, quorum)
    _require_enough_trainers(name, strategy, quorum, num_clients, len(abstainers.training))
    _require_evaluators(name, strategy, num_clients, len(abstainers.evaluation))
    _require_known_keys(name, strategy)
    _require_accountable(name, strategy, quorum, num_clients)
    for wrapped in wrapped_strategies(strategy):
        _require_feasible_strategy(wrapped, federation)


def _require_enough_replies(name: str, strategy: Strategy, quorum: int) -> None:
    if isinstance(strategy, MultiKrum | Bulyan):
        tolerated = strategy.num_malicious_nodes
        if tolerated < 0:
            raise StrategyError(f"strategy {name}: num_malicious_nodes: expected 0 or above, found {tolerated}")
        factor, rule = (4, "4f + 3") if isinstance(strategy, Bulyan) else (2, "2f + 3")
        if quorum < factor * tolerated + 3:
            raise StrategyError(
                f"strategy {name}: expected a quorum of at least {rule} = {factor * tolerated + 3} for "
                f"num_malicious_nodes = {tolerated}, found {quorum}"
            )
    if isinstance(strategy, MultiKrum) and not 1 <= strategy.num_nodes_to_select <= quorum:
        raise StrategyError(
            f"strategy {name}: num_nodes_to_select: expected 1 to the quorum = {quorum}, "
            f"found {strategy.num_nodes_to_select}"
        )


def _require_enough_trainers(name: str, strategy: Strategy, quorum: int, num_clients: int, abstaining: int) -> None:
    """Check the sampling of FedAvg and of any strategy with the same attributes."""
    _require_at_most(name, strategy, ("min_train_nodes", "min_evaluate_nodes", "min_available_nodes"), num_clients)
    if (fraction := _fraction(name, strategy, "fraction_train")) is None:
        return
    selected = max(int(num_clients * fraction), getattr(strategy, "min_train_nodes", 0)) if fraction else 0
    if selected - abstaining < quorum:
        abstention = f", of whom {abstaining} may abstain" * (abstaining > 0)
        raise StrategyError(
            f"strategy {name}: expected it to select enough of {num_clients} clients{abstention}, for a quorum of "
            f"{quorum}, found {selected} (fraction_train = {fraction})"
        )


def _require_evaluators(name: str, strategy: Strategy, num_clients: int, abstaining: int) -> None:
    """Check that a strategy that selects some clients to evaluate can select enough, and at least one."""
    fraction = _fraction(name, strategy, "fraction_evaluate")
    if not fraction or fraction == 1:
        return
    evaluators = num_clients - abstaining
    _require_at_most(name, strategy, ("min_evaluate_nodes", "min_available_nodes"), evaluators, "clients that evaluate")
    if max(int(evaluators * fraction), getattr(strategy, "min_evaluate_nodes", 0)) < 1:
        raise StrategyError(
            f"strategy {name}: expected it to select at least one of {evaluators} clients that evaluate, found none "
            f"(fraction_evaluate = {fraction})"
        )


def _require_at_most(
    name: str, strategy: Strategy, keys: tuple[str, ...], most: int, of_what: str = "num-clients"
) -> None:
    for key in keys:
        if getattr(strategy, key, 0) > most:
            raise StrategyError(
                f"strategy {name}: {key}: expected at most {of_what} = {most} (it would wait forever), "
                f"found {getattr(strategy, key)}"
            )


def _fraction(name: str, strategy: Strategy, key: str) -> float | None:
    """Return a fraction of the clients; None for a strategy without this attribute."""
    fraction: float | None = getattr(strategy, key, None)
    if fraction is not None and not 0 <= fraction <= 1:
        raise StrategyError(f"strategy {name}: {key}: expected 0 to 1, found {fraction}")
    return fraction


def _require_known_keys(name: str, strategy: Strategy) -> None:
    for key, expected in (
        ("arrayrecord_key", messages.ARRAYS),
        ("configrecord_key", messages.CONFIG),
        ("weighted_by_key", messages.NUM_EXAMPLES),
    ):
        if (found := getattr(strategy, key, expected)) != expected:
            raise StrategyError(
                f"strategy {name}: {key}: expected {expected!r}, as in the messages of clients, found {found!r}"
            )


def _require_accountable(name: str, strategy: Strategy, quorum: int, num_clients: int) -> None:
    """Check the number of clients on which Flower bases noise; its accountant needs all clients to count."""
    if getattr(strategy, "num_sampled_clients", 0) > num_clients:
        raise StrategyError(
            f"strategy {name}: num_sampled_clients: expected at most num-clients = {num_clients}, "
            f"found {getattr(strategy, 'num_sampled_clients', 0)}"
        )
    if getattr(strategy, "accountant", None) is None:
        return
    sampled = getattr(strategy, "num_sampled_clients", None)
    if not sampled == quorum == num_clients:
        raise StrategyError(
            f"strategy {name}: with an accountant, expected num_sampled_clients, quorum and num-clients to be equal, "
            f"found {sampled}, {quorum} and {num_clients}"
        )


def require_float_arrays(arrays: ArrayRecord) -> None:
    """Check that the global arrays are floats: averaging would turn integers into float64.

    Raises
    ------
    StrategyError
        Names the first array that is not, or says that there is none.
    """
    if not arrays:
        raise StrategyError("initial arrays: expected at least one, found none")
    for name, array in arrays.items():
        if not array.dtype.startswith("float"):
            raise StrategyError(f"initial array {name!r}: expected floats, found {array.dtype}")


def selects_evaluators(strategy: Strategy | ServerRule) -> bool:
    """Return whether a strategy, or one that it wraps, asks only some of the clients to evaluate."""
    fraction = getattr(strategy, "fraction_evaluate", None)
    return (fraction is not None and 0 < fraction < 1) or any(map(selects_evaluators, wrapped_strategies(strategy)))


def evaluates_nobody(strategy: Strategy | ServerRule) -> bool:
    """Return whether a strategy, or one that it wraps, asks no client to evaluate."""
    return getattr(strategy, "fraction_evaluate", None) == 0 or any(map(evaluates_nobody, wrapped_strategies(strategy)))
