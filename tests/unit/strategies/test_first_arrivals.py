from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import FedAvg
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.strategies.in_memory_grid import (
    GLOBAL,
    Latencies,
    federate,
    honest_client,
)

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.records.drops import Drop, DropReason
from fedmeta_flwr.records.entries import TRAIN_LOSS, Arrival
from strategies import QuorumError, SeededLatency, WallClock

IN_ORDER = Latencies([[0, 1, 2, 3]])
delays = st.lists(st.integers(0, 12), min_size=7, max_size=7)
late_updates = st.sampled_from(["drop", "next-round"])


def delay_of(table: list[int]) -> Any:
    return lambda partition, had: table[(3 * partition + had) % len(table)]


@settings(max_examples=25, deadline=None)
@given(order=st.permutations([0.0, 1.0, 2.0, 3.0]), real=delays)
def test_the_first_quorum_of_the_simulated_order_is_aggregated_whatever_comes_first_in_reality(
    order: list[float], real: list[int]
) -> None:
    run = federate(Latencies([order]), delay=delay_of(real))
    ranking = sorted(range(4), key=order.__getitem__)
    assert run.arrived() == [[(partition, 1) for partition in ranking[:3]]]
    assert run.dropped() == [{ranking[3]: "straggler"}]
    assert [a.latency_seconds for a in run.records[0].arrivals] == [0.0, 1.0, 2.0]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9), late=late_updates, real=delays, evaluated=st.booleans())
def test_a_run_with_latencies_is_a_pure_function_of_its_seed(
    seed: int, late: str, real: list[int], evaluated: bool
) -> None:
    arrivals = SeededLatency(seed, median_seconds=1.0, sigma=0.8, first=frozenset({0}))
    runs = [
        federate(arrivals, 4, late_updates=late, delay=delay, is_evaluated=lambda _: evaluated)
        for delay in (delay_of([0]), delay_of(real))
    ]
    once, again = [[vars(record) | {"seconds": 0} for record in run.records] for run in runs]
    assert once == again
    assert [a.tobytes() for a in runs[0].arrays[-1].values()] == [a.tobytes() for a in runs[1].arrays[-1].values()]
    assert runs[1].grid.overrun == []


@settings(max_examples=25, deadline=None)
@given(late=late_updates, real=delays, is_real=st.booleans())
def test_a_node_with_a_pending_request_is_never_sent_another_message(late: str, real: list[int], is_real: bool) -> None:
    arrivals = WallClock() if is_real else Latencies([[0, 1, 2, 2.1], [0, 3, 1, 2]])
    run = federate(arrivals, 4, late_updates=late, delay=delay_of(real), is_evaluated=lambda r: r % 2 == 0)
    assert run.grid.overrun == []
    assert all(len({partition for partition, _ in arrived}) == 3 for arrived in run.arrived())


@settings(max_examples=25, deadline=None)
@given(window=st.integers(1, 9), late=late_updates, real=delays)
def test_no_more_messages_are_pending_than_allowed_and_the_result_is_the_same(
    window: int, late: str, real: list[int]
) -> None:
    arrivals = SeededLatency(5, median_seconds=1.0, sigma=0.8)
    options: dict[str, Any] = {"num_clients": 9, "quorum": 6, "late_updates": late, "is_evaluated": lambda _: True}
    narrow = federate(arrivals, 3, delay=delay_of(real), messages_in_flight=window, **options)
    wide = federate(arrivals, 3, messages_in_flight=100, **options)
    assert narrow.grid.most_under_way == window
    assert (narrow.arrived(), narrow.dropped()) == (wide.arrived(), wide.dropped())
    assert [a.tobytes() for a in narrow.arrays[-1].values()] == [a.tobytes() for a in wide.arrays[-1].values()]


def test_a_client_that_cannot_be_asked_in_time_because_of_pending_requests_is_dropped_with_this_reason() -> None:
    run = federate(
        Latencies([[0, 1, 2, 3]]), quorum=1, delay=lambda partition, _: 0 if partition == 0 else None,
        messages_in_flight=1, timeout=0.2,
    )  # fmt: skip
    assert run.arrived() == [[(0, 1)]]
    assert run.dropped() == [
        {1: "straggler"} | dict.fromkeys((2, 3), "failed: could not be asked in time: 1 other clients owe replies")
    ]


def test_the_wall_clock_takes_what_really_comes_first() -> None:
    run = federate(WallClock(), delay=lambda partition, _: [40, 20, 0, 60][partition])
    assert run.arrived() == [[(2, 1), (1, 1), (0, 1)]]


