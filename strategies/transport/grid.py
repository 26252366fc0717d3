"""A wrapper of Flower's Grid that tracks pending requests, and never sends a message to a busy node.

Flower's simulation engine would run a second message to a busy node at once, in another process and on the state from
before the first message. Therefore `ArrivalGrid.send` first waits for the node's pending reply.
"""

import logging
import math
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from flwr.app import Message, RecordDict
from flwr.serverapp import Grid

from fedmeta_flwr.protocol.flower_private import Run
from fedmeta_flwr.records import Observer
from strategies.errors import DeliveryError
from strategies.transport.replies import dead_actor
from strategies.transport.waiting_grid import WaitingGrid

_LOG = logging.getLogger("flwr.arrivals")


@dataclass(frozen=True, kw_only=True)
class TransportSettings:
    """Waiting times, and the number of messages in flight.

    Attributes
    ----------
    registration_seconds : float
        Longest wait for all nodes to register. It is also the longest wait for their answers if the timeout of
        `FirstArrivals.start` is shorter: actors may start slowly.
    poll_seconds : float
        Pause between two polls for replies, of a Grid that cannot wait for them (see `WaitingGrid`).
    messages_in_flight : int
        Most messages in flight at once; at least the number of nodes that compute at once. Whenever a node asks for
        work, Flower's link state searches all of them, so the cost grows with the square of their number.
    """

    registration_seconds: float = 60.0
    poll_seconds: float = 0.015
    messages_in_flight: int = 32


