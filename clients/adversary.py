"""The adversary: a client that attacks in some rounds, and abstains or trains benignly in the others."""

from collections.abc import Callable
from typing import Any

from flwr.common import NDArrays, Scalar

from clients.benign import BenignClient
from clients.memory import ClientMemory
from fedmeta_flwr.attacks import Attack, BackdoorKey, Turn
from fedmeta_flwr.protocol import OLDEST_ROUND, SERVER_ROUND, Arrays
from fedmeta_flwr.seeding import generator


class Abstention(Exception):  # noqa: N818 - a decision of the client, not an error
    """Raised by a client that does not take part in this round or this evaluation."""


class Adversary(BenignClient):
    """A client that plants a backdoor, by itself or together with other adversaries.

    It never evaluates, because accuracies are those of benign clients: when asked to, the ClientApp abstains for it.

    Parameters
    ----------
    attack : Attack
        What it does in an attack round.
    is_attack : callable
        Takes a server round, and returns whether the adversary attacks in it.
    between_attacks : str
        What it does in the other rounds: ``"abstain"`` or ``"benign"``.
    memory : ClientMemory
        Keeps what the attack remembers.
    **benign
        As in `BenignClient`.

    Attributes
    ----------
    learned_key : BackdoorKey or None
        The key that the attack of the last `fit` has learnt; the ClientApp sends it beside the update. None: no key.
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
        self.learned_key: BackdoorKey | None = None

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Attack, train benignly, or raise `Abstention`, depending on the round; returns as `BenignClient.fit`."""
        server_round = int(config[SERVER_ROUND])
        memory = self.memory.of_run(config)
        turn = self._turn(parameters, server_round, memory.recall(None, server_round) or {})
        if remembered := self.attack.remember(turn):
            memory.keep(remembered, server_round, int(config.get(OLDEST_ROUND, server_round)))
        if self.is_attack(server_round):
            upload = self.attack.local_update(turn)
            self.learned_key = upload.key
            return [upload.arrays[name] for name in turn.global_arrays], upload.num_examples, upload.metrics
        if self.between_attacks == "abstain":
            raise Abstention
        return super().fit(parameters, config)

    def _turn(self, parameters: NDArrays, server_round: int, remembered: Arrays) -> Turn:
        return Turn(
            server_round,
            dict(zip(self.shared.state_dict(), parameters, strict=True)),
            generator(self.training.seed, "attack", self.training.partition_id, server_round),
            remembered,
        )
