import re

import pytest
from flwr.serverapp.strategy import (
    FedAdam,
    FedAvg,
    FedMedian,
    FedTrimmedAvg,
    QFedAvg,
)
from unit.strategies.custom_strategies import Strengthened

from fedmeta_flwr.config.registry import RegistryError
from strategies import ServerSideFixedClipping, StrategyError, make_strategy

CUSTOM = "unit.strategies.custom_strategies"


def test_a_strategy_is_built_by_name_with_its_options_and_asks_all_clients() -> None:
    strategy = make_strategy("fedadam", '{"eta": 1, "tau": 0.5}', quorum=3, num_clients=4)
    assert isinstance(strategy, FedAdam)
    assert (strategy.eta, strategy.tau) == (1, 0.5)
    assert (strategy.min_train_nodes, strategy.min_evaluate_nodes, strategy.min_available_nodes) == (4, 4, 4)


def test_a_fraction_is_not_overruled_by_the_minimum_of_nodes() -> None:
    strategy = make_strategy("fedavg", '{"fraction_train": 0.5, "fraction_evaluate": 0.25}', quorum=3, num_clients=8)
    assert isinstance(strategy, FedAvg)
    assert (strategy.min_train_nodes, strategy.min_evaluate_nodes) == (3, 1)


def test_qfedavg_reads_the_loss_that_clients_report() -> None:
    strategy = make_strategy("qfedavg", "", 3, 4)
    assert isinstance(strategy, QFedAvg)
    assert strategy.train_loss_key == "train-loss"


@pytest.mark.parametrize("quorum", range(3, 40))
def test_a_trimmed_mean_trims_and_leaves_something(quorum: int) -> None:
    strategy = make_strategy("fedtrimmedavg", "", quorum, quorum)
    assert isinstance(strategy, FedTrimmedAvg)
    assert 1 <= int(strategy.beta * quorum) < quorum / 2


def test_a_private_strategy_wraps_another() -> None:
    options = '{"noise_multiplier": 0.5, "strategy": "fedmedian", "strategy_options": {"weighted_by_key": "w"}}'
    strategy = make_strategy("dp-server-fixed-clipping", options, quorum=3, num_clients=4)
    assert isinstance(strategy, ServerSideFixedClipping)
    assert (strategy.noise_multiplier, strategy.clipping_norm, strategy.num_sampled_clients) == (0.5, 1.0, 3)
    assert isinstance(strategy.strategy, FedMedian)
    assert strategy.strategy.weighted_by_key == "w"


def test_a_custom_strategy_is_imported() -> None:
    strategy = make_strategy(f"{CUSTOM}:Strengthened", '{"strength": 2.5}', 3, 4)
    assert isinstance(strategy, Strengthened)
    assert strategy.strength == 2.5


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("fedawg", "", "strategy: expected one of fedavg, .*, found 'fedawg'"),
        ("fedxgbbagging", "", "strategy: expected one of fedavg, .*, found 'fedxgbbagging'"),
        ("fedavg", "{", "strategy-options: expected a JSON object, found '{'"),
        ("fedavg", "[1]", "strategy-options: expected a JSON object, found '[1]'"),
        ("fedadam", '{"etaa": 1}', "strategy-options: expected options of fedadam (fraction_train, "),
        ("fedadam", '{"eta": "1"}', "strategy-options: fedadam: eta: expected float, found '1'"),
        ("krum", '{"num_malicious_nodes": true}', "strategy-options: krum: num_malicious_nodes: expected int"),
        (
            "fedtrimmedavg",
            '{"beta": 0.5}',
            "fedtrimmedavg: beta: expected 0 or above and below 0.5, found 0.5",
        ),
        ("fedavg", '{"fraction_train": ' + "1" * 5000 + "}", "strategy-options: expected a JSON object, .*..."),
        ("fedavg", "[" * 100_000, "strategy-options: expected a JSON object, .*..."),
        ("fedavg", '{"train_metrics_aggr_fn": "max"}', "train_metrics_aggr_fn: expected null, .*found 'max'"),
        ("dp-server-fixed-clipping", '{"accountant": {}}', "accountant: expected null, .*found {}"),
        ("dp-server-fixed-clipping", '{"strategy": "dp-client-fixed-clipping"}', "expected one that does not clip"),
        ("fedtrimmedavg", '{"beta": 0.3}', "beta: expected 0, or at least 0.334 .*found 0.3"),
        ("dp-client-adaptive-clipping", '{"noise_multiplier": 0.5}', "expected below 2 * clipped_count_stddev = 0.3"),
        (
            "dp-client-adaptive-clipping",
            '{"noise_multiplier": 0.5, "clipped_count_stddev": 0.2}',
            "noise_multiplier: expected below 2 * clipped_count_stddev = 0.4, found 0.5",
        ),
        (
            "dp-server-adaptive-clipping",
            '{"clipped_count_stddev": 3.5}',
            "at most the quorum = 3, .*found 3.5",
        ),
        ("dp-server-fixed-clipping", '{"strategy": 3}', "strategy-options: expected 'strategy' to be a name"),
        ("dp-server-fixed-clipping", '{"strategy": "fedawg"}', "strategy: expected one of"),
        (
            "no.such.module:Strengthened",
            "",
            "strategy: expected a module that can be imported, .*found 'no.such.module:Strengthened'",
        ),
        (":Strengthened", "", "strategy: expected one of fedavg, .*, or 'module:attribute', found ':Strengthened'"),
        (f"{CUSTOM}:Nothing", "", "strategy: expected an attribute of module .*, found none named 'Nothing'"),
        (f"{CUSTOM}:NOT_A_CLASS", "", "strategy: expected something to call, found .*NOT_A_CLASS', of type int"),
        ("unit.strategies.custom_strategies:FedAvg.__init__", "", "strategy: expected a subclass of flwr's Strategy"),
        (f"{CUSTOM}:Unfinished", "", "strategy: .*found none for aggregate_evaluate, aggregate_train"),
        (
            f"{CUSTOM}:Strengthened",
            '{"strength": -1}',
            "strategy-options: .*refuses {'strength': -1}: strength must be 0",
        ),
        (
            f"{CUSTOM}:Strengthened",
            '{"power": 1}',
            "strategy-options: expected options of .*:Strengthened (strength), found 'power'",
        ),
    ],
)
def test_a_problem_names_its_key_and_what_was_expected(name: str, options: str, message: str) -> None:
    with pytest.raises((StrategyError, RegistryError)) as raised:
        make_strategy(name, options, 3, 4)
    assert re.search(".*".join(map(re.escape, message.split(".*"))), str(raised.value))
