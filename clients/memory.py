"""A client's private arrays: a file per client, which is never sent."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fedmeta_flwr.protocol import RUN
from fedmeta_flwr.records.checkpoint import SUFFIX, Checkpoint, CheckpointError, load_checkpoint, save_checkpoint

_SEPARATOR = "/"


@dataclass(frozen=True)
class ClientMemory:
    """A client's private arrays, kept from round to round and across a restart.

    The file holds the arrays after each round from which the server may still resume. A run that resumes from a
    checkpoint therefore finds the arrays of that time. What another run has left in the file is ignored, and replaced
    when this one keeps something.

    Attributes
    ----------
    file : Path
        The file; every round of training replaces it as a whole.
    run : str
        Identifies the run.
    """

    file: Path
    run: str = ""

    @classmethod
    def of(cls, folder: Path, partition_id: int) -> "ClientMemory":
        """Return the memory of one client."""
        return cls(folder / f"client-{partition_id}{SUFFIX}")

    def of_run(self, config: Mapping[str, Any]) -> "ClientMemory":
        """Return the memory in the run of an instruction, given by the instruction's configuration."""
        return replace(self, run=str(config.get(RUN, "")))

    def recall(self, expected: Mapping[str, np.ndarray] | None, before_round: int) -> dict[str, np.ndarray] | None:
        """Return the newest arrays from before a round, or None if the client has kept none.

        Parameters
        ----------
        expected : mapping of str to np.ndarray, or None
            Arrays with the expected names, shapes and dtypes; None admits any.
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
        """Write the client's arrays after a round.

        Parameters
        ----------
        arrays : mapping of str to np.ndarray
            All of the client's private arrays.
        server_round : int
            The round.
        oldest_round : int
            The oldest round that can be repeated. Of the arrays from before it, only the newest are still needed.

        Raises
        ------
        CheckpointError
            If the file cannot be read or written; the previous file is then unchanged.
        """
        earlier = {number: kept for number, kept in self._read().items() if number < server_round}
        first = max((number for number in earlier if number < oldest_round), default=0)
        history = {number: kept for number, kept in earlier.items() if number >= first} | {server_round: dict(arrays)}
        named = {f"{number}{_SEPARATOR}{name}": kept[name] for number, kept in history.items() for name in kept}
        save_checkpoint(self.file, named, {RUN: self.run})

    def _read(self) -> dict[int, dict[str, np.ndarray]]:
        """Return the arrays by round; an empty dict if there is no file of this run."""
        if not self.file.exists():
            return {}
        checkpoint = load_checkpoint(self.file)
        if checkpoint.metadata.get(RUN, "") != self.run:
            return {}
        history: dict[int, dict[str, np.ndarray]] = {}
        for name, array in checkpoint.arrays.items():
            server_round, separator, array_name = name.partition(_SEPARATOR)
            if not separator or not server_round.isdecimal():
                raise CheckpointError(f"{self.file}: expected arrays named ROUND/NAME, found {name!r}")
            history.setdefault(int(server_round), {})[array_name] = array
        return history
