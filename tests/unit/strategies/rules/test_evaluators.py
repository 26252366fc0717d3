"""Who is asked to evaluate."""

from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import Message, MessageType
from flwr.serverapp.strategy import FedAvg
from unit.strategies.in_memory_grid import Latencies, Run, federate, honest_client

from fedmeta_flwr.protocol import messages
from strategies import Abstainers, StrategyError, make_strategy

ADVERSARY_ABSTAINS = Abstainers(evaluation=frozenset({0}))


def client(partition: int, message: Message) -> Message:
    if partition == 0 and message.metadata.message_type == MessageType.EVALUATE:
        return messages.abstention(message)
    return honest_client(partition, message)


def evaluated(name: str, options: str, num_clients: int = 4, **settings: Any) -> Run:
    defaults: dict[str, Any] = {"abstainers": ADVERSARY_ABSTAINS, "is_evaluated": lambda number: number != 2}
    inner = make_strategy(name, options, 3, num_clients)
    latencies = Latencies([list(range(num_clients))])
    return federate(latencies, 5, client, inner=inner, num_clients=num_clients, **{**defaults, **settings})


def evaluators(run: Run) -> list[list[int]]:
    return [[one.partition_id for one in record.evaluation] for record in run.records if record.evaluation]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("fedavg", '{"fraction_evaluate": 0.25}'),
        ("dp-server-fixed-clipping", '{"strategy_options": {"fraction_evaluate": 0.25}}'),
    ],
)
def test_a_share_of_the_clients_is_the_same_benign_ones_in_every_evaluation_and_never_nobody(
    name: str, options: str
) -> None:
    chosen = set()
    for seed in range(12):
        found = evaluators(evaluated(name, options, seed=seed))
        assert len(found) == 4
        assert all(partitions == found[0] for partitions in found)
        assert len(found[0]) == 1
        chosen |= set(found[0])
    assert chosen == {1, 2, 3}


def test_a_share_is_one_of_the_clients_that_evaluate() -> None:
    found = evaluators(evaluated("fedavg", '{"fraction_evaluate": 0.6}', num_clients=6))
    assert {len(partitions) for partitions in found} == {3}
    assert 0 not in found[0]


@pytest.mark.parametrize("options", ["", '{"fraction_evaluate": 1.0}', '{"min_available_nodes": 4}'])
def test_where_all_evaluate_all_are_asked(options: str) -> None:
    run = evaluated("fedavg", options)
    assert evaluators(run) == [[1, 2, 3]] * 4
    assert {p for p, kind, _ in run.grid.sent if kind == MessageType.EVALUATE} == {0, 1, 2, 3}


def test_a_resumed_run_asks_the_same_clients() -> None:
    states: list[Any] = []
    options = '{"fraction_evaluate": 0.25}'
    whole = evaluated("fedavg", options, on_checkpoint=lambda _, state: states.append(state))
    assert evaluators(evaluated("fedavg", options, state=states[2]))[0] == evaluators(whole)[0]


def test_a_strategy_that_asks_an_unknown_node_is_refused() -> None:
    class AsksAStranger(FedAvg):
        def configure_evaluate(self, *arguments: Any) -> Iterable[Message]:
            asked = list(super().configure_evaluate(*arguments))
            asked[0].metadata.dst_node_id = 12345
            return asked

    with pytest.raises(StrategyError, match="round 1: strategy AsksAStranger: expected nodes of the federation, found"):
        federate(Latencies([[0, 1, 2, 3]]), inner=AsksAStranger(), is_evaluated=lambda _: True)


def test_a_strategy_that_asks_nobody_but_those_that_never_evaluate_is_refused_in_its_round() -> None:
    class AsksTheFirst(FedAvg):
        def configure_evaluate(self, *arguments: Any) -> Iterable[Message]:
            return list(super().configure_evaluate(*arguments))[:1]

    with pytest.raises(StrategyError, match=r"round 1: strategy AsksTheFirst: .*found \[\d\], which never do"):
        federate(
            Latencies([[0, 1, 2, 3]]),
            inner=AsksTheFirst(),
            is_evaluated=lambda _: True,
            abstainers=Abstainers(evaluation=frozenset(range(4))),
        )
