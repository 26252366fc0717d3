"""Base class of server rules, which aggregate the updates of a round into new global arrays.

A rule sees the arrays of each update and those that it started from, so that the difference of a late update is to the
right model. `strategies.FirstArrivals` does the rest: it asks all clients, gathers the quorum, checks replies, and
saves checkpoints.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedmeta_flwr.protocol import Arrays, Metrics

ServerUpdate = Callable[[Arrays], Arrays]
"""Trains global arrays on the server's clean data, and returns arrays in the same form."""


@dataclass(frozen=True)
class ClientUpdate:
    """A client's update of the global arrays that it was sent.

    Attributes
    ----------
    partition_id : int
        The client.
    arrays : dict of str to np.ndarray
        Its local model, with the names, order, shapes and dtypes of the global arrays; finite numbers. Read-only.
    sent : dict of str to np.ndarray
        The global arrays that it started from. Read-only.
    weight : float
        Its weight in a weighted average: 1, or with ``weighting = "num-examples"`` the number that it claims.
    metrics : Mapping
        As the client reported them, including ``num-examples``: names to numbers or lists of numbers.
    sent_in_round : int
        The federation's round in which it was asked.
    is_late : bool
        Whether that is an earlier round than the current one.
    """

    partition_id: int
    arrays: Arrays
    sent: Arrays
    weight: float
    metrics: Metrics
    sent_in_round: int
    is_late: bool

    def difference(self) -> Arrays:
        """Return the client's arrays minus those that it started from, in float64."""
        return {name: array.astype(np.float64) - self.sent[name] for name, array in self.arrays.items()}

    def moved_to(self, current: Arrays) -> Arrays:
        """Return the current global arrays plus the difference of a late update; for other updates, their arrays.

        Rules that average models instead of differences must use these, or an old model gets into the new one.
        """
        return moved(self.arrays, self.sent, current) if self.is_late else self.arrays


@dataclass(frozen=True)
class RuleContext:
    """What a rule knows besides the updates.

    Attributes
    ----------
    server_round : int
        The federation's round, from 1, as in `ClientUpdate.sent_in_round`. If the rule's state begins with its own
        first round, the rule must count its rounds itself.
    arrays : dict of str to np.ndarray
        The current global arrays. Read-only.
    quorum : int
        Number of updates that the rule is given in each round.
    num_clients : int
        Number of clients of the federation.
    tolerated_adversaries : int or None
        How many adversaries the rule must tolerate; None if the run does not specify it.
    rng : np.random.Generator
        For the rule's draws; the same for the same seed and round.
    server_update : callable or None
        Trains global arrays on the server's clean data, for rules that need it; None if the run does not offer it.
    """

    server_round: int
    arrays: Arrays
    quorum: int
    num_clients: int
    tolerated_adversaries: int | None
    rng: np.random.Generator
    server_update: ServerUpdate | None = None

    def plus(self, difference: Arrays) -> Arrays:
        """Return the current global arrays plus a difference, in float64: for rules that aggregate differences."""
        return {name: array.astype(np.float64) + difference[name] for name, array in self.arrays.items()}


class ServerRule(ABC):
    """Aggregates the updates of a round; the base class of custom rules.

    Options are arguments of the constructor. Attributes are the rule's state. A checkpoint saves them if they are
    numbers, texts, arrays or containers of these; otherwise, define ``state_dict`` and ``load_state_dict``.
    """

    @abstractmethod
    def aggregate(self, updates: Sequence[ClientUpdate], context: RuleContext) -> Arrays:
        """Return the new global arrays.

        Parameters
        ----------
        updates : sequence of ClientUpdate
            As many as the quorum, each of another client, in the order of partitions, so that sums of floats do not
            depend on the order of arrival.
        context : RuleContext
            The current global arrays, and what else the rule knows.

        Returns
        -------
        dict of str to np.ndarray
            Finite numbers, with the names and shapes of ``context.arrays``; they are rounded to its dtypes. Anything
            else, and any exception, ends the run with a `StrategyError` that names the rule and the round.
        """

    def require_feasible(  # noqa: B027 (most rules aggregate any number)
        self, quorum: int, tolerated_adversaries: int | None
    ) -> None:
        """Check, before the first message, that the rule can aggregate `quorum` updates.

        Raises
        ------
        ValueError
            If it cannot; the message says what was expected and what was found.
        """


def moved(found: Arrays, sent: Arrays, current: Arrays) -> Arrays:
    """Return the current arrays plus the difference of an update to the arrays that were sent, computed in float64."""
    return {
        name: (current[name] + (array.astype(np.float64) - sent[name])).astype(array.dtype)
        for name, array in found.items()
    }
