"""What a server rule is: from the updates of a round to new global arrays.

A rule sees the arrays of each update beside those that it started from, so that a late update is a difference to the
right model. Around it, `strategies.FirstArrivals` asks all clients, gathers the quorum, checks replies, and keeps
checkpoints.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fedmeta_flwr.protocol.messages import Arrays, Metrics

ServerUpdate = Callable[[Arrays], Arrays]
"""From global arrays to what the server's own clean training makes of them, in the same form."""


@dataclass(frozen=True)
class ClientUpdate:
    """What a client has made of the global arrays that it was sent.

    Attributes
    ----------
    partition_id : int
        The client.
    arrays : dict of str to np.ndarray
        Its local model: names, order, shapes and dtypes of the global arrays; finite numbers. Read-only.
    sent : dict of str to np.ndarray
        The global arrays that it started from. Read-only.
    weight : float
        How much it counts where a rule weighs: 1, or with ``weighting = "num-examples"`` the number that it claims.
    metrics : Mapping
        As the client reported them, ``num-examples`` among them: names to numbers or lists of numbers.
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
        """Return what the client has learnt: its arrays minus those that it started from, in float64."""
        return {name: array.astype(np.float64) - self.sent[name] for name, array in self.arrays.items()}

    def moved_to(self, current: Arrays) -> Arrays:
        """Return the current global arrays plus the difference of a late update; the arrays of another one as they are.

        Rules that average models instead of differences average these, so that no old model gets into the new one.
        """
        return moved(self.arrays, self.sent, current) if self.is_late else self.arrays


@dataclass(frozen=True)
class RuleContext:
    """What a rule knows beside the updates.

    Attributes
    ----------
    server_round : int
        The federation's, from 1, as in `ClientUpdate.sent_in_round`. A rule whose state begins with its own first
        round counts these for itself.
    arrays : dict of str to np.ndarray
        The current global arrays. Read-only.
    quorum : int
        Number of updates that the rule is given in each round.
    num_clients : int
        Clients of the federation.
    tolerated_adversaries : int or None
        How many adversaries the rule is to tolerate; None where the run does not say.
    rng : np.random.Generator
        What the rule draws from: the same for the same seed and round.
    server_update : callable or None
        From global arrays to the server's own clean update of them, for rules that need one; None where the
        run offers none.
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
    """Aggregates the updates of a round; what a custom rule derives from.

    Options are arguments of the constructor. Attributes are the rule's state, and are saved with a checkpoint if they
    are numbers, texts, arrays or containers of such; otherwise give the rule ``state_dict`` and ``load_state_dict``.
    """

    @abstractmethod
    def aggregate(self, updates: Sequence[ClientUpdate], context: RuleContext) -> Arrays:
        """Return the new global arrays.

        Parameters
        ----------
        updates : sequence of ClientUpdate
            As many as the quorum, of as many clients, in the order of partitions: sums of floats depend on their set
            only.
        context : RuleContext
            The current global arrays, and what else is known.

        Returns
        -------
        dict of str to np.ndarray
            Names and shapes of ``context.arrays``; finite numbers, which are rounded to their dtypes. Anything else
            ends the run with a `StrategyError` that names the rule and the round.
        """

    def require_feasible(  # noqa: B027 (most rules aggregate any number)
        self, quorum: int, tolerated_adversaries: int | None
    ) -> None:
        """Check, before the first message, that the rule can aggregate `quorum` updates.

        Raises
        ------
        ValueError
            If it cannot; says what was expected, and what was found.
        """


def moved(found: Arrays, sent: Arrays, current: Arrays) -> Arrays:
    """Return the current arrays plus the difference of an update to what was sent, computed in float64."""
    return {
        name: (current[name] + (array.astype(np.float64) - sent[name])).astype(array.dtype)
        for name, array in found.items()
    }
