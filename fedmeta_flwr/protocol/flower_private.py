"""All undocumented parts of Flower and Ray that this project uses.

They are known to be correct for `CHECKED_VERSIONS`. `tests/unit/protocol/test_flower_private.py` fails first after an
upgrade: it compares each entry with the installed packages, and finds imports of private names elsewhere. One private
name is used elsewhere, because only a subclass can use it: `strategies.rules.server_side_clipping` calls
``_prepare_accounting`` of Flower's strategy for fixed clipping.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from flwr.app import Message
from flwr.clientapp.client_app import ClientAppException
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.constant import NUM_PARTITIONS_KEY, SUPERLINK_NODE_ID, ErrorCode
from flwr.common.serde import message_to_proto
from flwr.proto.control_pb2 import ListRunsRequest, ListRunsResponse
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "CHECKED_VERSIONS",
    "CLASS_MARK",
    "CLIENT_EXCEPTION",
    "DEAD_ACTOR",
    "LIST_RUNS_PATH",
    "NUM_PARTITIONS_KEY",
    "PROTOBUF",
    "SIMULATION_FAILED",
    "SUPERLINK_NODE_ID",
    "TEXT_MARK",
    "UV_RUN",
    "ClientAppCallable",
    "ClientAppException",
    "ErrorCode",
    "ListRunsRequest",
    "ListRunsResponse",
    "Run",
    "TaskIdentity",
    "as_server_task",
    "default_ports",
    "message_to_proto",
    "overwrite_metadata",
    "ray_settings",
]

CHECKED_VERSIONS = {"flwr": "1.42.0", "ray": "2.55.1"}
"""The versions with which this module was compared."""

# Texts in an error that Flower sends instead of a reply.
CLIENT_EXCEPTION = "Exception ClientAppException occurred. Message: "
"""In a simulation, after a traceback and before the client's message (flwr/clientapp/client_app.py)."""
CLASS_MARK, TEXT_MARK = "<class ", ">:<'"
"""Before and after the class of an exception; its text follows (flwr/server/superlink/fleet/vce/vce_api.py)."""
DEAD_ACTOR = ("ray.exceptions.ActorDiedError", "ray.exceptions.ActorUnavailableError")
"""Ray's exceptions for a dead process of the simulation, for which Flower has no separate error code."""

# How `flwr ls` asks a SuperLink (flwr/cli/ls.py, flwr/supercore/control, flwr/superlink/routers/control).
LIST_RUNS_PATH = "/v1/control/list-runs"
PROTOBUF = "application/protobuf"

UV_RUN = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
"""Environment variable, and the constant that Ray makes of it (ray/_private/ray_constants.py); see `ray_settings`."""

# A text in a run's status (flwr/simulation/app.py).
SIMULATION_FAILED = "Simulation failed with exception: "
"""At the beginning of the details of a failed simulation."""


def default_ports() -> tuple[int, ...]:
    """Return the ports that plain `flwr run` uses for its SuperLink, ascending (flwr/cli/constant.py)."""
    from flwr.cli.constant import LOCAL_CONTROL_API_PORT, LOCAL_SUPERLINK_HTTP_API_PORT  # takes half a second

    return tuple(sorted({int(LOCAL_CONTROL_API_PORT), int(LOCAL_SUPERLINK_HTTP_API_PORT)}))


@contextmanager
def ray_settings(*, one_machine: bool) -> Iterator[None]:
    """Initialise Ray in this process with settings that it reads from the environment only when it is imported.

    Without the first, after ``uv run`` Ray would start its processes by that command, in a copy of the current folder
    (ray/_private/worker.py). With the second, it connects to a Ray that listens on 127.0.0.1 only; otherwise it
    replaces that address by the machine's other one (ray/_private/services.py).
    """
    from ray._private import ray_constants  # takes a second

    changes = {UV_RUN: False} | ({"ENABLE_RAY_CLUSTER": False} if one_machine else {})
    before = {name: getattr(ray_constants, name) for name in changes}
    for name, value in changes.items():
        setattr(ray_constants, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(ray_constants, name, value)


@contextmanager
def as_server_task(run_id: int) -> Iterator[None]:
    """Let this process send messages as the server of a run; Flower sets this identity when it starts an app."""
    known = vars(TaskIdentity).copy()
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, run_id, SUPERLINK_NODE_ID
    try:
        yield
    finally:
        for name in ("_task_id", "_run_id", "_node_id"):
            setattr(TaskIdentity, name, known[name])


def overwrite_metadata(message: Message, **values: object) -> None:
    """Set metadata that normally Flower sets, such as ``message_id``, in a message of a Grid that replaces Flower's.

    Raises
    ------
    AttributeError
        If a message has no such metadata.
    """
    fields = vars(message.metadata)
    for name, value in values.items():
        if f"_{name}" not in fields:
            raise AttributeError(f"metadata of a message: expected one of {', '.join(sorted(fields))}, found _{name}")
        fields[f"_{name}"] = value
