"""The checkpoints of a run: from the newest whole one it goes on, as if it had never stopped.

Each is one file, written whole or not at all (`fedmeta_flwr.records.checkpoint`). The newest two are kept, so that a
file which the disk has damaged since costs some rounds and not the run.
"""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.checkpoint import SUFFIX, CheckpointError, load_checkpoint, save_checkpoint
from fedmeta_flwr.records.packing import PackingError, Tree, pack, unpack
from fedmeta_flwr.records.results import FILE_NAME, ResultsError, RunResults, read_results

FOLDER_NAME = "checkpoints"
_LOG = logging.getLogger("flwr.checkpoints")
_KEPT = 2
_PATTERN = f"round-*{SUFFIX}"


@dataclass(frozen=True)
class RunCheckpoints:
    """The checkpoints in one run's folder.

    Attributes
    ----------
    folder : Path
        The run's folder; they stand in a folder of their own below it.
    """

    folder: Path

    def save(self, server_round: int, state: object, config: RunConfig) -> None:
        """Write the state after a round, and remove all but the newest two.

        Parameters
        ----------
        server_round : int
            The round that has ended.
        state : object
            What `packing.pack` takes.
        config : RunConfig
            The run's.

        Raises
        ------
        CheckpointError
            If the file cannot be written; those before it still stand.
        """
        tree, arrays = pack(state)
        metadata = {"state": json.dumps(tree), "config": json.dumps(config.to_run_config())}
        save_checkpoint(self._folder / f"round-{server_round:08d}{SUFFIX}", arrays, metadata)
        for file in self._files()[_KEPT:]:
            file.unlink(missing_ok=True)

    def newest(self, config: RunConfig) -> Any | None:
        """Return the state in the newest whole checkpoint; None where there is no checkpoint.

        Raises
        ------
        CheckpointError
            If it is of another configuration, or all are damaged.
        """
        damages = []
        for file in self._files():
            try:
                tree, arrays, found = _read(file)
                if differences := config.differences(found):
                    raise CheckpointError(f"{file}: made by another configuration: {'; '.join(differences)}")
                return unpack(tree, arrays)
            except (_DamagedError, PackingError) as error:
                damages.append(f"{file}: {error}")
                _LOG.warning("checkpoint left out: %s", damages[-1])
        if damages:
            raise CheckpointError(f"expected a whole checkpoint, found damaged ones alone: {'; '.join(damages)}")
        return None

    def newest_round(self) -> int:
        """Return the round of the newest checkpoint by its name, 0 where there is none; it may turn out damaged."""
        numbers = [file.name.removeprefix("round-").removesuffix(SUFFIX) for file in self._files()]
        return max((int(number) for number in numbers if number.isdecimal()), default=0)

    def remove_all(self) -> None:
        """Remove every checkpoint, for a run that is complete."""
        for file in self._files():
            file.unlink(missing_ok=True)
        if self._folder.is_dir() and not any(self._folder.iterdir()):
            self._folder.rmdir()

    @property
    def _folder(self) -> Path:
        return self.folder / FOLDER_NAME

    def _files(self) -> list[Path]:
        """Return the files, newest first; names are of one length, so that they sort by round."""
        return sorted(self._folder.glob(_PATTERN), reverse=True)


class _DamagedError(ValueError):
    """A file that is no whole checkpoint."""


def _read(file: Path) -> tuple[Tree, dict[str, Any], dict[str, Any]]:
    try:
        checkpoint = load_checkpoint(file)
        tree, config = (json.loads(checkpoint.metadata[name]) for name in ("state", "config"))
    except (CheckpointError, KeyError, ValueError, RecursionError) as error:
        raise _DamagedError(str(error)) from error
    return tree, checkpoint.arrays, config


def finished(config: RunConfig, folder: Path) -> RunResults | None:
    """Return the results of a run that has completed in a folder; None where none has.

    Raises
    ------
    ResultsError
        If they are of another configuration.
    """
    if not (file := folder / FILE_NAME).is_file() or b"\n" not in file.read_bytes():
        return None
    results = read_results(folder)
    if results.end is None or results.end["status"] != "completed":
        return None
    if differences := config.differences(results.run["config"]):
        raise ResultsError(f"{file}: made by another configuration: {'; '.join(differences)}")
    return results
