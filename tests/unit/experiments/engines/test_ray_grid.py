"""The Grid of Ray actors, with stand-ins for Ray and its actors."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, Message, MessageType, RecordDict

from experiments.engines import ray_grid
from experiments.engines.nodes import Nodes
from experiments.engines.ray_actor import joined, split
from experiments.engines.ray_grid import RayGrid
from fedmeta_flwr.protocol.flower_private import DEAD_ACTOR
from strategies.transport.replies import dead_actor

pytestmark = pytest.mark.usefixtures("task_identity")


class Actor:
    """Answers at once, or has died."""

    def __init__(self, is_dead: bool = False) -> None:
        self.asked = 0
        self.is_dead = is_dead
        self.answer = SimpleNamespace(remote=self._answer)

    def _answer(self, message: Message, arrays: Any, state: RecordDict) -> Any:
        self.asked += 1
        if self.is_dead:
            return RuntimeError(f"{DEAD_ACTOR[0]}: killed")
        state = RecordDict({"seen": ConfigRecord({"names": list(arrays)})})
        return Message(RecordDict(), reply_to=message), state


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was put into Ray's store."""
    put: list[Any] = []

    def get(found: Any) -> Any:
        if isinstance(found, Exception):
            raise found
        return found

    def store(value: Any) -> Any:
        put.append(value)
        return value

    monkeypatch.setattr(ray_grid, "ray", SimpleNamespace(get=get, put=store))
    return put


def instructions(grid: RayGrid, arrays: ArrayRecord) -> list[Message]:
    return [
        Message(RecordDict({"config": ConfigRecord({"node": node}), "arrays": arrays}), node, MessageType.TRAIN)
        for node in grid.get_node_ids()
    ]


def some_arrays() -> ArrayRecord:
    return ArrayRecord({"weight": Array(np.ones(3, np.float32))})


def test_a_message_is_split_from_its_arrays_and_joined_again_as_it_was() -> None:
    message = Message(
        RecordDict({"a": ConfigRecord({"x": 1}), "arrays": some_arrays(), "b": ConfigRecord({"y": 2})}), 5, "train"
    )
    rest, arrays = split(message)
    assert not rest.content.array_records["arrays"]
    assert message.content.array_records["arrays"], "the server's message was changed"
    assert joined(rest, arrays).content == message.content
    assert list(rest.content) == ["a", "arrays", "b"]


def test_arrays_that_all_messages_share_are_stored_once_for_each_broadcast(stored: list[Any]) -> None:
    grid = RayGrid(Nodes(4, 7, {}))
    grid.employ([Actor()])
    for arrays in (some_arrays(), some_arrays()):
        assert len(list(grid.send_and_receive(instructions(grid, arrays), timeout=10.0))) == 4
    assert len(stored) == 2


def test_a_node_remembers_what_its_actor_returns(stored: list[Any]) -> None:
    grid = RayGrid(Nodes(1, 7, {}))
    grid.employ([Actor()])
    list(grid.send_and_receive(instructions(grid, some_arrays()), timeout=10.0))
    [node] = grid.get_node_ids()
    assert grid.nodes.state(node).config_records["seen"]["names"] == ["arrays"]


def test_a_dead_actor_gets_one_message_unless_it_is_the_last(stored: list[Any]) -> None:
    grid, dead, living = RayGrid(Nodes(6, 7, {})), Actor(is_dead=True), Actor()
    grid.employ([dead])
    replies = list(grid.send_and_receive(instructions(grid, some_arrays()), timeout=10.0))
    assert [bool(dead_actor(reply)) for reply in replies] == [True] * 6
    grid.employ([living])
    list(grid.send_and_receive(instructions(grid, some_arrays()), timeout=10.0))
    dead.asked = 0
    replies = list(grid.send_and_receive(instructions(grid, some_arrays()), timeout=10.0))
    assert len(replies) == 6
    assert dead.asked <= 1


def test_a_record_that_was_changed_after_it_was_sent_is_stored_again(stored: list[Any]) -> None:
    grid, arrays = RayGrid(Nodes(2, 7, {})), some_arrays()
    grid.employ([Actor()])
    list(grid.send_and_receive(instructions(grid, arrays), timeout=10.0))
    arrays["weight"] = Array(np.zeros(3, np.float32))
    list(grid.send_and_receive(instructions(grid, arrays), timeout=10.0))
    assert len(stored) == 2


def test_without_actors_all_messages_fail_with_the_reason(stored: list[Any]) -> None:
    grid = RayGrid(Nodes(2, 7, {}))
    grid.fail(ValueError("no such GPU"))
    questions = [Message(RecordDict(), node, "query") for node in grid.get_node_ids()]
    reasons = [reply.error.reason for reply in grid.send_and_receive(questions, timeout=10.0)]
    assert len(reasons) == 2
    assert stored, "arrays went to Ray as usual"
    assert all("no such GPU" in str(reason) for reason in reasons)


def test_while_an_actor_works_no_message_fails_for_want_of_others(stored: list[Any]) -> None:
    grid = RayGrid(Nodes(200, 7, {}))
    grid.employ([Actor()])  # it would race the refusals
    grid.fail(ValueError("no room for the others"))
    replies = list(grid.send_and_receive(instructions(grid, some_arrays()), timeout=10.0))
    assert [reply.has_error() for reply in replies] == [False] * 200
