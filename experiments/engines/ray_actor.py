"""A process of Ray that answers for any node of a run."""

import copy
from collections.abc import Mapping
from typing import Any

from flwr.app import ArrayRecord, Message, RecordDict

from experiments.engines.answering import answer
from experiments.engines.app_parts import load_part
from experiments.engines.nodes import make_context


class ClientAppActor:
    """Answers messages with an app; what a node remembers comes with its message and goes back with its reply.

    Parameters
    ----------
    app : str
        The ClientApp, as ``module:attribute``.
    run_id, num_nodes : int
        The run and its number of nodes.
    run_config : mapping
        What every node is told of the run.
    """

    def __init__(self, app: str, run_id: int, num_nodes: int, run_config: Mapping[str, Any]) -> None:
        self._app = load_part(app)
        self._run_id = run_id
        self._num_nodes = num_nodes
        self._run_config = run_config

    def is_ready(self) -> bool:
        """Return true, once the app has been loaded."""
        return True

    def answer(
        self, message: Message, arrays: Mapping[str, ArrayRecord], state: RecordDict
    ) -> tuple[Message, RecordDict | None]:
        """Return a node's reply and what it remembers from now on; None if it raised, and remembers nothing new."""
        message = joined(message, arrays)
        context = make_context(
            self._run_id, message.metadata.dst_node_id, self._num_nodes, copy.deepcopy(self._run_config), state
        )
        reply = answer(self._app, message, context)
        return reply, None if reply.has_error() else context.state


def split(message: Message) -> tuple[Message, dict[str, ArrayRecord]]:
    """Return a message with empty records in place of its arrays, and the arrays, which many messages may share."""
    arrays = dict(message.content.array_records)
    rest = copy.copy(message)
    rest.content = RecordDict(
        {name: ArrayRecord() if name in arrays else record for name, record in message.content.items()}
    )
    return rest, arrays


def joined(message: Message, arrays: Mapping[str, ArrayRecord]) -> Message:
    """Undo `split`; the order of records is kept."""
    for name, record in arrays.items():
        message.content[name] = record
    return message
