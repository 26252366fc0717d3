"""The whole app in this process, without Ray: the real ServerApp, and the real ClientApp called in place.

A breakpoint stops in the server and in every client, and a run is one function call: for a debugger, for tests, and as
the unit of a sweep.
"""

import copy
from collections.abc import Mapping
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from experiments.engines.answering import answer
from experiments.engines.local_grid import LocalGrid
from experiments.engines.nodes import Nodes
from fedmeta_flwr.apps.client import app as client_app
from fedmeta_flwr.apps.server import app as server_app
from fedmeta_flwr.learning import pin_threads
from fedmeta_flwr.protocol.flower_private import SUPERLINK_NODE_ID, as_server_task


class InlineGrid(LocalGrid):
    """A Grid that answers each message before `push_messages` returns.

    Parameters
    ----------
    nodes : Nodes
        All nodes of the run.
    app : ClientApp
        Answers for every node.
    """

    def __init__(self, nodes: Nodes, app: ClientApp = client_app) -> None:
        super().__init__(nodes)
        self._app = app

    def carry(self, message: Message) -> None:
        """Let the node answer. It gets copies: what a client changes must not reach the server or the next client."""
        node_id = message.metadata.dst_node_id
        context = self.nodes.context(node_id, copy.deepcopy(self.nodes.state(node_id)))
        reply = answer(self._app, copy.deepcopy(message), context)
        if not reply.has_error():
            self.nodes.remember(node_id, context.state)
        self.file_reply(message, reply)


def run_inline(settings: Mapping[str, Any], run_id: int = 1, grid: Grid | None = None) -> None:
    """Run the app to its end in this process, which computes on one thread from then on.

    Parameters
    ----------
    settings : mapping
        A complete run config, as `RunConfig.to_run_config` returns it.
    run_id : int
        Identifies the run in the file that says why it failed, if it fails.
    grid : Grid, optional
        Carries the messages; None: an `InlineGrid` of the run's clients.

    Raises
    ------
    Exception
        Whatever ends the run. As with every engine, the reason is also in the run's folder (`read_failure`).
    """
    pin_threads()
    with as_server_task(run_id):
        grid = grid or InlineGrid(Nodes(settings["num-clients"], run_id, settings))
        server_app(grid, Context(run_id, SUPERLINK_NODE_ID, {}, RecordDict(), dict(settings)))
