"""What can go wrong between the server and its clients, one class per kind."""

from collections.abc import Iterable

from fedmeta_flwr.records import Drop, DropReason


class StrategyError(ValueError):
    """A strategy that cannot work, or not with this federation; the message says why."""


class RegistrationError(RuntimeError):
    """The clients of a federation are not the expected ones; the message says what was found instead."""


class DeliveryError(RuntimeError):
    """A message cannot be sent to its node now; the message says why."""


class RejectedReplyError(ValueError):
    """A reply does not count; the text becomes the detail in the round's record.

    Attributes
    ----------
    reason : DropReason
        Why, as the record has it.
    """

    def __init__(self, detail: str = "", reason: DropReason = DropReason.FAILED) -> None:
        self.reason = reason
        super().__init__(detail)


class QuorumError(RuntimeError):
    """A round cannot get enough updates.

    Attributes
    ----------
    server_round, quorum : int
        The round, and the number of updates that it needed.
    answered : tuple of int
        Partitions whose updates would have been aggregated.
    dropped : tuple of Drop
        The clients that do not count.
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
        dropped_out = "; ".join(f"{drop.partition_id} {drop.describe()}" for drop in self.dropped)
        super().__init__(
            f"round {server_round}: {problem}: expected updates of {quorum} clients, found {len(self.answered)} "
            f"(answered: {_listed(self.answered)}; dropped: {dropped_out or 'none'}; awaited: {_listed(self.awaited)})"
        )


class DeadActorError(RuntimeError):
    """A process of the simulation has died.

    Flower treats a dead process as a free one; every message given to it fails at once.
    """

    def __init__(self, server_round: int, reason: str) -> None:
        super().__init__(
            f"round {server_round}: a process of the simulation has died, and Flower cannot replace it; the run ends "
            f"here and can be resumed from its last checkpoint: {reason}"
        )


def _listed(partitions: tuple[int, ...]) -> str:
    return ", ".join(map(str, partitions)) or "none"
