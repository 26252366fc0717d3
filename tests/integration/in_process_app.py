"""The whole app in one process, without Ray: the real ServerApp, the real ClientApp, and a Grid between them.

``python -m integration.in_process_app SETTINGS.json`` with a complete run config; what it writes is what a simulation
of the same configuration writes, to the byte.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from flwr.app import Context, Message, RecordDict
from flwr.supercore.task_identity import TaskIdentity
from unit.strategies.in_memory_grid import InMemoryGrid

from experiments.settings import APP_DIR
from fedmeta_flwr import server_app
from fedmeta_flwr.client_app import app
from fedmeta_flwr.results import RunResults


def run(settings: dict[str, Any]) -> None:
    """Run the app to its end."""
    torch.set_num_threads(1)
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 7, 1

    def client(partition: int, message: Message) -> Message:
        node = {"partition-id": partition, "num-partitions": settings["num-clients"]}
        return app(message, Context(7, partition, node, RecordDict(), settings))

    grid = InMemoryGrid(client, settings["num-clients"])
    server_app.main(grid, Context(7, 1, {}, RecordDict(), settings))


def command(settings_file: Path) -> list[str]:
    """Return the command of a run in a process of its own."""
    return [sys.executable, "-W", "ignore", "-m", "integration.in_process_app", str(settings_file)]


def environment() -> dict[str, str]:
    """Return the environment in which `command` finds the project and its tests."""
    return {**os.environ, "PYTHONPATH": f"{APP_DIR}{os.pathsep}{APP_DIR / 'tests'}"}


def run_in_process(settings: Mapping[str, Any]) -> None:
    """Run the app to its end in a process of its own.

    Raises
    ------
    subprocess.CalledProcessError
        If it does not end with 0.
    """
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "settings.json")
        file.write_text(json.dumps(dict(settings)), encoding="utf-8")
        subprocess.run(command(file), env=environment(), cwd=APP_DIR, check=True, capture_output=True)


def without_times(results: RunResults) -> list[Any]:
    """Return all records but for what the wall clock and the folder put into them."""
    rounds = [{**vars(record), "seconds": None} for record in results.rounds]
    assert results.end is not None
    return [results.run["split"], results.run["dataset"], *rounds, results.end["model_digest"]]


if __name__ == "__main__":
    run(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
