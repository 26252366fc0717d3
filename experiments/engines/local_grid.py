"""What the Grids of the engines have in common: they hold the messages themselves, and need no SuperLink."""

import threading
import time
import uuid
from abc import abstractmethod
from collections.abc import Iterable

from flwr.app import Message, RecordDict

from experiments.engines.nodes import Nodes
from fedmeta_flwr.protocol.flower_private import Run, overwrite_metadata
from strategies.transport.waiting_grid import WaitingGrid


class LocalGrid(WaitingGrid):
    """A Grid whose nodes are known at once. Replies may be filed by any thread.

    Parameters
    ----------
    nodes : Nodes
        All nodes of the run.
    """

    def __init__(self, nodes: Nodes) -> None:
        self.nodes = nodes
        self._run = Run.create_empty(nodes.run_id)
        self._replies: dict[str, Message] = {}  # message id -> its reply; in the order of arrival
        self._arrived = threading.Condition()

    @abstractmethod
    def carry(self, message: Message) -> None:
        """Bring a message to its node, and call `file_reply` when it has answered, now or later."""

    def file_reply(self, message: Message, reply: Message) -> None:
        """Keep the reply to a message until it is pulled, and wake whoever waits for it."""
        with self._arrived:
            self._replies[message.metadata.message_id] = reply
            self._arrived.notify_all()

    def await_answers(self, seconds: float) -> list[str]:
        """Return the ids of answered messages; wait for one if there is none."""
        with self._arrived:
            if not self._replies and seconds > 0:
                self._arrived.wait(min(seconds, threading.TIMEOUT_MAX))
            return list(self._replies)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of all nodes, in the order of partitions."""
        return self.nodes.ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages and return their ids; as with Flower's Grid, those to unknown nodes are left out."""
        message_ids = []
        for message in messages:
            if message.metadata.dst_node_id in self.nodes:
                overwrite_metadata(message, message_id=str(uuid.uuid4()))
                message_ids.append(message.metadata.message_id)
                self.carry(message)
        return message_ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have arrived, and forget them."""
        with self._arrived:
            return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages and return all replies that arrive in time."""
        deadline = threading.TIMEOUT_MAX if timeout is None else time.monotonic() + timeout
        awaited = set(self.push_messages(messages))
        replies: list[Message] = []
        with self._arrived:
            while True:
                arrived = [message_id for message_id in self._replies if message_id in awaited]
                awaited.difference_update(arrived)
                replies += [self._replies.pop(message_id) for message_id in arrived]
                if not awaited or time.monotonic() >= deadline:
                    return replies
                self._arrived.wait(min(deadline - time.monotonic(), threading.TIMEOUT_MAX))

    def set_run(self, run: Run) -> None:
        """Set the run, as in Flower's Grid."""
        self._run = run

    @property
    def run(self) -> Run:
        """The run, as in Flower's Grid; only its id is set."""
        return self._run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message, as in Flower's Grid."""
        return Message(content, dst_node_id, message_type, ttl=ttl, group_id=group_id)
