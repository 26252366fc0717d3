"""What must hold for every strategy that `FirstArrivals` may wrap."""

import numpy as np
import pytest
from flwr.app import ConfigRecord, Message
from flwr.serverapp.strategy import Bulyan, MultiKrum, QFedAvg, Strategy
from unit.strategies.in_memory_grid import GLOBAL, InMemoryGrid, Latencies, federate, honest_client

from fedmeta_flwr.config.registry import resolve
from fedmeta_flwr.protocol import messages
from fedmeta_flwr.records.entries import ClientEvaluation, Counts
from fedmeta_flwr.records.results import CURVES
from strategies import STRATEGY_NAMES, ServerRule, make_strategy
from strategies.global_random import seeded_global_random
from strategies.transport.grid import ArrivalGrid, TransportSettings

FLOWERS = [name for name in STRATEGY_NAMES if not issubclass(resolve("strategy", name), ServerRule)]  # type: ignore[arg-type]
OPTIONS = {"fedavgm": '{"server_momentum": 0.9}', "fedprox": '{"proximal_mu": 0.1}'}
# Round 1 ends at 2 s with 1 pending until 2.1 s, so that 1 is busy when round 2 begins, and free in round 3.
LATENCIES = Latencies([[0, 2.1, 1, 2], [0, 1, 2, 0.5], [3, 1, 0, 2]])
ARRIVED = [[0, 2, 3], [0, 3, 2], [2, 1, 3]]


def strategy_named(name: str) -> Strategy:
    strategy = make_strategy(name, OPTIONS.get(name, ""), quorum=3, num_clients=4)
    assert isinstance(strategy, Strategy)
    return strategy


def unwrapped_rounds(strategy: Strategy, arrived: list[list[int]]) -> list[messages.Arrays]:
    """Aggregate the same replies with the unwrapped strategy, in the order of partitions."""
    grid = InMemoryGrid(honest_client)
    view = ArrivalGrid(grid, TransportSettings(poll_seconds=0.0, messages_in_flight=32))
    arrays, outcome = GLOBAL, []
    for server_round, partitions in enumerate(arrived, start=1):
        with seeded_global_random(3, "select-for-training", server_round):
            instructions = list(
                strategy.configure_train(server_round, messages.to_record(arrays), ConfigRecord(), view)
            )
        grid.push_messages(instructions)
        by_partition = {grid.partitions[message.metadata.dst_node_id]: message for message in instructions}
        replies: list[Message] = [honest_client(partition, by_partition[partition]) for partition in sorted(partitions)]
        for reply in replies:
            messages.weigh_equally(reply)
            if isinstance(strategy, MultiKrum | Bulyan | QFedAvg):
                messages.set_arrays(reply, {k: a.astype(np.float64) for k, a in messages.message_arrays(reply).items()})
        with seeded_global_random(3, "aggregate", server_round):
            aggregated, _ = strategy.aggregate_train(server_round, replies)
        assert aggregated is not None
        arrays = {name: array.astype(np.float32) for name, array in messages.from_record(aggregated).items()}
        outcome.append(arrays)
    return outcome


@pytest.mark.parametrize("name", FLOWERS)
def test_first_arrivals_aggregate_as_the_unwrapped_strategy_does_on_the_same_replies(name: str) -> None:
    run = federate(LATENCIES, rounds=3, inner=strategy_named(name))
    assert [[partition for partition, _ in arrivals] for arrivals in run.arrived()] == ARRIVED
    assert run.dropped() == [{1: "straggler"}, {1: "busy"}, {0: "straggler"}]
    for found, expected in zip(run.arrays, unwrapped_rounds(strategy_named(name), ARRIVED), strict=True):
        assert list(found) == list(GLOBAL)
        for key, array in found.items():
            assert (array.dtype, array.shape) == (np.dtype(np.float32), GLOBAL[key].shape)
            assert array.tobytes() == expected[key].tobytes(), key


@pytest.mark.parametrize("name", FLOWERS)
def test_the_real_order_of_arrival_does_not_change_a_bit(name: str) -> None:
    outcomes = {
        tuple(
            array.tobytes()
            for array in federate(LATENCIES, 3, inner=strategy_named(name), delay=delay).arrays[-1].values()
        )
        for delay in (lambda *_: 0, lambda p, _: 3 * p, lambda p, _: 9 - 3 * p, lambda p, n: (5 * p + 7 * n) % 11)
    }
    assert len(outcomes) == 1


@pytest.mark.parametrize("name", FLOWERS)
def test_every_strategy_evaluates(name: str) -> None:
    run = federate(LATENCIES, 1, inner=strategy_named(name), is_evaluated=lambda _: True)
    assert run.records[0].evaluation == [
        ClientEvaluation(p, {curve: Counts([p, 1], [5, 5]) for curve in CURVES}) for p in range(4)
    ]
    # The mean over the four clients, each weighed 1: hits (0+1+2+3)/4 and 1.
    assert run.result.evaluate_metrics_clientapp[1]["meta-testing-hits"] == [1.5, 1.0]
