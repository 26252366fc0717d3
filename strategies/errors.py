"""What can go wrong between the server and its clients, one class per kind."""

from collections.abc import Iterable

from fedmeta_flwr.records.drops import Drop, DropReason


class StrategyError(ValueError):
    """A strategy, or a combination of one with the federation, that cannot work; says why."""


class RegistrationError(RuntimeError):
    """A federation whose clients are not the expected ones; says which are missing or too many."""


class DeliveryError(RuntimeError):
    """A message that cannot be sent to its node now; says why."""


class RejectedReplyError(ValueError):
    """A reply that does not count; the text is the detail that the round's record gives.

    Attributes
    ----------
    reason : DropReason
        Which of the record's reasons it is.
    """

    def __init__(self, detail: str = "", reason: DropReason = DropReason.FAILED) -> None:
        self.reason = reason
        super().__init__(detail)


class QuorumError(RuntimeError):
    """A round that cannot get enough updates.

    Attributes
    ----------
    server_round, quorum : int
        Which round, and how many updates it needed.
    answered : tuple of int
        Partitions whose updates would have been aggregated.
    dropped : tuple of Drop
        The clients that fell out.
    awaited : tuple of int
        Partitions that had not answered yet.
    """

    def __init__(
        self,
        problem: str,
        *,
        server_round: int,
        quorum: int,
        answered: Iterable[int],
        dropped: Iterable[Drop],
        awaited: Iterable[int],
    ) -> None:
        self.server_round = server_round
        self.quorum = quorum
        self.answered = tuple(answered)
        self.dropped = tuple(dropped)
        self.awaited = tuple(awaited)
        fallen = "; ".join(f"{drop.partition_id} {drop.describe()}" for drop in self.dropped)
        super().__init__(
            f"round {server_round}: {problem}: expected updates of {quorum} clients, found {len(self.answered)} "
            f"(answered: {_listed(self.answered)}; fell out: {fallen or 'none'}; awaited: {_listed(self.awaited)})"
        )


class DeadActorError(RuntimeError):
    """A simulation of which a process has died.

    Flower hands a dead process on as a free one, which fails every message it is given at once.
    """

    def __init__(self, server_round: int, reason: str) -> None:
        super().__init__(
            f"round {server_round}: a process of the simulation has died, and Flower cannot replace it; the run ends "
            f"here and can go on from its last checkpoint: {reason}"
        )


def _listed(partitions: tuple[int, ...]) -> str:
    return ", ".join(map(str, partitions)) or "none"
