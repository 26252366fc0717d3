"""The whole app in one process, without Ray: the real ServerApp, the real ClientApp, and a Grid between them.

``python -m integration.in_process_app SETTINGS.json`` with a complete run config; what it writes is what a simulation
of the same configuration writes, to the byte.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from unit.strategies.in_memory_grid import InMemoryGrid

from fedmeta_flwr import server_app
from fedmeta_flwr.client_app import app


def run(settings: dict[str, Any]) -> None:
    """Run the app to its end."""
    torch.set_num_threads(1)
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 7, 1
    server_app.main(in_memory_grid(settings), Context(7, 1, {}, RecordDict(), settings))


def in_memory_grid(settings: dict[str, Any]) -> InMemoryGrid:
    """Return a Grid whose nodes are the real ClientApp."""

    def client(partition: int, message: Message) -> Message:
        node = {"partition-id": partition, "num-partitions": settings["num-clients"]}
        return app(message, Context(7, partition, node, RecordDict(), settings))

    return InMemoryGrid(client, settings["num-clients"])


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
