"""Everything of Flower and Ray that this project uses without their documentation naming it.

`LOOKED_AT` says for which versions it is known to hold. `tests/unit/protocol/test_flower_private.py` fails first after
an upgrade, compares each entry with what is installed, and finds imports of private names elsewhere. One name stands
where it is used, because a subclass cannot do otherwise: `strategies.rules.server_side_clipping` calls
``_prepare_accounting`` of Flower's strategy for fixed clipping.
"""

from flwr.app import Message
from flwr.clientapp.typing import ClientAppCallable
from flwr.common.serde import message_to_proto
from flwr.proto.control_pb2 import ListRunsRequest, ListRunsResponse
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

__all__ = [
    "CLASS_MARK",
    "CLIENT_EXCEPTION",
    "DEAD_ACTOR",
    "LIST_RUNS_PATH",
    "LOOKED_AT",
    "PROTOBUF",
    "RAY_START",
    "SIMULATION_FAILED",
    "TEXT_MARK",
    "ClientAppCallable",
    "ListRunsRequest",
    "ListRunsResponse",
    "Run",
    "TaskIdentity",
    "default_ports",
    "message_to_proto",
    "overwrite_metadata",
]

LOOKED_AT = {"flwr": "1.41.0", "ray": "2.55.1"}
"""The versions with which all this was compared."""

# What an error says that comes instead of a reply.
CLIENT_EXCEPTION = "Exception ClientAppException occurred. Message: "
"""Stands before a client's own words in a simulation; before it comes a traceback (flwr/clientapp/client_app.py)."""
CLASS_MARK, TEXT_MARK = "<class ", ">:<'"
"""Around the class of an exception, which stands in front of its text (flwr/server/superlink/fleet/vce/vce_api.py)."""
DEAD_ACTOR = ("ray.exceptions.ActorDiedError", "ray.exceptions.ActorUnavailableError")
"""Classes of Ray's exceptions for a process of the simulation that is gone; Flower reports no kind of their own."""

# How `flwr ls` asks a SuperLink (flwr/cli/ls.py, flwr/supercore/control, flwr/superlink/routers/control).
LIST_RUNS_PATH = "/v1/control/list-runs"
PROTOBUF = "application/protobuf"

# What a run's log and status say (flwr/server/superlink/fleet/vce, flwr/simulation/app.py).
RAY_START = "ray.init("
"""Is in the traceback of a simulation that failed to start Ray."""
SIMULATION_FAILED = "Simulation failed with exception: "
"""Begins the details of a simulation that failed."""


def default_ports() -> tuple[int, ...]:
    """Return the ports that plain `flwr run` wants for its SuperLink, ascending (flwr/cli/constant.py)."""
    from flwr.cli.constant import LOCAL_CONTROL_API_PORT, LOCAL_SUPERLINK_HTTP_API_PORT  # takes half a second

    return tuple(sorted({int(LOCAL_CONTROL_API_PORT), int(LOCAL_SUPERLINK_HTTP_API_PORT)}))


def overwrite_metadata(message: Message, **values: object) -> None:
    """Set metadata of a message that Flower sets itself, such as ``message_id``: for a Grid that stands in for its own.

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
