"""The files of a data folder, which may come from an untrusted source: only plain files are admitted, and no links."""

from collections.abc import Iterable
from pathlib import Path

from fedmeta_flwr.data.store import DatasetError
from fedmeta_flwr.plain_file import PlainFileError, plain_file_size

MAX_FILE_BYTES = 2**28  # 256 MiB, the largest admitted photo without compression; those of ImageNet have a few MB


def check_file(path: Path, max_bytes: int = MAX_FILE_BYTES) -> int:
    """Return the size of a plain file, without opening it.

    Parameters
    ----------
    path
        The file.
    max_bytes
        The largest size that is admitted.

    Returns
    -------
    int
        In bytes.

    Raises
    ------
    DatasetError
        If there is no such file, it is larger than `max_bytes`, or it is a link, a folder, a pipe or a device.
    """
    try:
        return plain_file_size(path, max_bytes)
    except PlainFileError as error:
        raise DatasetError(f"expected {error.expected} at {path}, found {error.found}") from error
    except (OSError, ValueError) as error:  # the latter for a NUL in the name
        raise DatasetError(f"expected a readable file at {path}, found: {error}") from error


def read_file(path: Path, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a plain file; parameters and errors are those of `check_file`."""
    check_file(path, max_bytes)
    try:
        return path.read_bytes()
    except OSError as error:
        raise DatasetError(f"expected a readable file at {path}, found: {error}") from error


def refuse_links(paths: Iterable[Path]) -> None:
    """Raise `DatasetError` if a path in a data folder is a symbolic link."""
    for path in paths:
        if path.is_symlink():
            raise DatasetError(f"expected files and folders of the data folder itself, found a link: {path}")


def list_folder(folder: Path) -> str:
    """Return the first eight names in a folder, or that there is no such folder, as a text for an error."""
    if not folder.is_dir():
        return "a file" if folder.exists() else "no such folder"
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join([*names[:8], *(["..."] if len(names) > 8 else [])]) or "nothing"
