"""What clients and strategies are told, what they may do wrong, and what happens then."""

import random
import re
import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Error, Message, MessageType, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from unit.strategies.in_memory_grid import (
    GLOBAL,
    InMemoryGrid,
    Latencies,
    federate,
    honest_client,
    local_arrays,
)

from fedmeta_flwr.protocol import messages
from strategies import QuorumError, RegistrationError, StrategyError, WallClock, make_strategy
from strategies.errors import DeliveryError
from strategies.transport.grid import ArrivalGrid, TransportSettings
from strategies.transport.replies import failure_reason

IN_ORDER = Latencies([[0, 1, 2, 3]])


def spoiled(change: Any) -> Any:
    def client(partition: int, message: Message) -> Message:
        reply = honest_client(partition, message)
        if partition == 1 and message.metadata.message_type == MessageType.TRAIN:
            change(reply.content)
        return reply

    return client


def _set(name: str, values: np.ndarray) -> Any:
    def change(content: RecordDict) -> None:
        content.array_records["arrays"][name] = Array(values)

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("bias", np.zeros(3, np.float32)), r"'bias': expected float32 of shape \(2,\)"),
        (_set("bias", np.zeros(2)), "expected float32"),
        (_set("bias", np.array([np.nan, 0], np.float32)), "finite"),
        (_set("extra", np.zeros(2, np.float32)), "expected the 3 arrays"),
        (lambda content: content.pop("arrays"), "array records: expected"),
        (lambda content: content["metrics"].update({"num-examples": -5}), "above 0"),
        (lambda content: content["metrics"].update({"train-loss": float("inf")}), "train-loss: expected finite"),
        (lambda content: content["metrics"].pop("num-examples"), "num-examples: expected a number"),
    ],
)
def test_a_reply_of_another_form_falls_out_with_the_reason(change: Any, reason: str) -> None:
    run = federate(IN_ORDER, client=spoiled(change))
    assert run.arrived() == [[(0, 1), (2, 1), (3, 1)]]
    assert re.search(reason, run.dropped()[0][1])


def test_arrays_in_another_order_are_put_right() -> None:
    def reverse(content: RecordDict) -> None:
        record = content.array_records["arrays"]
        content["arrays"] = ArrayRecord({name: record[name] for name in reversed(list(record))})

    spoiled_run, straight = federate(IN_ORDER, client=spoiled(reverse)), federate(IN_ORDER)
    assert [a.tobytes() for a in spoiled_run.arrays[0].values()] == [a.tobytes() for a in straight.arrays[0].values()]


@pytest.mark.parametrize(
    ("partitions", "reason"),
    [
        ([0, 1, 2, 2], "once each"),
        ([0, 1, 2, 9], "0 to 3"),
        ([0, 1, 2], "registered in time"),
        ([0, 1, 2, 3, 4], "found 5"),
    ],
)
def test_a_registration_without_the_expected_partitions_is_refused(partitions: list[int], reason: str) -> None:
    grid = InMemoryGrid(lambda number, message: honest_client(partitions[number], message), len(partitions))
    with pytest.raises(RegistrationError, match=reason):
        federate(IN_ORDER, grid=grid, timeout=0.02)


def test_missing_nodes_are_not_waited_for_as_long_as_a_round() -> None:
    grid = InMemoryGrid(honest_client, 3)
    with pytest.raises(RegistrationError, match="num-supernodes=4"):
        federate(IN_ORDER, grid=grid, timeout=3600, registration_seconds=0.02)


