"""The registration: which node holds which partition.

Nodes register while the server starts, with ids that differ from run to run. A round must not begin before all nodes
have registered, and everything that is recorded or seeded is identified by partition.
"""

import logging
import time

from fedmeta_flwr.protocol import messages
from strategies.errors import DeliveryError, RegistrationError
from strategies.transport.grid import ArrivalGrid
from strategies.transport.replies import failure_reason

_LOG = logging.getLogger("flwr.registration")
_LOG_EVERY_SECONDS = 5.0
_REGISTRATION_POLL_SECONDS = 0.05


def register_nodes(grid: ArrivalGrid, num_clients: int, registered_by: float, deadline: float) -> dict[int, int]:
    """Wait for all nodes and ask each for its partition.

    Parameters
    ----------
    grid : ArrivalGrid
        Where the nodes register.
    num_clients : int
        How many are expected.
    registered_by, deadline : float
        Times of `time.monotonic` at which the wait for nodes and the wait for their answers end.

    Returns
    -------
    dict
        Node id to partition id (0 to num_clients - 1), in the order of partitions.

    Raises
    ------
    RegistrationError
        If there are fewer or more nodes than expected, one does not answer, or the partitions are not the expected
        ones.
    """
    node_ids = _registered(grid, num_clients, registered_by)
    questions = {node_id: _ask(grid, node_id, deadline) for node_id in node_ids}
    answers = {node_id: _answer(grid, node_id, question, deadline) for node_id, question in questions.items()}
    found = sorted(answers.values())
    if found != list(range(num_clients)):
        raise RegistrationError(
            f"registration: expected the partitions 0 to {num_clients - 1} once each, found {found}"
        )
    return dict(sorted(answers.items(), key=lambda entry: entry[1]))


def _registered(grid: ArrivalGrid, num_clients: int, deadline: float) -> list[int]:
    next_log = time.monotonic()
    while len(node_ids := sorted(grid.get_node_ids())) < num_clients:
        if time.monotonic() >= deadline:
            raise RegistrationError(
                f"registration: expected {num_clients} nodes (num-clients), found {len(node_ids)} registered in time; "
                f"for a simulation: flwr run . --federation-config 'num-supernodes={num_clients} "
                f"client-resources-num-cpus=1 init-args-num-cpus={num_clients}'"
            )
        if time.monotonic() >= next_log:
            _LOG.info("registration: waiting for nodes, %d of %d registered", len(node_ids), num_clients)
            next_log += _LOG_EVERY_SECONDS
        time.sleep(_REGISTRATION_POLL_SECONDS)
    if len(node_ids) > num_clients:
        raise RegistrationError(
            f"registration: expected {num_clients} nodes (num-clients), found {len(node_ids)}; "
            f"set num-clients or the federation's num-supernodes"
        )
    return node_ids


def _ask(grid: ArrivalGrid, node_id: int, deadline: float) -> str:
    try:
        return grid.send(messages.registration(node_id), deadline)
    except DeliveryError as error:
        raise RegistrationError(f"registration: node {node_id}: {error}") from error


def _answer(grid: ArrivalGrid, node_id: int, question: str, deadline: float) -> int:
    reply = grid.await_reply(question, deadline)
    if reply is None:
        raise RegistrationError(f"registration: expected an answer of node {node_id}, found none in time")
    if reply.has_error():
        raise RegistrationError(f"registration: node {node_id} failed: {failure_reason(reply)}")
    try:
        return messages.registered_partition(reply)
    except (KeyError, ValueError) as error:
        raise RegistrationError(
            f"registration: node {node_id}: expected its partition id, found none ({error})"
        ) from error