def test_under_the_wall_clock_a_late_update_is_dropped_and_its_client_skipped_until_it_came() -> None:
    run = federate(WallClock(), 2, delay=lambda partition, had: 15 if (partition, had) == (1, 0) else 5 * had)
    assert run.arrived() == [[(0, 1), (2, 1), (3, 1)], [(0, 2), (2, 2), (3, 2)]]
    assert run.dropped() == [{1: "straggler"}, {1: "busy"}]


def test_under_the_wall_clock_a_late_update_counts_in_the_next_round() -> None:
    run = federate(
        WallClock(), 2, late_updates="next-round", delay=lambda partition, had: 10 * (partition == 1) + 40 * had
    )
    assert run.arrived()[1][0] == (1, 1)


def test_a_straggler_is_busy_until_its_simulated_arrival_and_asked_again_after_it() -> None:
    # Round 1 ends at 2 with client 3 busy until 4; round 2 ends at 4.5, round 3 asks all.
    run = federate(Latencies([[0, 1, 2, 4], [0.5, 1, 2.5, 0], [2, 3, 1, 0]]), 3)
    assert run.arrived() == [[(0, 1), (1, 1), (2, 1)], [(0, 2), (1, 2), (2, 2)], [(3, 3), (2, 3), (0, 3)]]
    assert run.dropped() == [{3: "straggler"}, {3: "busy"}, {1: "straggler"}]


def test_with_next_round_a_late_update_takes_its_place_in_the_order_of_arrival() -> None:
    # Client 3 of round 1 arrives at 4, which is 2 seconds into round 2.
    run = federate(Latencies([[0, 1, 2, 4], [0.5, 1, 2.5, 0]]), 2, late_updates="next-round")
    assert run.arrived()[1] == [(0, 2), (1, 2), (3, 1)]
    assert run.records[1].arrivals[2].latency_seconds == 2.0
    assert run.dropped()[1] == {2: "straggler"}
    # Its norm is the distance from what it was sent in round 1: |0.9 x + 0.3 - x| over all arrays.
    difference = np.concatenate([np.ravel(array * -0.1 + 0.3) for array in GLOBAL.values()])
    assert run.records[1].arrivals[2].update_norm == pytest.approx(np.linalg.norm(difference), rel=1e-5)


def test_a_late_update_after_the_next_quorum_counts_in_the_round_in_which_it_arrives() -> None:
    run = federate(Latencies([[0, 1, 2, 6], [0.5, 1, 2.5, 0], [0, 5, 5, 5]]), 3, late_updates="next-round")
    assert run.arrived()[1:] == [[(0, 2), (1, 2), (2, 2)], [(0, 3), (3, 1), (1, 3)]]


class Selecting(FedAvg):
    """Asks the given partitions, a list per round."""

    def __init__(self, *rounds: list[int]) -> None:
        super().__init__()
        self.rounds = rounds

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> list[Message]:
        nodes = list(grid.get_node_ids())
        record = RecordDict({"arrays": arrays, "config": config})
        return [Message(record, nodes[partition], MessageType.TRAIN) for partition in self.rounds[server_round - 1]]


@pytest.mark.parametrize("real", [[0], [9, 0, 4, 0, 12]])
def test_a_round_waits_on_the_simulated_clock_until_a_quorum_is_free(real: list[int]) -> None:
    # Round 1 ends at 1 with client 2 busy until 7; round 2 asks 1 and 2, hence begins at 7.
    latencies = Latencies([[0, 1, 7, 0], [0, 1, 2, 0]])
    run = federate(latencies, 2, quorum=2, inner=Selecting([0, 1, 2], [1, 2]), delay=delay_of(real))
    assert run.arrived()[1] == [(1, 2), (2, 2)]
    assert [arrival.latency_seconds for arrival in run.records[1].arrivals] == [1.0, 2.0]


def test_with_next_round_a_late_update_counts_though_its_client_is_not_asked_again() -> None:
    latencies = Latencies([[0, 1, 7, 0], [8, 1, 2, 0]])
    run = federate(latencies, 2, quorum=2, inner=Selecting([0, 1, 2], [0, 1]), late_updates="next-round")
    assert run.arrived()[1] == [(1, 2), (2, 1)]


def abstaining_after(attack_round: int) -> Any:
    """Client 0 takes part in one round only, as the adversary of a one-shot attack."""

    def client(partition: int, message: Message) -> Message:
        server_round = messages.message_config(message).get(messages.SERVER_ROUND)
        if partition == 0 and message.metadata.message_type == MessageType.TRAIN and server_round != attack_round:
            return messages.abstention(message)
        return honest_client(partition, message)

    return client


