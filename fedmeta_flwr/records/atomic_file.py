"""Files that are written completely or not at all, even if the process or the machine stops."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def atomic_file(path: Path, *, is_durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a temporary file for writing; it replaces the file at `path` when the block ends without an exception.

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    is_durable : bool
        Whether the file must survive a power failure; if so, the function waits for the disk.

    Yields
    ------
    IO[bytes]
        A temporary file in the same folder, which is removed if the block raises.

    Raises
    ------
    OSError
        If the file cannot be written; a previous file at `path` is then unchanged.
    """
    unfinished = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with unfinished.open("wb") as file:
            yield file
            if is_durable:
                file.flush()
                os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    if is_durable:
        flush_folder(path.parent)


def write_whole(path: Path, content: bytes | str, *, is_durable: bool = True) -> None:
    """Write a file completely or not at all, text as UTF-8; parameters and errors are those of `atomic_file`."""
    with atomic_file(path, is_durable=is_durable) as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def remove_unfinished(path: Path) -> None:
    """Remove the temporary files of processes that were killed while they wrote a file."""
    with suppress(OSError):
        for file in path.parent.glob(f".{path.name}-*"):
            file.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name != "posix":  # on other systems, a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
