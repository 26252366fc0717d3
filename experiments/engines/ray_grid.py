"""A Grid whose nodes are played by Ray actors, without Flower's SuperLink."""

import queue
import threading
from collections.abc import Iterable
from typing import Any

import ray
from flwr.app import Array, ArrayRecord, Message

from experiments.engines.answering import failure
from experiments.engines.local_grid import LocalGrid
from experiments.engines.nodes import Nodes
from experiments.engines.ray_actor import split
from strategies.transport.replies import dead_actor


class RayGrid(LocalGrid):
    """A Grid that gives each message to the next free actor, in the order in which messages are sent.

    A thread for each actor waits for its reply, so a message costs no polling. An actor that has died gets no more
    messages, except if it is the last one: then all messages fail with the reason.

    Parameters
    ----------
    nodes : Nodes
        All nodes of the run.
    """

    def __init__(self, nodes: Nodes) -> None:
        super().__init__(nodes)
        self._sent: queue.SimpleQueue[tuple[Message, Message, Any]] = queue.SimpleQueue()
        self._shared: tuple[dict[str, dict[str, Array]], Any] | None = None
        self._working = 0
        self._lock = threading.Lock()

    def employ(self, actors: Iterable[Any]) -> None:
        """Let more actors answer."""
        for actor in actors:
            with self._lock:
                self._working += 1
            threading.Thread(target=self._serve, args=(actor,), name="actor", daemon=True).start()

    def fail(self, error: Exception) -> None:
        """Answer all messages with an error, unless there is an actor that can."""
        with self._lock:
            if self._working:
                return
        threading.Thread(target=self._refuse, args=(error,), name="no actor", daemon=True).start()

    def _refuse(self, error: Exception) -> None:
        while True:
            message, *_ = self._sent.get()
            self.file_reply(message, failure(message, error))

    def carry(self, message: Message) -> None:
        """Queue a message. A server sends the same arrays to all clients, so they go to Ray's store only once."""
        rest, arrays = split(message)
        self._sent.put((message, rest, self._store(arrays)))

    def _store(self, arrays: dict[str, ArrayRecord]) -> Any:
        content = {name: dict(record) for name, record in arrays.items()}
        if self._shared is None or not _are_same(self._shared[0], content):
            self._shared = content, ray.put(arrays)
        return self._shared[1]

    def _serve(self, actor: Any) -> None:
        is_working = True
        while is_working:
            message, rest, arrays = self._sent.get()
            reply = self._ask(actor, message, rest, arrays)
            is_working = dead_actor(reply) is None or not self._may_leave()
            self.file_reply(message, reply)

    def _ask(self, actor: Any, message: Message, rest: Message, arrays: Any) -> Message:
        node_id = message.metadata.dst_node_id
        reply: Message
        try:
            reply, state = ray.get(actor.answer.remote(rest, arrays, self.nodes.state(node_id)))
        except Exception as error:
            return failure(message, error)
        if state is not None:
            self.nodes.remember(node_id, state)
        return reply

    def _may_leave(self) -> bool:
        with self._lock:
            is_last = self._working == 1
            self._working -= not is_last
            return not is_last


def _are_same(first: dict[str, dict[str, Array]], second: dict[str, dict[str, Array]]) -> bool:
    """Return whether records hold the same objects under the same names; a record may be changed after it was sent."""
    return list(first) == list(second) and all(
        list(first[name]) == list(second[name])
        and all(one is other for one, other in zip(first[name].values(), second[name].values(), strict=True))
        for name in first
    )
