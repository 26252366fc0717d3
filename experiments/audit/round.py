"""The attack round of a run without the rest of the run: who arrives, and the new global model."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from experiments.audit.parties import Arrays, AttackUpdate, Parties
from experiments.settings import SettingsError
from fedmeta_flwr.apps.preflight import arrivals_of
from fedmeta_flwr.attacks import BackdoorKey
from fedmeta_flwr.config import RunConfig
from strategies import ClientUpdate, WallClock

Aggregate = Callable[[Sequence[ClientUpdate], Arrays], Arrays]
"""Takes the updates that arrived first, in the order of partitions, and the global arrays; returns new global arrays.

A server rule fits, as ``lambda updates, arrays: rule.aggregate(updates, context)``.
"""


@dataclass(frozen=True)
class Beginning:
    """What all attacks on a run have in common.

    Attributes
    ----------
    history : dict of int to mapping of str to np.ndarray
        Round to the global arrays with which it begins: from the round after pre-training to the attack round.
    benign : dict of int to ClientUpdate
        Partition to the update of each benign client in the attack round.
    """

    history: dict[int, Arrays]
    benign: dict[int, ClientUpdate]

    @property
    def clean(self) -> Arrays:
        """The global arrays right before the attack."""
        return self.history[max(self.history)]


@dataclass(frozen=True)
class AttackRound:
    """An attack round.

    Attributes
    ----------
    uploads : dict of int to AttackUpdate
        Partition to the upload of each adversary.
    arrived : tuple of int
        The partitions whose updates were aggregated, ascending.
    poisoned : mapping of str to np.ndarray
        The global arrays after the round.
    """

    uploads: dict[int, AttackUpdate]
    arrived: tuple[int, ...]
    poisoned: Arrays

    @property
    def learned_key(self) -> BackdoorKey | None:
        """The key that an adversary has learnt, as a run would use it: of several, that of the lowest partition."""
        keys = (self.uploads[one].key for one in sorted(self.uploads))
        return next((key for key in keys if key is not None), None)


def require_auditable(config: RunConfig) -> None:
    """Raise `SettingsError` if a round cannot be computed without a server."""
    problems = []
    if config.strategy != "fedavg":
        problems.append(f"strategy: expected fedavg, the only one that is audited, found {config.strategy!r}")
    if isinstance(arrivals_of(config), WallClock):
        problems.append(
            f"arrival-model: expected a model of latencies, because no client is waited for, "
            f"found {config.arrival_model!r}"
        )
    if not config.attack_round:
        problems.append("attack-round: expected the round of an attack, found 0")
    if problems:
        raise SettingsError("\n".join(problems))


def first_arrivals(config: RunConfig, server_round: int, taking_part: Iterable[int]) -> tuple[int, ...]:
    """Return the partitions of the first `quorum` arrivals, ascending, if no client is busy with an earlier round."""
    arrivals = arrivals_of(config)
    assert not isinstance(arrivals, WallClock)
    latency = {one: arrivals.latency_seconds(server_round, one) for one in sorted(taking_part)}
    return tuple(sorted(sorted(latency, key=lambda one: latency[one])[: config.quorum]))


def mean_of(updates: Sequence[ClientUpdate], arrays: Arrays) -> Arrays:
    """Return the weighted mean of the updates' arrays, with the sums of FedAvg."""
    total = sum(update.weight for update in updates)
    aggregated = {name: updates[0].arrays[name] * (updates[0].weight / total) for name in arrays}
    for update in updates[1:]:
        for name in aggregated:
            aggregated[name] += update.arrays[name] * (update.weight / total)
    return {name: array.astype(arrays[name].dtype) for name, array in aggregated.items()}


def begin(parties: Parties, start: Arrays, aggregate: Aggregate = mean_of) -> Beginning:
    """Play the rounds from pre-training to the attack, and let the benign clients train in the attack round.

    Parameters
    ----------
    parties : Parties
        The clients.
    start : mapping of str to np.ndarray
        The pre-trained global arrays.
    aggregate : callable
        The server's rule.
    """
    config, history = parties.config, {parties.first_round: start}
    for server_round in range(parties.first_round, config.attack_round):
        arrays = history[server_round]
        asked = {one: parties.update(one, server_round, arrays) for one in range(config.num_clients)}
        updates = {one: update for one, update in asked.items() if update is not None}
        history[server_round + 1] = _aggregated(config, server_round, updates, arrays, aggregate)[1]
    clean = history[config.attack_round]
    trained = ((one, parties.update(one, config.attack_round, clean)) for one in parties.benign)
    return Beginning(history, {one: update for one, update in trained if update is not None})


def attack_round(parties: Parties, beginning: Beginning, aggregate: Aggregate = mean_of) -> AttackRound:
    """Let the adversaries attack, and aggregate the first arrivals.

    Parameters
    ----------
    parties : Parties
        The clients, with the attack.
    beginning : Beginning
        What has happened before.
    aggregate : callable
        The server's rule.
    """
    uploads = {one: parties.attack(one, beginning.history) for one in parties.adversaries}
    updates = beginning.benign | {one: upload.update for one, upload in uploads.items()}
    config = parties.config
    arrived, poisoned = _aggregated(config, config.attack_round, updates, beginning.clean, aggregate)
    return AttackRound(uploads, arrived, poisoned)


def _aggregated(
    config: RunConfig,
    server_round: int,
    updates: Mapping[int, ClientUpdate],
    arrays: Arrays,
    aggregate: Aggregate,
) -> tuple[tuple[int, ...], Arrays]:
    """Return who arrived, and the new global arrays."""
    arrived = first_arrivals(config, server_round, updates)
    return arrived, aggregate([updates[one] for one in arrived], arrays)
