"""The checkpoints of a run; it resumes from the newest intact one, with the same results as without interruption.

Each is one file, written completely or not at all (`fedmeta_flwr.records.checkpoint`). The newest two are kept, so that
a damaged file costs only some rounds, not the whole run.
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
        The run's folder; the checkpoints are in a subfolder of it.
    """

    folder: Path

    def save(self, server_round: int, state: object, config: RunConfig) -> None:
        """Write the state after a round, and remove all but the newest two.

        Parameters
        ----------
        server_round : int
            The round that has ended.
        state : object
            A value that `packing.pack` accepts.
        config : RunConfig
            The run configuration.

        Raises
        ------
        CheckpointError
            If the file cannot be written; earlier checkpoints are then unchanged.
        """
        tree, arrays = pack(state)
        metadata = {"state": json.dumps(tree), "config": json.dumps(config.to_run_config())}
        save_checkpoint(self._folder / f"round-{server_round:08d}{SUFFIX}", arrays, metadata)
        for file in self._files()[_KEPT:]:
            file.unlink(missing_ok=True)

    def newest(self, config: RunConfig) -> Any | None:
        """Return the state in the newest intact checkpoint; None if there is no checkpoint.

        Raises
        ------
        CheckpointError
            If it is of another configuration, or if all checkpoints are damaged.
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
            raise CheckpointError(f"expected an intact checkpoint, found only damaged ones: {'; '.join(damages)}")
        return None

    def newest_round(self) -> int:
        """Return the round of the newest checkpoint by its name; 0 if there is none. The file may be damaged."""
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
        """Return the files, newest first; all names have the same length, so they sort by round."""
        return sorted(self._folder.glob(_PATTERN), reverse=True)


class _DamagedError(ValueError):
    """A file that is not an intact checkpoint."""


def _read(file: Path) -> tuple[Tree, dict[str, Any], dict[str, Any]]:
    try:
        checkpoint = load_checkpoint(file)
        tree, config = (json.loads(checkpoint.metadata[name]) for name in ("state", "config"))
    except (CheckpointError, KeyError, ValueError, RecursionError) as error:
        raise _DamagedError(str(error)) from error
    return tree, checkpoint.arrays, config


def finished(config: RunConfig, folder: Path) -> RunResults | None:
    """Return the results of a completed run in a folder; None if there is no completed run.

    Raises
    ------
    ResultsError
        If the results are of another configuration.
    """
    if not (file := folder / FILE_NAME).is_file() or b"\n" not in file.read_bytes():
        return None
    results = read_results(folder)
    if results.end is None or results.end["status"] != "completed":
        return None
    if differences := config.differences(results.run["config"]):
        raise ResultsError(f"{file}: made by another configuration: {'; '.join(differences)}")
    return results
