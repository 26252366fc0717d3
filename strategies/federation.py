"""A run's federation: its size, its quorum, and how updates count."""

from dataclasses import dataclass

from strategies.errors import StrategyError


@dataclass(frozen=True)
class Abstainers:
    """Partitions of clients that may abstain.

    Attributes
    ----------
    training : frozenset of int
        May abstain from a round of training.
    evaluation : frozenset of int
        Never evaluate.
    """

    training: frozenset[int] = frozenset()
    evaluation: frozenset[int] = frozenset()


NOBODY = Abstainers()


@dataclass(frozen=True, kw_only=True)
class Federation:
    """How many clients there are, and how many updates complete a round.

    Attributes
    ----------
    num_clients : int
        Number of nodes; their partitions must be 0 to num_clients - 1.
    quorum : int
        Number of updates after which a round aggregates, 1 to num_clients.
    late_updates : "drop" or "next-round"
        What happens to an update after the quorum. "drop": it is discarded. "next-round": it counts in the round in
        which it arrives; its difference to the arrays that it started from is added to the current ones.
    weighting : "uniform" or "num-examples"
        Weight of an update in a weighted average: 1, or what the client claims (which an adversary can inflate).
    abstainers : Abstainers
        Clients that may abstain. The quorum must be reachable without them, and a strategy that selects some clients
        to evaluate selects none of those that never evaluate.
    tolerated_adversaries : int or None
        How many adversaries a server rule must tolerate, 0 or above; None: not specified.

    Raises
    ------
    StrategyError
        If a value is not admitted. `strategies.rules.feasibility` checks the values against the strategy.
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
        """Whether a late update counts in the round in which it arrives."""
        return self.late_updates == "next-round"


def _require_choice(name: str, found: str, choices: tuple[str, ...]) -> None:
    if found not in choices:
        raise StrategyError(f"{name}: expected one of {', '.join(choices)}, found {found!r}")
