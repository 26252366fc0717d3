"""The clients of a run, called without a server, exactly as the ClientApp calls them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from flwr.client import NumPyClient

from clients import Abstention
from fedmeta_flwr.apps.assembly import make_client
from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.attacks import BackdoorKey
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.learning import torch_draws
from fedmeta_flwr.protocol import NUM_EXAMPLES, OLDEST_ROUND, SERVER_ROUND
from fedmeta_flwr.protocol.messages import metrics_to_counts, metrics_to_step_curves
from fedmeta_flwr.records import ClientEvaluation
from strategies import ClientUpdate

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class AttackUpdate:
    """What an adversary uploads in the attack round.

    Attributes
    ----------
    update : ClientUpdate
        The upload.
    checks : mapping of str to bool
        What the attack promises of it, and whether that holds.
    key : BackdoorKey or None
        The key that the attack has learnt, if it has.
    """

    update: ClientUpdate
    checks: Mapping[str, bool]
    key: BackdoorKey | None = None


@dataclass(frozen=True)
class Parties:
    """The clients of a run.

    Attributes
    ----------
    config : RunConfig
        The run configuration.
    scenario : Scenario
        The scenario of the run.
    folder : Path
        The folder of the clients' private arrays.
    first_round : int
        The first round of the run: the one after pre-training.
    device : torch.device
        The device of the models.
    """

    config: RunConfig
    scenario: Scenario
    folder: Path
    first_round: int
    device: torch.device

    @property
    def benign(self) -> tuple[int, ...]:
        """The partitions of the benign clients, ascending."""
        roles = self.scenario.roles
        return tuple(one for one in range(self.config.num_clients) if not roles.is_adversary(one))

    @property
    def adversaries(self) -> tuple[int, ...]:
        """The partitions of the adversaries, ascending."""
        return tuple(sorted(self.scenario.roles.adversaries))

    def update(self, partition_id: int, server_round: int, arrays: Arrays) -> ClientUpdate | None:
        """Return what a client uploads in a round in which it is sent these arrays; None if it abstains."""
        client = self._client(partition_id)
        with suppress(Abstention):
            return self._fit(client, partition_id, server_round, arrays)
        return None

    def attack(self, partition_id: int, history: Mapping[int, Arrays]) -> AttackUpdate:
        """Return what an adversary uploads in the attack round, after it has seen the rounds before it.

        Parameters
        ----------
        partition_id : int
            Which adversary.
        history : mapping of int to mapping of str to np.ndarray
            Round to the global arrays with which it begins, up to the attack round.
        """
        for server_round in range(self.first_round, self.config.attack_round):
            self.update(partition_id, server_round, history[server_round])
        sent, client = history[self.config.attack_round], self._client(partition_id)
        update = self._fit(client, partition_id, self.config.attack_round, sent)
        attack = getattr(client, "attack", None)  # a custom adversary need not have one
        checks = {} if attack is None else dict(attack.checks(sent, update.arrays))
        return AttackUpdate(update, checks, getattr(client, "learned_key", None))

    def without(self, step_curves: Collection[str]) -> Parties:
        """Return the same clients, which do not measure these step curves."""
        left = [name for name in self.config.step_curves.split() if name not in step_curves]
        return replace(self, config=replace(self.config, step_curves=" ".join(left)))

    def with_key(self, key: BackdoorKey) -> Parties:
        """Return the same clients, which stamp images with another key when they evaluate."""
        return replace(self, scenario=replace(self.scenario, key=key))

    def evaluation(self, partition_id: int, server_round: int, arrays: Arrays) -> ClientEvaluation:
        """Return the counts of a benign client with the global arrays after a round."""
        client = self._client(partition_id)
        with torch_draws(self.config.seed, "client-evaluate", partition_id):
            _, _, metrics = client.evaluate(list(arrays.values()), self._instructions(server_round))
        return ClientEvaluation(partition_id, metrics_to_counts(metrics), metrics_to_step_curves(metrics))

    def evaluations(self, server_round: int, arrays: Arrays) -> list[ClientEvaluation]:
        """Return the counts of all benign clients."""
        return [self.evaluation(partition_id, server_round, arrays) for partition_id in self.benign]

    def _client(self, partition_id: int) -> NumPyClient:
        with torch_draws(self.config.seed, "client", partition_id):
            return make_client(self.config, self.scenario, partition_id, self.device, self.folder)

    def _fit(self, client: NumPyClient, partition_id: int, server_round: int, sent: Arrays) -> ClientUpdate:
        with torch_draws(self.config.seed, "client-fit", partition_id, server_round):
            updated, num_examples, metrics = client.fit(list(sent.values()), self._instructions(server_round))
        return ClientUpdate(
            partition_id=partition_id,
            arrays=dict(zip(sent, updated, strict=True)),
            sent=dict(sent),
            weight=1.0 if self.config.weighting == "uniform" else float(num_examples),
            metrics={NUM_EXAMPLES: num_examples, **metrics},
            sent_in_round=server_round,
            is_late=False,
        )

    def _instructions(self, server_round: int) -> dict[str, bool | bytes | float | int | str]:
        return {SERVER_ROUND: server_round, OLDEST_ROUND: self.first_round}
