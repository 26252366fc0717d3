"""Plain files: what a path names is looked at before it is opened.

A data folder may come from strangers. A symbolic link in it may lead anywhere or in a circle, opening a pipe waits for
ever, a device has no end, and a file with holes may be larger than memory while it takes no space on disk.
"""

import stat
from collections.abc import Iterable
from pathlib import Path

from fedmeta_flwr.data.store import DatasetError

MAX_FILE_BYTES = 2**28  # 256 MiB, a photo of the most pixels, uncompressed; those of ImageNet have some MB

FILE_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}
"""Names of what is no plain file, by the type bits of a mode."""


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
        If there is no such file, it is larger, or it is a link, a folder, a pipe or a device.
    """
    try:
        status = path.lstat()
    except (OSError, ValueError) as error:  # the latter for a NUL in the name
        raise DatasetError(f"expected a readable file at {path}, found: {error}") from error
    if not stat.S_ISREG(status.st_mode):
        found = FILE_KINDS.get(stat.S_IFMT(status.st_mode), "something else")
        raise DatasetError(f"expected a plain file at {path}, found {found}")
    if status.st_size > max_bytes:
        raise DatasetError(f"expected a file of at most {max_bytes} bytes at {path}, found {status.st_size}")
    return status.st_size


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
    """Return what lies in a folder, as an error may say it: the first eight names, or that there is no such folder."""
    if not folder.is_dir():
        return "a file" if folder.exists() else "no such folder"
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join([*names[:8], *(["..."] if len(names) > 8 else [])]) or "nothing"
