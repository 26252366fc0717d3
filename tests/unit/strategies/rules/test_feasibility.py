from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.serverapp import SamplingMethod
from flwr.serverapp.strategy import (
    Bulyan,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedXgbBagging,
    FedXgbCyclic,
    Krum,
    MultiKrum,
    Strategy,
)

from fedmeta_flwr.protocol import messages
from strategies import STRATEGY_NAMES, Abstainers, Federation, StrategyError, make_strategy
from strategies.rules.feasibility import require_feasible, require_float_arrays


class Around(FedAvg):
    """Wraps a strategy, in an attribute with an unusual name."""

    def __init__(self, inner: Strategy) -> None:
        super().__init__()
        self.inner = inner


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_every_strategy_is_feasible_with_its_defaults(name: str) -> None:
    require_feasible(make_strategy(name, "", 3, 4), Federation(num_clients=4, quorum=3))


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (Bulyan(num_malicious_nodes=1), r"Bulyan: expected a quorum of at least 4f \+ 3 = 7 .*found 3"),
        (Krum(num_malicious_nodes=1), r"Krum: expected a quorum of at least 2f \+ 3 = 5"),
        (MultiKrum(num_malicious_nodes=-1), "num_malicious_nodes: expected 0 or above, found -1"),
        (MultiKrum(num_nodes_to_select=4), "num_nodes_to_select: expected 1 to the quorum = 3, found 4"),
        (MultiKrum(num_nodes_to_select=0), "num_nodes_to_select"),
        (FedXgbBagging(), "XGBoost"),
        (FedXgbCyclic(), "XGBoost"),
        (FedAvg(min_train_nodes=5), "min_train_nodes: expected at most num-clients = 4 .*found 5"),
        (FedAvg(min_evaluate_nodes=5), "min_evaluate_nodes"),
        (FedAvg(min_available_nodes=5), "min_available_nodes"),
        (FedAvg(fraction_train=0.5), r"select enough of 4 clients, for a quorum of 3, found 2"),
        (FedAvg(fraction_train=0.0), "found 0"),
        (FedAvg(fraction_train=1.5), "fraction_train: expected 0 to 1, found 1.5"),
        (FedAvg(fraction_train=float("nan")), "fraction_train: expected 0 to 1, found nan"),
        (FedAvg(fraction_evaluate=1.25), "fraction_evaluate: expected 0 to 1, found 1.25"),
        (FedAvg(fraction_evaluate=-1), "fraction_evaluate: expected 0 to 1, found -1"),
        (FedAvg(fraction_evaluate=0.2, min_evaluate_nodes=0), "at least one of 4 clients that evaluate, found none"),
        (Around(FedAvg(fraction_evaluate=7)), "FedAvg: fraction_evaluate"),
        (FedAvg(arrayrecord_key="model"), "arrayrecord_key: expected 'arrays', .*found 'model'"),
        (FedAvg(configrecord_key="settings"), "configrecord_key"),
        (FedAvg(weighted_by_key="train-loss"), "weighted_by_key: expected 'num-examples', .*found 'train-loss'"),
        (DifferentialPrivacyServerSideFixedClipping(Bulyan(num_malicious_nodes=1), 0.1, 1.0, 3), "Bulyan"),
    ],
)
def test_a_combination_that_can_never_aggregate_is_refused_with_the_reason(strategy: Strategy, reason: str) -> None:
    with pytest.raises(StrategyError, match=reason):
        require_feasible(strategy, Federation(num_clients=4, quorum=3))


ONE = Abstainers(training=frozenset({0}), evaluation=frozenset({0}))


@pytest.mark.parametrize(
    ("strategy", "reason"),
    [
        (FedAvg(fraction_train=0.75), "of 4 clients, of whom 1 may abstain, for a quorum of 3, found 3"),
        (FedAvg(fraction_train=0.1, min_train_nodes=3), "of whom 1 may abstain, .*found 3"),
        (Around(FedAvg(fraction_train=0.75)), "FedAvg: .*of whom 1 may abstain"),
        (DifferentialPrivacyServerSideFixedClipping(FedAvg(fraction_train=0.75), 0.1, 1.0, 3), "of whom 1 may abstain"),
        (FedAvg(fraction_evaluate=0.5, min_available_nodes=4), "min_available_nodes: .*clients that evaluate = 3"),
        (FedAvg(fraction_evaluate=0.5, min_evaluate_nodes=4), "min_evaluate_nodes: .*clients that evaluate = 3"),
        (FedAvg(fraction_evaluate=0.25, min_evaluate_nodes=0), "at least one of 3 clients that evaluate, found none"),
    ],
)
def test_clients_that_may_abstain_are_not_counted_on(strategy: Strategy, reason: str) -> None:
    require_feasible(strategy, Federation(num_clients=4, quorum=3))
    with pytest.raises(StrategyError, match=reason):
        require_feasible(strategy, Federation(num_clients=4, quorum=3, abstainers=ONE))


def test_who_asks_enough_beside_those_that_may_abstain_is_admitted() -> None:
    for strategy in (FedAvg(), FedAvg(min_available_nodes=4, min_evaluate_nodes=4), FedAvg(fraction_evaluate=0.5)):
        require_feasible(strategy, Federation(num_clients=4, quorum=3, abstainers=ONE))
    require_feasible(FedAvg(fraction_train=0.75), Federation(num_clients=4, quorum=2, abstainers=ONE))
    with pytest.raises(StrategyError, match="expected 1 to num-clients - 1 that may abstain = 3, found 4"):
        require_feasible(FedAvg(), Federation(num_clients=4, quorum=4, abstainers=ONE))


@pytest.mark.parametrize(("strategy", "quorum"), [(Bulyan(num_malicious_nodes=1), 7), (Krum(num_malicious_nodes=1), 5)])
def test_the_published_conditions_are_enough(strategy: Strategy, quorum: int) -> None:
    require_feasible(strategy, Federation(num_clients=8 if quorum == 7 else 5, quorum=quorum))


@pytest.mark.parametrize("quorum", [0, 5])
def test_a_quorum_beyond_the_clients_is_refused(quorum: int) -> None:
    with pytest.raises(StrategyError, match="expected 1 to num-clients = 4"):
        require_feasible(FedAvg(), Federation(num_clients=4, quorum=quorum))


def test_privacy_accounting_is_refused_where_not_all_clients_are_aggregated() -> None:
    accountant: Any = SimpleNamespace(config=SimpleNamespace(sampling_method=SamplingMethod.NO_AMPLIFICATION))
    strategy = DifferentialPrivacyServerSideFixedClipping(FedAvg(min_train_nodes=4), 1.0, 1.0, 4, accountant=accountant)
    with pytest.raises(StrategyError, match="accountant"):
        require_feasible(strategy, Federation(num_clients=4, quorum=3))
    require_feasible(strategy, Federation(num_clients=4, quorum=4))


def test_global_arrays_must_be_floats() -> None:
    require_float_arrays(messages.to_record({"x": np.zeros(2, np.float32)}))
    with pytest.raises(StrategyError, match="'steps': expected floats, found int64"):
        require_float_arrays(messages.to_record({"x": np.zeros(2), "steps": np.zeros((), np.int64)}))
    with pytest.raises(StrategyError, match="at least one"):
        require_float_arrays(messages.to_record({}))
