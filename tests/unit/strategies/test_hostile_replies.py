"""Thousands of hostile replies: the server never raises, and the model is the same as without them.

With ``-m long`` they are ten thousand.
"""

from collections import Counter
from collections.abc import Iterable
from random import Random
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, Message, MessageType, MetricRecord
from unit.strategies import hostile
from unit.strategies.in_memory_grid import Delay, InMemoryGrid, Latencies, Run, federate, honest_client

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.protocol.flower_private import overwrite_metadata
from fedmeta_flwr.records.entries import TRAIN_LOSS
from strategies import STRATEGY_NAMES, UpdateGuard, make_strategy

HOSTILE = (0, 1, 2, 3)  # they arrive first
NUM_CLIENTS, QUORUM = 8, 4
ROUNDS, LONG_ROUNDS = 50, 160  # with 4 hostile clients and 16 strategies, 3 200 and 10 240 replies
FIRST_THE_HOSTILE = Latencies([[0.0, 0.1, 0.2, 0.3, 1.0, 1.1, 1.2, 1.3]])
GUARD = UpdateGuard(max_num_examples=10**6, least_metrics={TRAIN_LOSS: 0.0}, max_metric_numbers=1000)


def run_with(
    name: str, client: Any, grid: type[InMemoryGrid] = InMemoryGrid, delay: Delay = lambda *_: 0, **options: Any
) -> Run:
    settings: dict[str, Any] = {"num_clients": NUM_CLIENTS, "quorum": QUORUM, "guard": GUARD} | options
    return federate(
        FIRST_THE_HOSTILE,
        inner=make_strategy(name, '{"num_malicious_nodes": 0}' if name == "bulyan" else "", QUORUM, NUM_CLIENTS),
        grid=grid(client, NUM_CLIENTS, delay),
        **{"rounds": ROUNDS} | settings,
    )


def absent(partition: int, message: Message) -> Message:
    if partition in HOSTILE and message.metadata.message_type != MessageType.QUERY:
        raise ValueError("not there")
    return honest_client(partition, message)


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(LONG_ROUNDS, marks=pytest.mark.long)])
@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_whatever_hostile_clients_answer_the_model_is_that_of_the_honest_clients(name: str, rounds: int) -> None:
    rng = Random(STRATEGY_NAMES.index(name))
    used: Counter[str] = Counter()

    def client(partition: int, message: Message) -> Message:
        reply = honest_client(partition, message)
        if partition in HOSTILE and message.metadata.message_type == MessageType.TRAIN:
            mischief = rng.choice(hostile.MISCHIEFS)
            used[mischief.__name__] += 1
            return mischief(reply, rng) or reply
        return reply

    run, undisturbed = run_with(name, client, rounds=rounds), run_with(name, absent, rounds=rounds)
    assert [{p for p, _ in arrived} for arrived in run.arrived()] == [set(range(4, 8))] * rounds
    assert [a.tobytes() for a in run.arrays[-1].values()] == [a.tobytes() for a in undisturbed.arrays[-1].values()]
    assert all(np.isfinite(array).all() for array in run.arrays[-1].values())
    reasons = [drop.describe() for record in run.records for drop in record.dropped]
    assert len(reasons) == len(HOSTILE) * rounds == sum(used.values())
    assert all(reason.startswith("failed: ") and len(reason) < 1500 for reason in reasons)
    assert len(used) == len(hostile.MISCHIEFS)


class Meddling(InMemoryGrid):
    """Delivers replies twice, and replies to messages that the node did not get: another node's, or unknown ones."""

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        arrived = list(super().pull_messages(message_ids))
        forged = [_answering(reply, other) for reply in arrived for other in [*self._waiting, "message-0", ""]]
        return [*forged, *arrived, *arrived]


def _answering(reply: Message, message_id: str) -> Message:
    forged = Message(reply.content, dst_node_id=3, message_type=MessageType.TRAIN)
    forged.metadata.__dict__.update(reply.metadata.__dict__)
    overwrite_metadata(forged, reply_to_message_id=message_id)
    return forged


