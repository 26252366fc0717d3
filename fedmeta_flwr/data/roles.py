"""Which clients are adversaries and which are benign, and which attack images each adversary has."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

Holdings = Mapping[int, np.ndarray]
"""The classes and images that a client holds: class index to instance indices (int64)."""


@dataclass(frozen=True)
class Roles:
    """Which clients of a federation are adversaries, by partition id.

    Attributes
    ----------
    num_clients : int
        Total number of clients.
    adversaries : frozenset of int
        The clients that attack together; at least one, and not all.
    divides_attack_images : bool
        Whether each adversary has a part of the attack images; otherwise each has all of them.

    Raises
    ------
    ValueError
        If there is no adversary or no benign client, or an adversary is not among the clients.
    """

    num_clients: int
    adversaries: frozenset[int]
    divides_attack_images: bool = False

    def __post_init__(self) -> None:
        if not self.adversaries < frozenset(range(self.num_clients)) or not self.adversaries:
            raise ValueError(
                f"roles: expected some adversaries among partitions 0 to {self.num_clients - 1}, and at least one "
                f"benign client, found adversaries {sorted(self.adversaries)}"
            )

    @classmethod
    def with_first_adversaries(
        cls, num_adversaries: int, *, num_clients: int, divides_attack_images: bool = False
    ) -> "Roles":
        """Return the roles of a federation whose adversaries are the first partitions."""
        return cls(num_clients, frozenset(range(num_adversaries)), divides_attack_images)

    def is_adversary(self, partition_id: int) -> bool:
        """Return whether a client is an adversary."""
        return partition_id in self.adversaries

    @property
    def colluders(self) -> tuple[int, ...]:
        """The adversaries in ascending order."""
        return tuple(sorted(self.adversaries))

    @property
    def benign(self) -> tuple[int, ...]:
        """The benign clients in ascending order; accuracies are measured by them."""
        return tuple(client for client in range(self.num_clients) if client not in self.adversaries)

    @property
    def first_benign(self) -> int:
        """The first benign client, which is used where only one is tried or shown."""
        return self.benign[0]

    def attack_images(self, held: Holdings, partition_id: int) -> Holdings:
        """Return the attack images of an adversary.

        Parameters
        ----------
        held : Holdings
            The attack images of all adversaries.
        partition_id : int
            One of the adversaries.

        Returns
        -------
        Holdings
            All of them, or the adversary's part. Images are dealt out in turn, class after class, so the sizes of two
            parts differ by at most 1. A class without images in the part is left out.
        """
        if not self.divides_attack_images:
            return held
        images = [(index, instance) for index, instances in sorted(held.items()) for instance in instances]
        part = images[self.colluders.index(partition_id) :: len(self.adversaries)]
        return {
            index: np.array([instance for of, instance in part if of == index], np.int64)
            for index in sorted({index for index, _ in part})
        }
