"""The loop of rounds does for its callers what Flower's loop does, if every client's update counts."""

import logging
import re
from collections.abc import Iterable
from typing import Any

import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import DifferentialPrivacyClientSideFixedClipping, FedAvg, Result, Strategy
from unit.strategies.in_memory_grid import GLOBAL, InMemoryGrid, Latencies, federate, honest_client

from fedmeta_flwr.protocol import messages
from strategies import Federation, FirstArrivals, StrategyError
from strategies.transport.grid import ArrivalGrid, TransportSettings

IN_ORDER = Latencies([[0, 1, 2, 3]])
ROUNDS = 2


class PlainGrid(InMemoryGrid):
    """Wait for all replies, as Flower's Grid does, and return them in the order of partitions."""

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        replies = list(self.pull_messages(list(self.push_messages(messages))))
        return sorted(replies, key=lambda reply: self.partitions[reply.metadata.src_node_id])

    def get_node_ids(self) -> Iterable[int]:
        return list(self.partitions)


class Noting(FedAvg):
    """Take note of every call."""

    def __init__(self) -> None:
        super().__init__(min_train_nodes=4, min_evaluate_nodes=4, min_available_nodes=4)
        self.calls: list[tuple[str, int]] = []

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.calls.append(("configure_train", server_round))
        return super().configure_train(server_round, arrays, config, grid)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        self.calls.append(("aggregate_train", server_round))
        return super().aggregate_train(server_round, replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        self.calls.append(("configure_evaluate", server_round))
        return super().configure_evaluate(server_round, arrays, config, grid)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        self.calls.append(("aggregate_evaluate", server_round))
        return super().aggregate_evaluate(server_round, replies)


def started(ours: bool) -> tuple[Result, list[tuple[str, int]], list[Any]]:
    """Run the same federation by our loop or Flower's; return the result, the calls, and the clients' instructions."""
    strategy, told = Noting(), []

    def client(partition: int, message: Message) -> Message:
        if message.metadata.message_type != MessageType.QUERY:
            config = messages.message_config(message)
            told.append((message.metadata.message_type, partition, config["server-round"], config.get("mine")))
        return honest_client(partition, message)

    def evaluate_fn(server_round: int, arrays: ArrayRecord) -> MetricRecord | None:
        strategy.calls.append(("evaluate_fn", server_round))
        return MetricRecord({"bias": float(arrays["bias"].numpy()[0])}) if server_round != 1 else None

    federation = Federation(num_clients=4, quorum=4, weighting="num-examples")
    runner = FirstArrivals(strategy, federation, arrivals=IN_ORDER) if ours else strategy
    result = runner.start(
        PlainGrid(client),
        messages.to_record(GLOBAL),
        num_rounds=ROUNDS,
        train_config=ConfigRecord({"mine": 1}),
        evaluate_config=ConfigRecord({"mine": 2}),
        evaluate_fn=evaluate_fn,
    )
    return result, strategy.calls, sorted(told)


@pytest.mark.usefixtures("task_identity")
def test_calls_results_and_what_clients_are_told_are_those_of_flowers_loop() -> None:
    (ours, our_calls, our_told), (flowers, flower_calls, flower_told) = started(True), started(False)
    assert our_calls == flower_calls
    assert our_told == flower_told
    assert messages.from_record(ours.arrays).keys() == messages.from_record(flowers.arrays).keys()
    for name, array in messages.from_record(ours.arrays).items():
        assert array.tobytes() == flowers.arrays[name].numpy().tobytes()
    for metrics in ("train_metrics_clientapp", "evaluate_metrics_clientapp", "evaluate_metrics_serverapp"):
        assert getattr(ours, metrics) == getattr(flowers, metrics)
    assert sorted(ours.evaluate_metrics_serverapp) == [0, 2]


@pytest.mark.usefixtures("task_identity")
def test_the_log_has_all_that_flowers_loop_logs(caplog: pytest.LogCaptureFixture) -> None:
    def lines(ours: bool) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.INFO):
            started(ours)
        return [re.sub(r"in [0-9.]+s", "", record.getMessage()) for record in caplog.records if record.name == "flwr"]

    logging.getLogger("flwr").addHandler(caplog.handler)  # Flower's logger does not propagate
    try:
        ours, flowers = lines(True), lines(False)
    finally:
        logging.getLogger("flwr").removeHandler(caplog.handler)
    assert [line.replace("FirstArrivals", "Noting") for line in ours] == flowers
    assert len(flowers) > 20


class Asking(FedAvg):
    """Ask all nodes something by the Grid, before it selects."""

    def __init__(self, kind: str, timeout: float | None) -> None:
        super().__init__(min_train_nodes=4, min_available_nodes=4)
        self.kind, self.timeout, self.answers = kind, timeout, [0]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        questions = list(super().configure_train(server_round, arrays, config, grid))
        for question in questions:
            question.metadata.message_type = self.kind
        replies = list(grid.send_and_receive(questions, timeout=self.timeout))
        self.answers.append(len(replies))
        return super().configure_train(server_round, arrays, config, grid)


@pytest.mark.parametrize("kind", [MessageType.QUERY, MessageType.TRAIN])
def test_a_strategy_that_asks_by_the_grid_gets_all_replies_and_no_round_knows_of_them(kind: str) -> None:
    strategy = Asking(kind, timeout=None)
    run = federate(IN_ORDER, ROUNDS, inner=strategy)
    assert strategy.answers == [0, 4, 4]
    plain = federate(IN_ORDER, ROUNDS)
    assert run.arrived() == plain.arrived()
    assert run.dropped() == plain.dropped()
    assert run.arrays[-1]["bias"].tobytes() == plain.arrays[-1]["bias"].tobytes()
    assert run.grid.overrun == []


def test_a_node_that_does_not_answer_a_strategy_in_time_is_not_asked_before_it_has() -> None:
    inner = InMemoryGrid(honest_client, delay=lambda partition, _: None if partition == 0 else 0)
    grid = ArrivalGrid(inner, TransportSettings(poll_seconds=0.0))
    grid.roster = dict(inner.partitions)
    record = RecordDict({"arrays": messages.to_record(GLOBAL)})
    asked = [Message(record, node, MessageType.TRAIN) for node in (*inner.partitions, 12345)]
    assert len(list(grid.send_and_receive(asked, timeout=0.05))) == 3
    again = [Message(record, node, MessageType.TRAIN) for node in inner.partitions]
    assert len(list(grid.send_and_receive(again, timeout=0.05))) == 3
    assert inner.overrun == []


def test_it_is_a_strategy_of_flower_that_goes_around_others_and_not_into_them() -> None:
    strategy = FirstArrivals(FedAvg(), Federation(num_clients=4, quorum=3))
    assert isinstance(strategy, Strategy)
    wrapping = DifferentialPrivacyClientSideFixedClipping(
        strategy, noise_multiplier=0.1, clipping_norm=1.0, num_sampled_clients=3
    )
    with pytest.raises(StrategyError, match="FirstArrivals: expected rounds of its own `start`"):
        wrapping.start(InMemoryGrid(honest_client), messages.to_record(GLOBAL), num_rounds=1)
