"""One round of evaluation: ask every selected client and wait for all replies; or let the server evaluate."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from flwr.app import ArrayRecord, Message, MetricRecord
from flwr.serverapp.strategy import Result

from fedmeta_flwr.records import ClientEvaluation, Drop, DropReason
from strategies import round_log
from strategies.errors import DeliveryError, RejectedReplyError
from strategies.transport.grid import ArrivalGrid
from strategies.update_guard import UpdateGuard

EvaluateFn = Callable[[int, ArrayRecord], MetricRecord | None]
"""Round and global arrays to metrics, as in Flower's `Strategy.start`."""


@dataclass
class EvaluationRound:
    """Gather the counts of one evaluation.

    Parameters
    ----------
    grid : ArrivalGrid
        Carries the messages.
    instructions : dict
        Partition id to instruction.
    timeout_seconds : float
        Longest wait for a client's reply, from when it is asked.
    guard : UpdateGuard
        Reads the replies.

    Attributes
    ----------
    replies : list of Message
        Valid replies, in the order of partitions.
    evaluations : list of ClientEvaluation
        The counts of each of them.
    dropped : list of Drop
        The clients that failed. An abstention leaves no trace.
    """

    grid: ArrivalGrid
    instructions: dict[int, Message]
    timeout_seconds: float
    guard: UpdateGuard
    replies: list[Message] = field(default_factory=list)
    evaluations: list[ClientEvaluation] = field(default_factory=list)
    dropped: list[Drop] = field(default_factory=list)

    def run(self) -> None:
        """Ask all clients, starting with those that are free, then read the replies."""
        sent: dict[int, tuple[str, float]] = {}
        for partition_id in sorted(
            self.instructions, key=lambda partition_id: (self._is_busy(partition_id), partition_id)
        ):
            try:
                message_id = self.grid.send(self.instructions[partition_id], self._deadline())
            except DeliveryError as error:
                self._fail(partition_id, str(error))
            else:
                sent[partition_id] = message_id, self._deadline()
        for partition_id in sorted(sent):
            self._read(partition_id, *sent[partition_id])

    def _deadline(self) -> float:
        return time.monotonic() + self.timeout_seconds

    def _is_busy(self, partition_id: int) -> bool:
        return self.grid.is_busy(self.instructions[partition_id].metadata.dst_node_id)

    def _read(self, partition_id: int, message_id: str, deadline: float) -> None:
        reply = self.grid.await_reply(message_id, deadline)
        if reply is None:
            self.grid.give_up(message_id)
            self._fail(partition_id, "no reply in time")
            return
        try:
            self.evaluations.append(self.guard.read_evaluation(partition_id, reply, self.instructions[partition_id]))
            self.replies.append(reply)
        except RejectedReplyError as error:
            if error.reason is not DropReason.ABSTAINED:
                self._fail(partition_id, str(error))

    def _fail(self, partition_id: int, detail: str) -> None:
        self.dropped.append(Drop(partition_id, DropReason.FAILED, detail, in_evaluation=True))


def evaluate_on_server(number: int, arrays: ArrayRecord, evaluate_fn: EvaluateFn | None, result: Result) -> None:
    """Let the server evaluate the global arrays if it has a function for it, and add what it found to the result."""
    if evaluate_fn is not None:
        metrics = evaluate_fn(number, arrays)
        round_log.log_server_evaluation(number, metrics)
        if metrics is not None:
            result.evaluate_metrics_serverapp[number] = metrics
