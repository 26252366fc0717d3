"""The Grid that needs no SuperLink: its nodes remember, its errors are Flower's, and it wakes whoever waits."""

import threading
import time
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp import ClientApp

from experiments.engines.inline import InlineGrid
from experiments.engines.local_grid import LocalGrid
from experiments.engines.nodes import Nodes
from strategies.transport.grid import ArrivalGrid, TransportSettings
from strategies.transport.replies import failure_reason

pytestmark = pytest.mark.usefixtures("task_identity")


def counting_app(fails: bool = False) -> ClientApp:
    """Count the messages of each node in its state, and write into the message."""
    app = ClientApp()

    @app.query()
    def query(message: Message, context: Context) -> Message:
        counts = context.state.config_records.get("counts", ConfigRecord({"messages": 0}))
        context.state["counts"] = ConfigRecord({"messages": int(str(counts["messages"])) + 1})
        asked = message.content.config_records.get("asked", ConfigRecord())
        asked["seen"] = True
        if asked.get("fails", False):
            raise ValueError("no luck\nat all")
        found = ConfigRecord(
            {"partition": int(context.node_config["partition-id"]), **dict(context.state.config_records["counts"])}
        )
        return Message(RecordDict({"found": found}), reply_to=message)

    return app


def ask(grid: LocalGrid, node_id: int, **asked: Any) -> Message:
    question = Message(RecordDict({"asked": ConfigRecord(asked)}), node_id, MessageType.QUERY)
    [reply] = grid.send_and_receive([question], timeout=5.0)
    assert "seen" not in question.content.config_records["asked"], "a client changed the server's message"
    return reply


@pytest.fixture
def grid() -> InlineGrid:
    return InlineGrid(Nodes(3, 7, {"num-clients": 3}), counting_app())


def test_each_node_has_its_partition_and_its_memory(grid: InlineGrid) -> None:
    nodes = list(grid.get_node_ids())
    found = [ask(grid, node_id).content.config_records["found"] for node_id in (nodes[0], nodes[2], nodes[2])]
    assert [(one["partition"], one["messages"]) for one in found] == [(0, 1), (2, 1), (2, 2)]


def test_a_client_that_raises_is_reported_as_flower_does_and_forgets_what_it_did(grid: InlineGrid) -> None:
    node = list(grid.get_node_ids())[1]
    ask(grid, node)
    failed = ask(grid, node, fails=True)
    assert (failed.error.code, failure_reason(failed)) == (2, "no luck")
    assert ask(grid, node).content.config_records["found"]["messages"] == 2


def test_unknown_nodes_are_left_out_of_the_ids(grid: InlineGrid) -> None:
    questions = [Message(RecordDict(), node_id, MessageType.QUERY) for node_id in (999, *grid.get_node_ids())]
    assert len(list(grid.push_messages(questions))) == 3


class LateGrid(LocalGrid):
    """Answers from another thread, some time later."""

    def carry(self, message: Message) -> None:
        reply = Message(RecordDict(), reply_to=message)
        threading.Timer(0.2, self.file_reply, (message, reply)).start()


def test_a_reply_wakes_the_server_long_before_its_next_poll() -> None:
    grid = ArrivalGrid(LateGrid(Nodes(1, 7, {})), TransportSettings(poll_seconds=60.0))
    [node] = grid.get_node_ids()
    began = time.monotonic()
    message_id = grid.send(Message(RecordDict(), node, MessageType.QUERY), began + 30.0)
    assert grid.await_reply(message_id, began + 30.0) is not None
    assert time.monotonic() - began < 10.0


def test_a_wait_for_a_reply_ends_at_its_deadline() -> None:
    grid = ArrivalGrid(LateGrid(Nodes(1, 7, {})), TransportSettings())
    [node] = grid.get_node_ids()
    message_id = grid.send(Message(RecordDict(), node, MessageType.QUERY), time.monotonic() + 30.0)
    assert grid.await_reply(message_id, time.monotonic() + 0.01) is None
    assert grid.await_reply(message_id, time.monotonic() + 30.0) is not None