class MutatingStrategy(FedAvg):
    """Builds its messages without the round, on one record that it changes while they are pending."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = ConfigRecord({"step": 0})

    def configure_train(self, _: int, arrays: ArrayRecord, __: ConfigRecord, grid: Grid) -> Iterable[Message]:
        self.shared["step"] = int(self.shared["step"]) + 1  # type: ignore[arg-type]
        record = RecordDict({"arrays": arrays, "config": self.shared})
        return [Message(record, node_id, MessageType.TRAIN) for node_id in grid.get_node_ids()]


def test_instructions_carry_the_round_and_a_separate_configuration() -> None:
    seen: list[ConfigRecord] = []

    def client(partition: int, message: Message) -> Message:
        seen.extend(message.content.config_records.values())
        return honest_client(partition, message)

    federate(IN_ORDER, 2, inner=MutatingStrategy(), client=client)
    run = {"run": seen[0]["run"]}
    assert [dict(config) for config in seen] == [{"step": 1, "server-round": 1, "oldest-round": 1} | run] * 4 + [
        {"step": 2, "server-round": 2, "oldest-round": 2} | run
    ] * 3


def test_a_selection_is_drawn_from_the_seed_and_leaves_global_random_states_unchanged() -> None:
    def selected(seed: int) -> list[list[int]]:
        run = federate(IN_ORDER, 6, quorum=2, seed=seed, inner=FedAvg(fraction_train=0.5))
        return [sorted(p for p, kind, r in run.grid.sent if kind == MessageType.TRAIN and r == n) for n in range(1, 7)]

    random.seed(5)
    before = (random.getstate(), np.random.get_state()[1].tolist())  # type: ignore[index]
    assert selected(1) == selected(1) != selected(2)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before  # type: ignore[index]


class Broken(FedAvg):
    def __init__(self, outcome: ArrayRecord | None) -> None:
        super().__init__()
        self.outcome = outcome

    def aggregate_train(self, *_: Any) -> tuple[ArrayRecord | None, MetricRecord | None]:
        return self.outcome, None


@pytest.mark.parametrize(
    ("outcome", "reason"),
    [
        (None, "round 1: strategy Broken: expected aggregated arrays"),
        (messages.to_record({"weight": GLOBAL["weight"]}), "expected the arrays"),
        (messages.to_record(GLOBAL | {"a-scale": np.zeros(1, np.float32)}), r"'a-scale': expected shape \(\)"),
        (messages.to_record(GLOBAL | {"bias": np.full(2, np.inf, np.float32)}), "finite"),
    ],
)
def test_an_aggregation_to_nothing_usable_ends_the_run(outcome: ArrayRecord | None, reason: str) -> None:
    with pytest.raises(StrategyError, match=reason):
        federate(IN_ORDER, inner=Broken(outcome))


def test_a_strategy_that_selects_fewer_than_the_quorum_is_refused_in_its_round() -> None:
    class Sparse(FedAvg):
        def configure_train(self, *arguments: Any) -> Iterable[Message]:
            return list(super().configure_train(*arguments))[:2]

    with pytest.raises(StrategyError, match="at least 3 clients"):
        federate(IN_ORDER, inner=Sparse())


def test_a_client_whose_late_update_counts_is_not_asked_for_a_second_one_in_the_same_round() -> None:
    def client(partition: int, message: Message) -> Message:
        if partition in (0, 1) and messages.message_config(message).get(messages.SERVER_ROUND) == 2:
            raise ValueError("boom")
        return honest_client(partition, message)

    with pytest.raises(QuorumError) as raised:  # 3 arrives late and first; then 0 and 1 fail, and 2 is not enough
        federate(Latencies([[0, 1, 2, 2.5], [1, 1, 2, 0]]), 2, late_updates="next-round", client=client)
    assert (raised.value.answered, raised.value.awaited) == ((3,), (2,))


def test_the_noise_of_a_private_strategy_is_drawn_from_the_seed() -> None:
    def aggregated(seed: int) -> bytes:
        return (
            federate(IN_ORDER, seed=seed, inner=make_strategy("dp-server-fixed-clipping", "", 3, 4))
            .arrays[0]["bias"]
            .tobytes()
        )

    assert aggregated(1) == aggregated(1) != aggregated(2)


@pytest.mark.parametrize("looks_before", [False, True])
def test_a_discarded_reply_is_thrown_away_whether_it_is_there_or_comes_later(looks_before: bool) -> None:
    inner = InMemoryGrid(honest_client)
    grid = ArrivalGrid(inner, TransportSettings(poll_seconds=0.0, messages_in_flight=32))
    message_id = grid.send(messages.registration(next(iter(inner.partitions))), 0.0)
    if looks_before:
        assert grid.await_first([message_id], time.monotonic() + 1) == message_id
    grid.discard(message_id)
    assert grid.await_reply(message_id, 0.0) is None


def test_a_node_that_was_given_up_is_asked_again_after_it_has_answered() -> None:
    inner = InMemoryGrid(honest_client, delay=lambda *_: None)
    grid = ArrivalGrid(inner, TransportSettings(poll_seconds=0.0, messages_in_flight=1))
    slow, other = list(inner.partitions)[:2]
    instruction = Message(RecordDict({"arrays": messages.to_record(GLOBAL)}), slow, MessageType.TRAIN)
    message_id = grid.send(instruction, 0.0)
    with pytest.raises(DeliveryError, match="1 other clients owe replies"):
        grid.send(messages.registration(other), 0.0)
    grid.give_up(message_id)
    assert grid.await_reply(grid.send(messages.registration(other), 0.0), time.monotonic() + 1) is not None
    with pytest.raises(DeliveryError, match="overdue"):
        grid.send(messages.registration(slow), time.monotonic() + 3600)
    assert grid.drain(time.monotonic() + 3600) == [slow]  # it is not waited for
    partition, reply, _ = inner._waiting[message_id]
    inner._waiting[message_id] = (partition, reply, 0)
    assert grid.await_reply(grid.send(messages.registration(slow), 0.0), time.monotonic() + 1) is not None
    assert grid.await_reply(message_id, 0.0) is None


def test_outstanding_replies_are_drained_at_the_end() -> None:
    run = federate(WallClock(), delay=lambda partition, _: 50 * (partition == 1))
    assert run.grid._waiting == {}


@pytest.mark.parametrize("latency", [-1.0, float("nan"), float("inf")])
def test_a_latency_that_is_no_duration_is_refused(latency: float) -> None:
    with pytest.raises(StrategyError, match="client 0 in round 1"):
        federate(Latencies([[latency, 1, 2, 3]]))


def test_the_reason_of_a_failure_in_simulation_is_the_clients_message() -> None:
    # As Flower 1.42 words it (server/superlink/fleet/vce/vce_api.py and clientapp/client_app.py).
    wrapped = (
        "<class 'ray.exceptions.RayTaskError(ClientAppException)'>:<'ray::ClientAppActor.run() (pid=7)\n"
        "  File x\nflwr.ClientAppException: \nException ClientAppException occurred. Message: no such class: 9'>"
    )
    instruction = messages.registration(3)
    assert failure_reason(Message(Error(2, wrapped), reply_to=instruction)) == "no such class: 9"
    assert failure_reason(Message(Error(3, "expired\nmore"), reply_to=instruction)) == "expired"
    assert "error code 0" in failure_reason(Message(Error(0), reply_to=instruction))


def test_local_arrays_of_the_test_clients_differ() -> None:
    assert len({local_arrays(p, GLOBAL)["bias"].tobytes() for p in range(4)}) == 4