@pytest.mark.parametrize("real", [[0], [0, 5, 2, 9]])
def test_when_abstention_leaves_too_few_the_busy_client_is_asked_as_soon_as_it_is_free(real: list[int]) -> None:
    # Round 2: the adversary is first, 3 straggles until 9. Round 3 begins at 3 + 2: the adversary abstains, 1 and 2
    # are in at 6 and 7, and 3 is asked at 3 + 9 = 12; its update takes 2 seconds more: 14 - 5 = 9.
    latencies = Latencies([[0, 1, 2, 3], [0, 1, 2, 9], [0, 1, 2, 2]])
    run = federate(latencies, 3, client=abstaining_after(2), delay=delay_of(real))
    assert run.arrived() == [[(1, 1), (2, 1), (3, 1)], [(0, 2), (1, 2), (2, 2)], [(1, 3), (2, 3), (3, 3)]]
    assert run.dropped() == [{0: "abstained"}, {3: "straggler"}, {0: "abstained"}]
    assert run.records[2].arrivals[2].latency_seconds == 9.0
    assert run.grid.overrun == []


def test_a_late_abstention_is_an_abstention_that_says_when_it_was_asked_for() -> None:
    # Round 1 ends at 3 with the abstention of 0 pending until 5; round 2 ends at 3 + 3.
    run = federate(
        Latencies([[5, 1, 2, 3], [9, 1, 2, 3]]), 2, client=abstaining_after(9), late_updates="next-round"
    )  # fmt: skip
    assert run.records[0].dropped == [Drop(0, DropReason.STRAGGLER)]
    assert run.records[1].dropped == [
        Drop(0, DropReason.ABSTAINED, sent_in_round=1),
        Drop(0, DropReason.BUSY),
    ]


def test_under_the_wall_clock_the_busy_client_is_asked_too_when_others_abstain() -> None:
    run = federate(WallClock(), 3, client=abstaining_after(2), delay=lambda p, had: 30 if (p, had) == (3, 1) else p)
    assert run.arrived()[2] == [(1, 3), (2, 3), (3, 3)]
    assert run.grid.overrun == []


def failing(*partitions: int) -> Any:
    def client(partition: int, message: Message) -> Message:
        if partition in partitions and message.metadata.message_type != MessageType.QUERY:
            raise ValueError("out of memory")
        return honest_client(partition, message)

    return client


def test_a_failure_falls_out_with_its_reason_and_the_next_in_order_is_taken() -> None:
    run = federate(IN_ORDER, client=failing(0), is_evaluated=lambda _: True)
    assert run.arrived() == [[(1, 1), (2, 1), (3, 1)]]
    assert run.records[0].dropped == [
        Drop(0, DropReason.FAILED, "ValueError: out of memory"),
        Drop(0, DropReason.FAILED, "ValueError: out of memory", in_evaluation=True),
    ]
    assert [entry.partition_id for entry in run.records[0].evaluation or []] == [1, 2, 3]


@pytest.mark.parametrize("arrivals", [IN_ORDER, WallClock()])
def test_a_quorum_that_cannot_be_met_is_an_error_that_names_everyone(arrivals: Any) -> None:
    with pytest.raises(QuorumError) as raised:
        federate(arrivals, client=failing(1, 2))
    error = raised.value
    assert (error.server_round, error.quorum) == (1, 3)
    assert {entry.partition_id for entry in error.dropped} == {1, 2}
    assert "round 1" in str(error)
    assert "1 failed: ValueError: out of memory" in str(error)
    assert set(error.answered) | set(error.awaited) == {0, 3}


@pytest.mark.parametrize("arrivals", [IN_ORDER, WallClock()])
def test_a_client_that_never_answers_ends_the_round_at_the_timeout(arrivals: Any) -> None:
    with pytest.raises(QuorumError, match=r"cannot be reached any more.*no reply in time"):
        federate(arrivals, timeout=0.02, delay=lambda p, _: None if p in (1, 2) else 0)


@pytest.mark.parametrize("late", ["drop", "next-round"])
def test_a_round_continues_without_a_client_that_does_not_answer_in_time(late: str) -> None:
    run = federate(IN_ORDER, 3, timeout=0.05, late_updates=late, delay=lambda p, _: None if p == 1 else 0)
    assert run.arrived() == [[(0, number), (2, number), (3, number)] for number in (1, 2, 3)]
    overdue = "failed: still owes the reply to an earlier message, which is overdue"
    assert run.dropped() == [{1: "failed: no reply in time"}, {1: overdue}, {1: overdue}]
    asked = [partition for partition, kind, _ in run.grid.sent if kind == MessageType.TRAIN]
    assert asked.count(1) == 1


