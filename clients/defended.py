"""The defended client: it keeps the private part of its model from round to round, if its defense has one."""

from typing import Any

from flwr.common import NDArrays, Scalar
from torch import nn

from clients.benign import BenignClient
from clients.memory import ClientMemory
from fedmeta_flwr.learning import get_arrays, set_arrays
from fedmeta_flwr.protocol import OLDEST_ROUND, SERVER_ROUND


class DefendedClient(BenignClient):
    """A benign client of a run with a defense.

    `Measurement` names the defense with which it classifies. A private part is trained together with the shared part,
    and never leaves the client.

    Parameters
    ----------
    private : torch.nn.Module or None
        The private part of `model`; None if there is none, as in a rescue.
    memory : ClientMemory
        Keeps the private part from round to round.
    **benign
        As in `BenignClient`.
    """

    def __init__(self, *, private: nn.Module | None, memory: ClientMemory, **benign: Any) -> None:
        super().__init__(**benign)
        self.private = private
        self.memory = memory

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Train as `BenignClient.fit` does, including the private part, and keep that part for the next round."""
        server_round = int(config[SERVER_ROUND])
        memory = self.memory.of_run(config)
        self._recall(memory, server_round)
        answer = super().fit(parameters, config)
        if self.private is not None:
            oldest_round = int(config.get(OLDEST_ROUND, server_round))
            memory.keep(get_arrays(self.private), server_round, oldest_round)
        return answer

    def evaluate(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[float, int, dict[str, Any]]:
        """Count hits as `BenignClient.evaluate` does, with the most recent private part; nothing is kept."""
        self._recall(self.memory.of_run(config), int(config[SERVER_ROUND]) + 1)
        return super().evaluate(parameters, config)

    def _recall(self, memory: ClientMemory, before_round: int) -> None:
        if self.private is None:
            return
        kept = memory.recall(get_arrays(self.private), before_round)
        if kept is not None:
            set_arrays(self.private, kept)


def built_in_client(**arguments: Any) -> BenignClient:
    """Return a `DefendedClient` if an argument is one that only it takes, and otherwise a `BenignClient`."""
    return (DefendedClient if "private" in arguments else BenignClient)(**arguments)
