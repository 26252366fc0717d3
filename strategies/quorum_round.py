"""One round of training: who is asked, whose update counts, and when the round is complete.

A client has at most one pending request. A free client is asked at the start of the round; while a request of an
earlier round is pending, the client's instruction is held back. If the clients already asked cannot complete the quorum
(some abstained or failed), the others are asked in the order in which they become free.
"""

import itertools
import time
from dataclasses import dataclass, field

from flwr.app import Message

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.records import Arrival, Drop, DropReason
from strategies.errors import DeliveryError, QuorumError, RejectedReplyError
from strategies.federation import Federation
from strategies.received_update import ReceivedUpdate
from strategies.transport.grid import ArrivalGrid
from strategies.transport.pending import Clock, DecodedArrays, PendingRequest
from strategies.update_guard import UpdateGuard


@dataclass(kw_only=True)
class QuorumRound:
    """Gather the first `quorum` updates of one round.

    Parameters
    ----------
    grid : ArrivalGrid
        Carries the messages.
    clock : Clock
        Gives the order of arrival.
    pending : dict
        Partition id to pending request, from earlier rounds; changed in place, for the rounds after this one.
    federation : Federation
        Says how many updates complete the round, and whether late ones count.
    server_round : int
        From 1.
    held : dict
        Partition id to instruction, for every client that the strategy selected.
    timeout_seconds : float
        Longest wait for a client's reply, from when it is asked. A client that has not answered by then is dropped;
        the round goes on as long as its quorum can be reached.
    guard : UpdateGuard
        Reads the replies.

    Attributes
    ----------
    received : dict
        Partition id to `ReceivedUpdate`, in the order of arrival.
    dropped : list of Drop
        Every selected client whose update does not count.
    """

    grid: ArrivalGrid
    clock: Clock
    pending: dict[int, PendingRequest]
    federation: Federation
    server_round: int
    held: dict[int, Message]
    timeout_seconds: float
    guard: UpdateGuard
    received: dict[int, ReceivedUpdate] = field(default_factory=dict)
    dropped: list[Drop] = field(default_factory=list)
    _expected: int = 0  # pending requests whose updates would count
    _freed: dict[int, None] = field(default_factory=dict)  # held back until their earlier reply arrived, in this order
    _began: float | None = None
    _decoded: DecodedArrays = field(default_factory=DecodedArrays)

    def run(self) -> None:
        """Ask the free clients and take what arrives until the quorum is complete.

        Raises
        ------
        QuorumError
            If the quorum can no longer be reached.
        """
        self._expected = len(self.pending) if self.federation.takes_late else 0
        free = [partition_id for partition_id in sorted(self.held) if partition_id not in self.pending]
        while self._missing() > len(free) + len(self._freed) and self.pending:
            self._take_next()  # too few clients are free to begin
        self._began = self.clock.now()
        self._ask([*free, *self._freed])
        self._freed.clear()
        while len(self.received) < self.federation.quorum:
            self._recruit()
            self._take_next()
        self._drop_the_rest()

    def _missing(self) -> int:
        """Return how many updates are missing even if all expected ones arrive."""
        return self.federation.quorum - len(self.received) - self._expected

    def _ask(self, partition_ids: list[int]) -> None:
        """Send instructions, first to nodes that are not busy."""
        for partition_id in sorted(partition_ids, key=self._is_busy):
            instruction = self.held.pop(partition_id)
            try:
                message_id = self.grid.send(instruction, time.monotonic() + self.timeout_seconds)
            except DeliveryError as error:
                self._drop(partition_id, DropReason.FAILED, str(error))
                continue
            deadline = time.monotonic() + self.timeout_seconds
            sent = self._decoded.of(instruction)
            request = PendingRequest(partition_id, self.server_round, message_id, deadline, instruction, sent)
            self.pending[partition_id] = request
            self.clock.add(request)
            self._expected += 1

    def _is_busy(self, partition_id: int) -> bool:
        return self.grid.is_busy(self.held[partition_id].metadata.dst_node_id)

    def _recruit(self) -> None:
        """Ask held-back clients if updates are missing; raise `QuorumError` if nobody is left to ask."""
        while (missing := self._missing()) > 0 and self._freed:
            chosen = list(itertools.islice(self._freed, missing))
            for partition_id in chosen:
                del self._freed[partition_id]
            self._ask(chosen)
        if missing > 0 and not any(partition_id in self.pending for partition_id in self.held):
            raise self._failure("the quorum cannot be reached any more")

    def _take_next(self) -> None:
        """Take the next arrival from the clock and read its reply."""
        request = self.clock.next_arrival()
        if request is None:
            raise self._failure("the quorum cannot be reached any more")
        if not self._counts(request):
            self.grid.discard(request.message_id)
            self._remove(request)
            return
        reply = self.grid.await_reply(request.message_id, request.deadline)
        self._remove(request)
        self._expected -= 1
        if reply is None:
            self.grid.give_up(request.message_id)
            self._drop_request(request, DropReason.FAILED, "no reply in time")
        else:
            self._judge(request, reply)

    def _counts(self, request: PendingRequest) -> bool:
        return self.federation.takes_late or self._is_fresh(request)

    def _is_fresh(self, request: PendingRequest) -> bool:
        return request.sent_in_round == self.server_round

    def _remove(self, request: PendingRequest) -> None:
        del self.pending[request.partition_id]
        if request.partition_id in self.held:
            self._freed[request.partition_id] = None

    def _judge(self, request: PendingRequest, reply: Message) -> None:
        try:
            update = self.guard.read_update(reply, request.instruction, request.sent, request.partition_id)
        except RejectedReplyError as error:
            self._drop_request(request, error.reason, str(error))
            return
        messages.remove_key(reply)
        # A client counts once per round: after a late update it is not asked again.
        self.held.pop(request.partition_id, None)
        self._freed.pop(request.partition_id, None)
        latency = 0.0 if self._began is None else self.clock.now() - self._began
        arrival = Arrival(
            partition_id=request.partition_id,
            sent_in_round=request.sent_in_round,
            latency_seconds=latency,
            update_norm=update.norm,
            metrics=update.metrics,
        )
        self.received[request.partition_id] = ReceivedUpdate(
            arrival, reply, request.sent, is_late=not self._is_fresh(request), key=update.key
        )

    def _drop(self, partition_id: int, reason: DropReason, detail: str = "") -> None:
        self.dropped.append(Drop(partition_id, reason, detail))

    def _drop_request(self, request: PendingRequest, reason: DropReason, detail: str) -> None:
        sent_in_round = None if self._is_fresh(request) else request.sent_in_round
        self.dropped.append(Drop(request.partition_id, reason, detail, sent_in_round))

    def _drop_the_rest(self) -> None:
        stragglers = [request.partition_id for request in self.pending.values() if self._is_fresh(request)]
        for partition_id in sorted(stragglers):
            self._drop(partition_id, DropReason.STRAGGLER)
        for partition_id in sorted(self.held):
            self._drop(partition_id, DropReason.BUSY)

    def _failure(self, problem: str) -> QuorumError:
        return QuorumError(
            problem,
            server_round=self.server_round,
            quorum=self.federation.quorum,
            answered=sorted(self.received),
            dropped=self.dropped,
            awaited=sorted(self.pending),
        )