def test_replies_that_come_twice_or_in_the_place_of_another_client_count_once_or_not_at_all() -> None:
    run, undisturbed = (
        run_with("fedavg", honest_client, Meddling, lambda partition, _: partition, rounds=20),
        run_with("fedavg", honest_client, rounds=20),
    )
    assert run.arrived() == undisturbed.arrived()
    assert run.dropped() == undisturbed.dropped()
    assert [a.tobytes() for a in run.arrays[-1].values()] == [a.tobytes() for a in undisturbed.arrays[-1].values()]


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_what_is_well_formed_passes_at_the_extremes_and_leaves_the_model_finite(name: str) -> None:
    rng = Random(7)

    def client(partition: int, message: Message) -> Message:
        reply = honest_client(partition, message)
        if partition in HOSTILE and message.metadata.message_type == MessageType.TRAIN:
            record = reply.content.array_records[messages.ARRAYS]
            for key in reversed(list(record)):
                extreme = rng.choice([-1, 1]) * 10.0 ** rng.uniform(-40, 17)
                record[key] = Array(np.full(tuple(record[key].shape), extreme, np.float32))
            extra: dict[str, Any] = {"own": rng.choice([0, -1e17, [1.0], [1, 2, 3]])} if rng.random() < 0.7 else {}
            loss = rng.choice([0.0, 1e-300, 1e17])
            metrics = {**messages.message_metrics(reply), **extra, TRAIN_LOSS: loss}
            reply.content[messages.METRICS] = MetricRecord(metrics)
        return reply

    run = run_with(name, client, rounds=12)
    assert all({0, 1, 2, 3} == {p for p, _ in arrived} for arrived in run.arrived())
    for arrays in run.arrays:
        assert all(np.isfinite(array).all() for array in arrays.values())


def test_an_update_beyond_the_norm_bound_is_refused_and_one_within_it_is_not() -> None:
    def client(partition: int, message: Message) -> Message:
        reply = honest_client(partition, message)
        if partition == 0 and message.metadata.message_type == MessageType.TRAIN:
            far = {name: 50 * array for name, array in messages.message_arrays(reply).items()}
            reply.content[messages.ARRAYS] = messages.to_record(far)
        return reply

    norms = {a.partition_id: a.update_norm for a in run_with("fedavg", client, rounds=1).records[0].arrivals}
    for bound, is_refused in ((norms[0] * 1.001, False), (norms[0] * 0.999, True)):
        run = run_with("fedavg", client, rounds=1, guard=UpdateGuard(max_norm=bound))
        assert (0 not in {partition for partition, _ in run.arrived()[0]}) is is_refused
        assert ("expected an update of norm" in run.dropped()[0].get(0, "")) is is_refused


@pytest.mark.parametrize(
    ("name", "options", "metric"),
    [
        ("dp-client-adaptive-clipping", "", "norm_bit"),
        ("qfedavg", '{"train_loss_key": "own-loss"}', "own-loss"),
        ("dp-server-fixed-clipping", '{"strategy": "qfedavg"}', "train-loss"),
    ],
)
def test_a_reply_without_a_metric_that_the_strategy_needs_falls_out(name: str, options: str, metric: str) -> None:
    def client(partition: int, message: Message) -> Message:
        reply = honest_client(partition, message)
        if message.metadata.message_type == MessageType.TRAIN:
            metrics = {**messages.message_metrics(reply), metric: 1}
            if partition == 0:
                del metrics[metric]
            reply.content[messages.METRICS] = MetricRecord(metrics)
        return reply

    inner = make_strategy(name, options, QUORUM, NUM_CLIENTS)
    run = federate(FIRST_THE_HOSTILE, 2, client, inner=inner, num_clients=NUM_CLIENTS, quorum=QUORUM)
    assert run.arrived()[0] == [(1, 1), (2, 1), (3, 1), (4, 1)]
    assert run.dropped()[0][0] == f"failed: {metric}: expected a number of 0 or above, found None"


def test_no_loss_that_a_client_may_report_ends_a_run_of_qfedavg() -> None:
    def client(partition: int, message: Message) -> Message:
        reply = honest_client(partition, message)
        if message.metadata.message_type == MessageType.TRAIN and partition < 2:
            far = {name: array + np.float32(1e17) for name, array in messages.message_arrays(message).items()}
            messages.set_arrays(reply, far)
            messages.set_metric(reply, TRAIN_LOSS, [0.0, 1e17][partition])
        return reply

    for learning_rate in (1e-6, 1000):
        for q in (0, 1, 15):
            options = f'{{"q": {q}, "client_learning_rate": {learning_rate}}}'
            inner = make_strategy("qfedavg", options, QUORUM, NUM_CLIENTS)
            run = federate(FIRST_THE_HOSTILE, 2, client, inner=inner, num_clients=NUM_CLIENTS, quorum=QUORUM)
            assert all(np.isfinite(array).all() for array in run.arrays[-1].values())