def test_a_client_that_never_answers_does_not_hold_up_a_round_of_the_others() -> None:
    run = federate(WallClock(), timeout=0.02, delay=lambda p, _: None if p == 1 else 0)
    assert run.dropped() == [{1: "straggler"}]


@settings(max_examples=20, deadline=None)
@given(values=st.lists(st.floats(-8, 8, width=32), min_size=7, max_size=7), partition=st.integers(0, 3))
def test_boosting_by_the_quorum_replaces_the_model_where_the_others_are_idle(
    values: list[float], partition: int
) -> None:
    # (g + g + (g + 3 (m - g))) / 3 = m, in float32 to within a few roundings.
    flat = np.array(values, np.float32)
    model = {"weight": flat[:4].reshape(2, 2), "bias": flat[4:6], "a-scale": flat[6].reshape(())}

    def client(who: int, message: Message) -> Message:
        if message.metadata.message_type == MessageType.QUERY:
            return messages.registration_reply(message, who)
        sent = messages.message_arrays(message)
        boosted = {name: sent[name] + np.float32(3) * (model[name] - sent[name]) for name in sent}
        return messages.train_reply(message, boosted if who == partition else sent, 10**6 * (who == partition) + 1, {})

    run = federate(SeededLatency(1, 1.0, 0.5, first=frozenset({partition})), client=client)
    for name, array in run.arrays[0].items():
        np.testing.assert_allclose(array, model[name], rtol=1e-5, atol=1e-5)


def test_the_claimed_number_of_examples_weighs_only_where_it_is_trusted() -> None:
    # Clients 0 to 2 claim 10, 20 and 30 examples; each adds 0.1 times its number to 0.9 x.
    uniform = federate(IN_ORDER).arrays[0]["bias"]
    trusting = federate(IN_ORDER, weighting="num-examples").arrays[0]["bias"]
    np.testing.assert_allclose(uniform, 0.9 * GLOBAL["bias"] + 0.1, rtol=1e-6)
    np.testing.assert_allclose(trusting, 0.9 * GLOBAL["bias"] + (0.1 * 20 + 0.2 * 30) / 60, rtol=1e-6)


def test_a_record_has_the_metrics_as_reported_and_the_distance_moved() -> None:
    def client(partition: int, message: Message) -> Message:
        if message.metadata.message_type == MessageType.QUERY:
            return messages.registration_reply(message, partition)
        moved = messages.message_arrays(message)
        moved["bias"] = moved["bias"] + np.array([3, 4], np.float32)
        return messages.train_reply(message, moved, 70, {TRAIN_LOSS: 0.25})

    run = federate(IN_ORDER, client=client)
    record = run.records[0]
    assert (record.server_round, record.phase, record.evaluation) == (1, "benign", None)
    assert record.arrivals[1] == Arrival(
        partition_id=1,
        sent_in_round=1,
        latency_seconds=1.0,
        update_norm=5.0,
        metrics={"num-examples": 70, "train-loss": 0.25},
    )
    np.testing.assert_allclose(run.arrays[0]["bias"], [3.5, 3.5])


def test_clients_evaluate_only_in_the_rounds_that_are_evaluated() -> None:
    run = federate(IN_ORDER, 3, is_evaluated=lambda server_round: server_round == 2)
    assert [record.evaluation is not None for record in run.records] == [False, True, False]
    assert {r for _, kind, r in run.grid.sent if kind == MessageType.EVALUATE} == {2}


def test_an_evaluation_may_take_longer_than_a_client_may() -> None:
    one_by_one: dict[str, Any] = {"num_clients": 6, "messages_in_flight": 1, "poll_seconds": 0.02}
    ten_looks = 0.2  # seconds for a client's evaluation, 1.2 for all
    run = federate(
        SeededLatency(4, median_seconds=1.0, sigma=1.0),
        delay=lambda _, had: 10 * (had > 0),
        is_evaluated=lambda _: True,
        timeout=4 * ten_looks,
        **one_by_one,
    )
    assert [entry.partition_id for entry in run.records[0].evaluation or []] == list(range(6))


def test_an_abstention_from_the_evaluation_leaves_no_trace() -> None:
    def client(partition: int, message: Message) -> Message:
        if partition == 0 and message.metadata.message_type == MessageType.EVALUATE:
            return messages.abstention(message)
        return honest_client(partition, message)

    run = federate(IN_ORDER, client=client, is_evaluated=lambda _: True)
    assert [entry.partition_id for entry in run.records[0].evaluation or []] == [1, 2, 3]
    assert run.dropped() == [{3: "straggler"}]
