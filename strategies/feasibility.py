"""Strategies that can never aggregate a quorum are refused before the first message, with the reason.

Flower itself waits forever for nodes that do not exist, or skips the aggregation round after round.
"""

from flwr.app import ArrayRecord
from flwr.serverapp.strategy import Bulyan, FedXgbBagging, FedXgbCyclic, MultiKrum, Strategy

from fedmeta_flwr import messages
from strategies.errors import StrategyError


def require_feasible(strategy: Strategy, quorum: int, num_clients: int) -> None:
    """Check that a strategy can aggregate `quorum` updates of `num_clients` clients.

    Parameters
    ----------
    strategy : Strategy
        Any; what it wraps (as ``strategy``, like Flower's differential-privacy wrappers) is checked as well.
    quorum : int
        Updates that it will be given each round.
    num_clients : int
        Nodes of the federation.

    Raises
    ------
    StrategyError
        Naming the strategy, what it expects, and what it would find.

    Notes
    -----
    Krum and MultiKrum score an update by its n - f - 2 nearest ones, and tolerate f attackers among n updates if
    2f + 2 < n (Blanchard et al. 2017, proposition 4.2). Flower computes a score with fewer, too, from one nearest
    neighbour; that is refused here. Bulyan needs n >= 4f + 3 (El Mhamdi et al. 2018).
    """
    name = type(strategy).__name__
    if not 1 <= quorum <= num_clients:
        raise StrategyError(f"quorum: expected 1 to num-clients = {num_clients}, found {quorum}")
    if isinstance(strategy, FedXgbBagging | FedXgbCyclic):
        raise StrategyError(f"strategy {name}: expected one for neural networks, found one that merges XGBoost trees")
    _require_enough_replies(name, strategy, quorum)
    _require_enough_nodes(name, strategy, quorum, num_clients)
    _require_known_keys(name, strategy)
    _require_accountable(name, strategy, quorum, num_clients)
    wrapped = getattr(strategy, "strategy", None)
    if isinstance(wrapped, Strategy):
        require_feasible(wrapped, quorum, num_clients)


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


def _require_enough_nodes(name: str, strategy: Strategy, quorum: int, num_clients: int) -> None:
    """Check the sampling of FedAvg and whatever else has its attributes."""
    for key in ("min_train_nodes", "min_evaluate_nodes", "min_available_nodes"):
        if getattr(strategy, key, 0) > num_clients:
            raise StrategyError(
                f"strategy {name}: {key}: expected at most num-clients = {num_clients} (it would wait forever), "
                f"found {getattr(strategy, key)}"
            )
    if (fraction := getattr(strategy, "fraction_train", None)) is not None:
        selected = max(int(num_clients * fraction), getattr(strategy, "min_train_nodes", 0)) if fraction else 0
        if not quorum <= selected <= num_clients:
            raise StrategyError(
                f"strategy {name}: expected it to select at least the quorum = {quorum} of {num_clients} clients, "
                f"found {selected} (fraction_train = {fraction})"
            )


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
    """Flower accounts for privacy only where every client that was asked is aggregated."""
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
        Naming the first array that is not, or telling that there is none.
    """
    if not arrays:
        raise StrategyError("initial arrays: expected at least one, found none")
    for name, array in arrays.items():
        if not array.dtype.startswith("float"):
            raise StrategyError(f"initial array {name!r}: expected floats, found {array.dtype}")