class ArrivalGrid(Grid):
    """Flower's Grid with at most one message in flight per node; replies are kept until they are asked for.

    Deadlines are times of `time.monotonic`; no wait lasts longer.

    Parameters
    ----------
    grid : Grid
        The Grid that Flower hands to the server.
    settings : TransportSettings
        How often to poll for replies, and how many messages may be in flight.
    observer : Observer, optional
        Notified of who is asked and who answers, by partition.

    Attributes
    ----------
    roster : dict
        Node id to partition id, in the order of partitions; empty before the registration.
    dead_actor : str or None
        Flower's error about a dead process of the simulation; None while all are alive.
    """

    def __init__(self, grid: Grid, settings: TransportSettings, observer: Observer | None = None) -> None:
        self._grid = grid
        self._poll_seconds = settings.poll_seconds
        self._window = settings.messages_in_flight
        self._observer = observer or Observer()
        self.roster: Mapping[int, int] = {}
        self._pending: dict[int, str] = {}  # node id -> id of the message that it has not answered yet
        self._asked: dict[str, int] = {}  # the same, from message to node
        self._replies: dict[str, Message] = {}  # message id -> its reply; in the order of arrival
        self._unwanted: set[str] = set()
        self._overdue: set[int] = set()  # nodes that are no longer waited for
        self.dead_actor: str | None = None
        self._hidden: Collection[int] = ()

    def is_busy(self, node_id: int) -> bool:
        """Return whether a node has a pending request."""
        return node_id in self._pending

    def send(self, message: Message, deadline: float) -> str:
        """Send one message as soon as its node has no pending request and the window has room.

        Parameters
        ----------
        message : Message
            With its destination node.
        deadline : float
            Longest wait for the node and the window.

        Returns
        -------
        str
            The message id for `await_reply`.

        Raises
        ------
        DeliveryError
            If the node still has a pending request at the deadline, or one that was given up; if the window is still
            full then; or if the node is not connected.
        """
        node_id = message.metadata.dst_node_id
        if node_id in self._overdue and not (self._poll() and node_id not in self._overdue):
            raise DeliveryError("still owes the reply to an earlier message, which is overdue")
        if not self._poll_until(lambda: node_id not in self._pending, deadline):
            self._overdue.add(node_id)
            raise DeliveryError("still owes the reply to an earlier message")
        if not self._poll_until(lambda: len(self._pending) - len(self._overdue) < self._window, deadline):
            raise DeliveryError(f"could not be asked in time: {self._window} other clients owe replies")
        # One at a time: `push_messages` leaves unknown nodes out of the ids, which would shift the others.
        message_ids = [message_id for message_id in self._grid.push_messages([message]) if message_id]
        if not message_ids:
            raise DeliveryError("the node is not connected")
        self._pending[node_id] = message_ids[0]
        self._asked[message_ids[0]] = node_id
        self._observer.asked(self.roster.get(node_id, node_id))
        return message_ids[0]

    def await_reply(self, message_id: str, deadline: float) -> Message | None:
        """Wait for one reply and return it; None if it has not arrived by the deadline."""
        if not self._poll_until(lambda: message_id in self._replies, deadline):
            return None
        return self._replies.pop(message_id)

    def await_first(self, message_ids: Collection[str], deadline: float) -> str | None:
        """Wait for the first reply to any of the messages; return the id of its message, and keep the reply."""
        if not self._poll_until(lambda: any(known in message_ids for known in self._replies), deadline):
            return None
        return next(known for known in self._replies if known in message_ids)

    def discard(self, message_id: str) -> None:
        """Discard a reply, now or when it arrives."""
        if self._replies.pop(message_id, None) is None and message_id in self._asked:
            self._unwanted.add(message_id)

    def give_up(self, message_id: str) -> None:
        """Stop waiting for a reply. It is discarded when it arrives; until then its node is not asked again."""
        self.discard(message_id)
        if message_id in self._asked:
            self._overdue.add(self._asked[message_id])

    def settle(self, deadline: float) -> None:
        """Wait for discarded replies that are not overdue; after that their clients are done."""
        self._poll_until(
            lambda: self._overdue.issuperset(self._asked[message_id] for message_id in self._unwanted), deadline
        )

    def drain(self, deadline: float) -> list[int]:
        """Wait for all replies that are not overdue and discard them; return the nodes that are still busy then."""
        self._poll_until(lambda: self._overdue.issuperset(self._pending), deadline)
        self._replies.clear()
        return sorted(self._pending)

    def _poll_until(self, done: Callable[[], bool], deadline: float) -> bool:
        while not done():
            if self._poll():
                continue
            if (left := deadline - time.monotonic()) <= 0:
                return False
            self._pause(left)
        return True

    def _pause(self, longest_seconds: float) -> None:
        if isinstance(self._grid, WaitingGrid):
            self._grid.await_answers(longest_seconds)
        else:
            time.sleep(self._poll_seconds)

    def _poll(self) -> bool:
        """Fetch new replies; return whether there were any."""
        answered: dict[str, Message] = {}
        for reply in self._fetch():
            # Match by the instruction's id: the SuperLink answers an expired instruction, not its node.
            metadata = reply.metadata
            node_id = self._asked.get(metadata.reply_to_message_id)
            if node_id is not None and (reply.has_error() or metadata.src_node_id == node_id):
                answered.setdefault(metadata.reply_to_message_id, reply)
            else:
                _LOG.warning("ignored: a reply of node %d to a message that it was not sent", metadata.src_node_id)
        # Replies of one poll have no order; take them in the order of partitions.
        for message_id in sorted(answered, key=self._partition_asked):
            self._take(message_id, answered[message_id])
        return bool(answered)

    def _fetch(self) -> Iterable[Message]:
        grid = self._grid
        message_ids = grid.await_answers(0.0) if isinstance(grid, WaitingGrid) else list(self._asked)
        return grid.pull_messages(message_ids) if message_ids else ()

    def _partition_asked(self, message_id: str) -> int:
        node_id = self._asked[message_id]
        return self.roster.get(node_id, node_id)

    def _take(self, message_id: str, reply: Message) -> None:
        node_id = self._asked.pop(message_id)
        del self._pending[node_id]
        self._overdue.discard(node_id)
        self._observer.answered(self.roster.get(node_id, node_id))
        self.dead_actor = self.dead_actor or dead_actor(reply)
        if message_id not in self._unwanted:
            self._replies[message_id] = reply
        self._unwanted.discard(message_id)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes in the order of their partitions; unlike node ids, these are the same in every run."""
        if self.roster:
            return [node_id for node_id, partition_id in self.roster.items() if partition_id not in self._hidden]
        node_ids = list(self._grid.get_node_ids())
        self._observer.registered(len(node_ids))
        return node_ids

    def awaited(self, *, only_unwanted: bool = False) -> list[int]:
        """Return the partitions that `drain` waits for, or with `only_unwanted` those that `settle` waits for."""
        busy = {node for node, message_id in self._pending.items() if not only_unwanted or message_id in self._unwanted}
        return sorted(self.roster[node_id] for node_id in busy - self._overdue)

    @contextmanager
    def hiding(self, partition_ids: Collection[int]) -> Iterator[None]:
        """Hide clients from `get_node_ids` for a block, so that a strategy selects from the others."""
        self._hidden = partition_ids
        try:
            yield
        finally:
            self._hidden = ()

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        """Send messages and return all replies that arrive in time; for strategies that use the Grid themselves.

        As with Flower's Grid, there is no reply for a node that cannot be asked or answers too late. These messages are
        not part of a round: no quorum ends the wait, no guard reads the replies, and no record mentions them.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        replies = []
        for message_id in self._send_all(messages, deadline):
            if (reply := self.await_reply(message_id, deadline)) is not None:
                replies.append(reply)
            else:
                self.give_up(message_id)
        return replies

    def _send_all(self, messages: Iterable[Message], deadline: float) -> list[str]:
        message_ids = []
        for message in messages:
            try:
                message_ids.append(self.send(message, deadline))
            except DeliveryError as error:
                _LOG.warning("node %d was not asked: it %s", message.metadata.dst_node_id, error)
        return message_ids

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages to nodes that are not busy; for strategies that use the Grid themselves."""
        return [self.send(message, time.monotonic()) for message in messages]

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have arrived; for strategies that use the Grid themselves."""
        self._poll()
        return [self._replies.pop(message_id) for message_id in message_ids if message_id in self._replies]

    def set_run(self, run: Run) -> None:
        """Set the run, as in Flower's Grid."""
        self._grid.set_run(run)

    @property
    def run(self) -> Run:
        """The run, as in Flower's Grid."""
        return self._grid.run

    def create_message(
        self, content: RecordDict, message_type: str, dst_node_id: int, group_id: str, ttl: float | None = None
    ) -> Message:
        """Create a message, as in Flower's Grid."""
        return self._grid.create_message(content, message_type, dst_node_id, group_id, ttl)
