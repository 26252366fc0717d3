"""What a run says of its federation: its size, its quorum, and how updates count."""

from dataclasses import dataclass

from strategies.errors import StrategyError


@dataclass(frozen=True)
class Abstainers:
    """Clients that may take no part, by partition.

    Attributes
    ----------
    training : frozenset of int
        Those that may abstain from a round of training.
    evaluation : frozenset of int
        Those that never evaluate.
    """

    training: frozenset[int] = frozenset()
    evaluation: frozenset[int] = frozenset()


NOBODY = Abstainers()


@dataclass(frozen=True, kw_only=True)
class Federation:
    """How many clients there are, and how many of their updates make a round.

    Attributes
    ----------
    num_clients : int
        Nodes of the federation; their partitions must be 0 to num_clients - 1.
    quorum : int
        Updates after which a round's aggregation takes place, 1 to num_clients.
    late_updates : "drop" or "next-round"
        Whether an update after the quorum is thrown away, or counts as an arrival in the round in which it comes: as
        the difference to the arrays that it started from, added to the current ones.
    weighting : "uniform" or "num-examples"
        Weight of an update where the strategy weighs: 1, or what the client claims (which an adversary can inflate).
    abstainers : Abstainers
        Clients that may take no part: a quorum must be met without them, and they are not among those from which some
        are selected to evaluate.
    tolerated_adversaries : int or None
        How many adversaries a server rule is to tolerate, 0 or above; None: the run does not say.

    Raises
    ------
    StrategyError
        If one of the values is none of those that it can have; `strategies.rules.feasibility` checks them together
        with the strategy.
    """

    num_clients: int
    quorum: int
    late_updates: str = "drop"
    weighting: str = "uniform"
    abstainers: Abstainers = NOBODY
    tolerated_adversaries: int | None = None

    def __post_init__(self) -> None:
        _require_choice("late_updates", self.late_updates, ("drop", "next-round"))
        _require_choice("weighting", self.weighting, ("uniform", "num-examples"))
        if self.tolerated_adversaries is not None and self.tolerated_adversaries < 0:
            raise StrategyError(f"tolerated_adversaries: expected 0 or above, found {self.tolerated_adversaries}")

    @property
    def takes_late(self) -> bool:
        """Whether an update of an earlier round counts in the round in which it arrives."""
        return self.late_updates == "next-round"


def _require_choice(name: str, found: str, choices: tuple[str, ...]) -> None:
    if found not in choices:
        raise StrategyError(f"{name}: expected one of {', '.join(choices)}, found {found!r}")
