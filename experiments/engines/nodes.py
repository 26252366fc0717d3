"""The nodes of a federation in one table: which partition each holds, and what it remembers between messages."""

from collections.abc import Mapping
from typing import Any

from flwr.app import Context, RecordDict

from fedmeta_flwr.protocol import PARTITION_ID
from fedmeta_flwr.protocol.flower_private import NUM_PARTITIONS_KEY, SUPERLINK_NODE_ID

_FIRST_NODE_ID = SUPERLINK_NODE_ID + 1


class Nodes:
    """All nodes of a run, as Flower's simulation would register them, but with known ids.

    Parameters
    ----------
    num_nodes : int
        From 1; there is one for each partition.
    run_id : int
        The id of the run.
    run_config : mapping
        What every node is told of the run.
    """

    def __init__(self, num_nodes: int, run_id: int, run_config: Mapping[str, Any]) -> None:
        self.run_id = run_id
        self.run_config = dict(run_config)
        self._states = {_FIRST_NODE_ID + partition_id: RecordDict() for partition_id in range(num_nodes)}

    def ids(self) -> list[int]:
        """Return the ids of all nodes, in the order of partitions."""
        return list(self._states)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._states

    def state(self, node_id: int) -> RecordDict:
        """Return what a node remembers (`Context.state`)."""
        return self._states[node_id]

    def remember(self, node_id: int, state: RecordDict) -> None:
        """Replace what a node remembers, after it has answered."""
        self._states[node_id] = state

    def context(self, node_id: int, state: RecordDict) -> Context:
        """Return the context in which a node answers, with a state that it may change."""
        return make_context(self.run_id, node_id, len(self._states), self.run_config, state)


def make_context(
    run_id: int, node_id: int, num_nodes: int, run_config: Mapping[str, Any], state: RecordDict
) -> Context:
    """Return the context of a node of `Nodes`."""
    node_config: dict[str, Any] = {PARTITION_ID: node_id - _FIRST_NODE_ID, NUM_PARTITIONS_KEY: num_nodes}
    return Context(run_id, node_id, node_config, state, dict(run_config))
