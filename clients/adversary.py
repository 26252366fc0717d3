"""The adversary: carries out an attack in its rounds, and abstains or trains benignly in the others."""

from collections.abc import Callable
from typing import Any

from flwr.common import NDArrays, Scalar

from clients.benign import BenignClient
from clients.memory import ClientMemory
from fedmeta_flwr.attacks.base import Attack, Turn
from fedmeta_flwr.protocol.messages import OLDEST_ROUND, SERVER_ROUND
from fedmeta_flwr.seeding import generator


class Abstention(Exception):  # noqa: N818 - a decision of the client, not an error
    """Raised by a client that takes no part in this round or this evaluation."""


class Adversary(BenignClient):
    """A client that plants a backdoor, alone or together with others.

    It is never asked to evaluate: accuracies are those of benign clients, as the ClientApp sees to.

    Parameters
    ----------
    attack : Attack
        What it does in a round of attack.
    is_attack : callable
        Server round to whether it attacks.
    between_attacks : str
        ``"abstain"`` or ``"benign"``.
    memory : ClientMemory
        Where it keeps what the attack remembers.
    **benign
        As in `BenignClient`.
    """

    def __init__(
        self,
        *,
        attack: Attack,
        is_attack: Callable[[int], bool],
        between_attacks: str,
        memory: ClientMemory,
        **benign: Any,
    ) -> None:
        super().__init__(**benign)
        self.attack = attack
        self.is_attack = is_attack
        self.between_attacks = between_attacks
        self.memory = memory

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Attack, train benignly, or raise `Abstention`, as the round demands; returns as `BenignClient.fit`."""
        server_round = int(config[SERVER_ROUND])
        turn = self._turn(parameters, server_round)
        if remembered := self.attack.remember(turn):
            self.memory.keep(remembered, server_round, int(config.get(OLDEST_ROUND, server_round)))
        if self.is_attack(server_round):
            upload = self.attack.local_update(turn)
            return [upload.arrays[name] for name in turn.global_arrays], upload.num_examples, upload.metrics
        if self.between_attacks == "abstain":
            raise Abstention
        return super().fit(parameters, config)

    def _turn(self, parameters: NDArrays, server_round: int) -> Turn:
        return Turn(
            server_round,
            dict(zip(self.shared.state_dict(), parameters, strict=True)),
            generator(self.training.seed, "attack", self.training.partition_id, server_round),
            self.memory.recall(None, server_round) or {},
        )
