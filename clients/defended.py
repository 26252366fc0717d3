"""The defended client: classifies by matching features against its own support set."""

from typing import Any

from flwr.common import NDArrays, Scalar
from torch import nn

from clients.benign import BenignClient
from clients.measurement import Accuracies
from clients.memory import ClientMemory
from fedmeta_flwr.learning.models import get_arrays, set_arrays
from fedmeta_flwr.protocol.messages import OLDEST_ROUND, SERVER_ROUND


class DefendedClient(BenignClient):
    """A benign client that does not trust a shared classifier head.

    In an ordinary federation it takes part in the training as agreed, and defends itself when it uses the model
    (*rescue*). In a defended federation the head is never exchanged, and the client's attention is trained along with
    the embedding and kept on the client.

    Source: Chen, Golubchik & Paolieri 2020, section on the local defense.

    Parameters
    ----------
    attention : torch.nn.Module or None
        The private part of `model`; None for a rescue, which begins with a new attention each time.
    memory : ClientMemory or None
        Where the attention is kept from round to round; None for a rescue.
    **benign
        As in `BenignClient`.
    """

    def __init__(self, *, attention: nn.Module | None, memory: ClientMemory | None, **benign: Any) -> None:
        super().__init__(**benign)
        self.attention = attention
        self.memory = memory

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Train as `BenignClient.fit` does, with the private attention, and keep that for the next round."""
        server_round = int(config[SERVER_ROUND])
        self._recall(server_round)
        answer = super().fit(parameters, config)
        if self.attention is not None and self.memory is not None:
            oldest_round = int(config.get(OLDEST_ROUND, server_round))
            self.memory.keep(get_arrays(self.attention), server_round, oldest_round)
        return answer

    def evaluate(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[float, int, dict[str, Any]]:
        """Count hits as `BenignClient.evaluate` does, of matching after local training; nothing of it is kept."""
        self._recall(int(config[SERVER_ROUND]) + 1)
        return super().evaluate(parameters, config)

    def _accuracies(self) -> Accuracies:
        return self.measurement.with_matching(self.model)

    def _recall(self, before_round: int) -> None:
        if self.attention is None or self.memory is None:
            return
        kept = self.memory.recall(get_arrays(self.attention), before_round)
        if kept is not None:
            set_arrays(self.attention, kept)


def built_in_client(**arguments: Any) -> BenignClient:
    """Return a `DefendedClient` where there is an argument that only it has, and otherwise a `BenignClient`."""
    return (DefendedClient if "attention" in arguments else BenignClient)(**arguments)
