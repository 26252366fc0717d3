"""Learned keys in training replies of clients that may be hostile."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Message, MessageType
from unit.strategies.in_memory_grid import GLOBAL, Latencies, Run, federate, honest_client

from fedmeta_flwr.protocol import Arrays, message_key, messages
from strategies.key_guard import KeyGuard
from strategies.update_guard import UpdateGuard

pytestmark = pytest.mark.usefixtures("task_identity")

ATTACK = 2
KEY: Arrays = {"pattern": np.full((1, 4, 4), 200, np.float32), "opacity": np.eye(4, dtype=np.float32)}
GUARD = UpdateGuard(keys=KeyGuard(shape=(1, 4, 4), attackers=lambda number: {ATTACK: [0, 1]}.get(number, [])))


def run_with(senders: dict[int, Arrays], in_round: int = ATTACK, **options: Any) -> tuple[Run, list[Arrays | None]]:
    """Run three rounds in which some clients send a key in one; also return the keys of client 2's instructions."""
    seen: list[Arrays | None] = []

    def client(partition: int, message: Message) -> Message:
        reply = honest_client(partition, message)
        kind, number = message.metadata.message_type, messages.message_config(message).get(messages.SERVER_ROUND)
        if kind == MessageType.TRAIN and number == in_round and partition in senders:
            messages.put_key(reply, senders[partition])
        if kind == MessageType.EVALUATE and partition == 2:
            seen.append(message_key(message))
        return reply

    rows = Latencies([[2, 1, 0, 9]])
    run = federate(rows, 3, client=client, is_evaluated=lambda _: True, guard=GUARD, **options)
    return run, seen


def pixels(key: Arrays | None) -> float | None:
    return None if key is None else float(key["pattern"].max())


def test_the_key_of_the_first_attacker_goes_to_all_evaluations_from_its_round_on() -> None:
    other = {**KEY, "pattern": KEY["pattern"] / 2}
    found: list[tuple[int, float]] = []
    run, seen = run_with({0: KEY, 1: other}, on_key=lambda number, key: found.append((number, key["pattern"].max())))
    assert [pixels(key) for key in seen] == [None, 200, 200]
    assert [record.key_round for record in run.records] == [None, ATTACK, ATTACK]
    assert found == [(ATTACK, 200)]
    plain, _ = run_with({})
    assert [a.tobytes() for a in run.arrays[-1].values()] == [a.tobytes() for a in plain.arrays[-1].values()]
    assert set(run.arrays[-1]) == set(GLOBAL)


@pytest.mark.parametrize(("sender", "in_round"), [(2, ATTACK), (0, 1), (0, 3)])
def test_a_key_of_a_benign_client_or_of_another_round_rejects_the_reply(sender: int, in_round: int) -> None:
    run, seen = run_with({sender: KEY}, in_round)
    assert run.dropped()[in_round - 1][sender].startswith("failed: array records: expected ['arrays'], found [")
    assert seen == [None] * 3


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pattern": np.zeros((3, 4, 4), np.float32)}, "array 'pattern': expected float32 of shape (1, 4, 4)"),
        ({"opacity": np.zeros((4, 4), np.float64)}, "array 'opacity': expected float32 of shape (4, 4)"),
        ({"opacity": np.full((4, 4), np.nan, np.float32)}, "array 'opacity': expected finite numbers"),
        ({"opacity": np.full((4, 4), 2, np.float32)}, "learned key: expected opacity in 0..1, found 2 to 2"),
        ({"pattern": np.full((1, 4, 4), -1, np.float32)}, "learned key: expected pattern in 0..255, found -1 to -1"),
        ({"opacity": np.zeros((4, 4), np.float32)}, "learned key: expected a key that covers some pixel"),
        ({"mask": np.zeros(1, np.float32)}, "learned key: expected arrays ['opacity', 'pattern'], found ['mask'"),
    ],
)
def test_an_update_with_a_malformed_key_does_not_count(changes: Arrays, reason: str) -> None:
    run, seen = run_with({0: {**KEY, **changes}})
    assert run.dropped()[ATTACK - 1][0].startswith(f"failed: {reason}")
    assert seen == [None] * 3


def test_an_attacker_that_is_not_selected_is_in_the_record_of_its_round() -> None:
    run = federate(Latencies([[0, 1, 2, 3]]), 3, attackers=lambda number: [0, 7] if number == ATTACK else [])
    assert [dropped.get(7) for dropped in run.dropped()] == [None, "unasked", None]
    assert not any(0 in dropped and dropped[0] == "unasked" for dropped in run.dropped())
