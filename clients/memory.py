"""What a client keeps for itself: arrays in a file of its own, which no message carries."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedmeta_flwr.records.checkpoint import SUFFIX, Checkpoint, CheckpointError, load_checkpoint, save_checkpoint

_SEPARATOR = "/"


@dataclass(frozen=True)
class ClientMemory:
    """A client's private arrays, kept from round to round and over a restart.

    The file holds what the client had after each of the rounds from which the server may still go on; a run that goes
    on from a checkpoint finds what there was at the time.

    Attributes
    ----------
    file : Path
        Replaced whole after every round of training.
    """

    file: Path

    @classmethod
    def of(cls, folder: Path, partition_id: int) -> "ClientMemory":
        """Return the memory of one client."""
        return cls(folder / f"client-{partition_id}{SUFFIX}")

    def recall(self, expected: Mapping[str, np.ndarray] | None, before_round: int) -> dict[str, np.ndarray] | None:
        """Return what was kept last before a round, or None for a client that has kept nothing yet.

        Parameters
        ----------
        expected : mapping of str to np.ndarray, or None
            Arrays of the architecture at hand; None: any are admitted.
        before_round : int
            The round that begins.

        Raises
        ------
        CheckpointError
            If the file is damaged, or of another architecture.
        """
        kept = self._read()
        earlier = [server_round for server_round in kept if server_round < before_round]
        if not earlier:
            return None
        arrays = kept[max(earlier)]
        return arrays if expected is None else Checkpoint(self.file, arrays, {}).fitted(expected)

    def keep(self, arrays: Mapping[str, np.ndarray], server_round: int, oldest_round: int) -> None:
        """Write what the client has after a round.

        Parameters
        ----------
        arrays : mapping of str to np.ndarray
            All of it.
        server_round : int
            The round.
        oldest_round : int
            No earlier round will come again: of what was kept before it, only the last is still of use.

        Raises
        ------
        CheckpointError
            If the file cannot be read or written; what was there before still is.
        """
        earlier = {number: kept for number, kept in self._read().items() if number < server_round}
        first = max((number for number in earlier if number < oldest_round), default=0)
        history = {number: kept for number, kept in earlier.items() if number >= first} | {server_round: dict(arrays)}
        named = {f"{number}{_SEPARATOR}{name}": kept[name] for number, kept in history.items() for name in kept}
        save_checkpoint(self.file, named, {})

    def _read(self) -> dict[int, dict[str, np.ndarray]]:
        """Return the arrays by round; nothing where there is no file."""
        if not self.file.exists():
            return {}
        history: dict[int, dict[str, np.ndarray]] = {}
        for name, array in load_checkpoint(self.file).arrays.items():
            server_round, separator, own_name = name.partition(_SEPARATOR)
            if not separator or not server_round.isdecimal():
                raise CheckpointError(f"{self.file}: expected arrays named ROUND/NAME, found {name!r}")
            history.setdefault(int(server_round), {})[own_name] = array
        return history
