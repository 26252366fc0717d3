"""Plain files: a path is checked before it is opened.

A file may come from an untrusted source. A symbolic link may lead anywhere or in a circle, opening a pipe may block
forever, a device has no end, and a sparse file may be larger than memory although it takes no space on disk.
"""

import stat
from pathlib import Path

_KINDS = {
    stat.S_IFLNK: "a link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class PlainFileError(ValueError):
    """A path that is not a plain file, or a file that is too large.

    Attributes
    ----------
    expected, found : str
        What was expected and found, such as ``"a plain file"`` and ``"a pipe"``.
    """

    def __init__(self, expected: str, found: str) -> None:
        self.expected, self.found = expected, found
        super().__init__(f"expected {expected}, found {found}")


def plain_file_size(path: Path, max_bytes: int) -> int:
    """Return the size of a plain file in bytes, without opening it.

    Raises
    ------
    OSError
        If there is no such file, or its status cannot be read.
    PlainFileError
        If it is larger than `max_bytes`, or is a link, a folder, a pipe, a socket or a device.
    """
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise PlainFileError("a plain file", file_kind(status.st_mode))
    if status.st_size > max_bytes:
        raise PlainFileError(f"a file of at most {max_bytes} bytes", str(status.st_size))
    return status.st_size


def file_kind(mode: int) -> str:
    """Return the kind of a file that is not plain, given its mode, such as ``"a pipe"``."""
    return _KINDS.get(stat.S_IFMT(mode), "something else")
