"""What a client keeps for itself: arrays in a file of its own, which no message carries."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fedmeta_flwr.checkpoint import SUFFIX, CheckpointError, load_checkpoint, save_checkpoint

_ROUND = "server-round"


@dataclass(frozen=True)
class ClientMemory:
    """A client's private arrays, kept from round to round and over a restart.

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

    def recall(self, expected: Mapping[str, np.ndarray], before_round: int) -> dict[str, np.ndarray] | None:
        """Return what was kept, or None for a client that has kept nothing yet.

        Parameters
        ----------
        expected : mapping of str to np.ndarray
            Arrays of the architecture at hand.
        before_round : int
            The round that begins.

        Raises
        ------
        CheckpointError
            If the file is damaged, of another architecture, or of a later round, hence of another run.
        """
        if not self.file.exists():
            return None
        kept = load_checkpoint(self.file)
        if not (kept_round := kept.metadata.get(_ROUND, "")).isdecimal() or int(kept_round) >= before_round:
            raise CheckpointError(
                f"{self.file}: expected what the client kept before round {before_round} of this run, "
                f"found that of round {kept_round or 'unknown'}"
            )
        return kept.fitted(expected)

    def keep(self, arrays: Mapping[str, np.ndarray], server_round: int) -> None:
        """Write what the client has after a round; raises `CheckpointError` where it cannot."""
        save_checkpoint(self.file, arrays, {_ROUND: str(server_round)})
