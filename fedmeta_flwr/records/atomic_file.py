"""Files that are written whole or not at all, wherever the process or the machine stops."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO


@contextmanager
def atomic_file(path: Path, *, is_durable: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its place, over what is there, when the block ends well.

    Parameters
    ----------
    path : Path
        The file; its folder must exist.
    is_durable : bool
        Whether it must survive a power cut, for which the disk is waited for.

    Yields
    ------
    IO[bytes]
        A file beside its place, removed if the block raises.

    Raises
    ------
    OSError
        If it cannot be written; what stood there before still does.
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
    """Write a file whole or not at all, a text as UTF-8; parameters and errors are those of `atomic_file`."""
    with atomic_file(path, is_durable=is_durable) as file:
        file.write(content if isinstance(content, bytes) else content.encode())


def remove_unfinished(path: Path) -> None:
    """Remove what a process has left beside a file that was killed while it wrote it."""
    with suppress(OSError):
        for file in path.parent.glob(f".{path.name}-*"):
            file.unlink(missing_ok=True)


def flush_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk."""
    if os.name != "posix":  # elsewhere a folder cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
