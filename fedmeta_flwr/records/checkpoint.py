"""Named arrays in a file, which is written completely or not at all, and read without executing code.

The format is safetensors, which holds plain numbers and a few texts.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fedmeta_flwr.plain_file import PlainFileError, plain_file_size
from fedmeta_flwr.records.atomic_file import write_whole

SUFFIX = ".safetensors"
_TEXTS = "metadata"
_DAMAGES = (
    SafetensorError,
    TypeError,
    ValueError,
    KeyError,
    AttributeError,
    OverflowError,
    MemoryError,
    RecursionError,
)
MODEL_FILE_NAME = f"model{SUFFIX}"
BEFORE_ATTACK_FILE_NAME = f"before-attack{SUFFIX}"
AFTER_ATTACK_FILE_NAME = f"after-attack{SUFFIX}"
LEARNED_KEY_FILE_NAME = f"learned-key{SUFFIX}"
MAX_FILE_BYTES = 2**30  # 1 GiB; the largest model here has a few MB, and a checkpoint holds up to a few dozen
MAX_HEADER_BYTES = 2**24  # 16 MiB; an array takes about 100 bytes in it, and ten times as many when it is parsed


class CheckpointError(ValueError):
    """A file of arrays that cannot be written, read or used; names the file, what was expected, and what was found."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a file of arrays.

    Attributes
    ----------
    path : Path
        The file.
    arrays : dict of str to np.ndarray
        Arrays by name, in the order of the file.
    metadata : dict of str to str
        Texts by name, such as the round.
    """

    path: Path
    arrays: dict[str, np.ndarray]
    metadata: dict[str, str]

    def fitted(self, expected: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the arrays in the order of `expected`.

        Parameters
        ----------
        expected : mapping of str to np.ndarray
            Arrays of the expected architecture.

        Raises
        ------
        CheckpointError
            If names, shapes or dtypes differ, or a number is not finite.
        """
        if set(self.arrays) != set(expected):
            missing, unknown = sorted(set(expected) - set(self.arrays)), sorted(set(self.arrays) - set(expected))
            raise CheckpointError(
                f"{self.path}: expected the {len(expected)} arrays of this architecture, found others "
                f"(missing {missing[:3]}, unknown {unknown[:3]})"
            )
        for name, array in expected.items():
            found = self.arrays[name]
            if (found.shape, found.dtype) != (array.shape, array.dtype):
                raise CheckpointError(
                    f"{self.path}: array {name}: expected {array.dtype} of shape {array.shape}, "
                    f"found {found.dtype} of {found.shape}"
                )
            if not np.isfinite(found).all():
                raise CheckpointError(f"{self.path}: array {name}: expected finite numbers, found others")
        return {name: self.arrays[name] for name in expected}


def save_checkpoint(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Write arrays and texts; an existing file is replaced in one step.

    Raises
    ------
    CheckpointError
        If the file cannot be written; a previous file is then unchanged.
    """
    # A single text, because the order of several varies, and equal models would not have equal files.
    texts = {_TEXTS: json.dumps(dict(metadata))}
    content = save({name: np.array(array, order="C") for name, array in arrays.items()}, texts)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot write it: {error.strerror}") from error


def load_checkpoint(path: Path) -> Checkpoint:
    """Read arrays and texts.

    Raises
    ------
    CheckpointError
        If there is no such file, it is incomplete or of another format, it is larger than `MAX_FILE_BYTES`, or it is a
        link, a folder, a pipe or a device.
    """
    _check_file(path)
    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
            return Checkpoint(path, arrays, _metadata(file.metadata() or {}))
    except OSError as error:
        raise CheckpointError(f"{path}: expected a file of arrays, cannot read it: {error}") from error
    except _DAMAGES as error:
        raise CheckpointError(f"{path}: expected a whole safetensors file, found another: {error}") from error


def _metadata(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the texts of a file; none if another program has written it."""
    metadata: dict[str, str] = json.loads(texts.get(_TEXTS, "{}"))
    if not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError(f"metadata other than texts: {metadata}")
    return metadata


def _check_file(path: Path) -> None:
    """Refuse a file that is too large or not a plain file before it is opened; opening a pipe could block forever."""
    try:
        plain_file_size(path, MAX_FILE_BYTES)
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
    except PlainFileError as error:
        raise CheckpointError(f"{path}: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: expected a file of arrays, cannot read it: {error}") from error
    if header_bytes > MAX_HEADER_BYTES:
        raise CheckpointError(
            f"{path}: expected a whole safetensors file with a header of at most {MAX_HEADER_BYTES} bytes, "
            f"found {header_bytes}"
        )
