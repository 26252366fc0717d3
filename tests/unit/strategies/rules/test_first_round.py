"""A federation that starts from an earlier model continues the count of rounds in everything that knows rounds."""

from typing import Any

import pytest
from flwr.app import ConfigRecord, Message
from unit.strategies.in_memory_grid import Latencies, federate, honest_client
from unit.strategies.test_resume import through_a_file

from fedmeta_flwr.protocol import messages
from strategies import make_strategy


def test_rounds_phases_and_evaluations_go_by_the_true_round() -> None:
    asked: list[int] = []

    def is_evaluated(server_round: int) -> bool:
        asked.append(server_round)
        return server_round == 12

    run = federate(
        Latencies([[0, 1, 2, 3]]),
        3,
        first_round=11,
        phase=lambda server_round: f"phase {server_round}",
        is_evaluated=is_evaluated,
    )
    assert [record.server_round for record in run.records] == [11, 12, 13]
    assert [record.phase for record in run.records] == ["phase 11", "phase 12", "phase 13"]
    assert [record.evaluation is not None for record in run.records] == [False, True, False]
    assert set(asked) == {11, 12, 13}
    assert [arrival.sent_in_round for arrival in run.records[0].arrivals] == [11, 11, 11]


@pytest.mark.parametrize("name", ["fedadam", "fedyogi", "fedadagrad", "fedavgm", "dp-server-fixed-clipping"])
def test_what_a_strategy_keeps_from_round_to_round_begins_with_its_first_round(name: str) -> None:
    """FedAdam corrects the bias of moments that begin at 0 by the number of rounds: 1 in round 82 as in round 1."""
    options = '{"server_momentum": 0.9}' if name == "fedavgm" else '{"noise_multiplier": 0}' * name.startswith("dp")

    def models(rounds: int, **settings: Any) -> list[list[bytes]]:
        run = federate(Latencies([[0, 1, 2, 3]]), rounds, inner=make_strategy(name, options, 3, 4), **settings)
        return [[array.tobytes() for array in arrays.values()] for arrays in run.arrays]

    from_the_start = models(4)
    states: list[Any] = []
    later = models(4, first_round=82, on_checkpoint=lambda _, state: states.append(through_a_file(state)))
    assert later == from_the_start
    assert models(2, first_round=82, state=states[1]) == from_the_start[2:]


def test_clients_are_told_the_rounds_of_the_federation() -> None:
    told: list[ConfigRecord] = []

    def client(partition: int, message: Message) -> Message:
        told.extend(message.content.config_records.values())
        return honest_client(partition, message)

    federate(Latencies([[0, 1, 2, 2]]), 2, client, first_round=82, quorum=4, is_evaluated=lambda _: True)
    assert [config[messages.SERVER_ROUND] for config in told] == [82] * 8 + [83] * 8
