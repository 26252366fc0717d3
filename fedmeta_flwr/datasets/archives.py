"""Files of a zip archive or of the same tree unpacked, read one by one; nothing is unpacked to disk."""

import hashlib
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from fedmeta_flwr.datasets.store import DatasetError

_CLUTTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, struct.error, zipfile.BadZipFile, zlib.error)


def read_entries(source: Path) -> Iterator[tuple[str, bytes]]:
    """Read the files of a zip archive or a folder.

    Parameters
    ----------
    source
        A zip archive, or a folder.

    Yields
    ------
    tuple of str and bytes
        Name and content of a file. Names use ``/``; a folder's begin with the folder's own name, as they do in
        an archive of it. What file managers leave behind (``__MACOSX``, ``.DS_Store``) is left out.

    Raises
    ------
    DatasetError
        If the archive or a file in it is damaged or cannot be read, or a name leads out of the archive.
    """
    yield from (_folder_entries(source) if source.is_dir() else _zip_entries(source))


def content_digest(source: Path) -> str:
    """Return the SHA-256 of an archive's bytes, or of a folder's file names and their bytes.

    Parameters
    ----------
    source
        A zip archive, or a folder.

    Returns
    -------
    str
        64 hex digits.

    Raises
    ------
    DatasetError
        If a file cannot be read.
    """
    digest = hashlib.sha256()
    if source.is_dir():
        for name, content in _folder_entries(source):
            digest.update(f"{len(name)} {name} {len(content)} ".encode())
            digest.update(content)
        return digest.hexdigest()
    try:
        with source.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DatasetError(f"expected a readable file at {source}, found: {error}") from error


def _is_clutter(name: PurePosixPath) -> bool:
    return any(part in _CLUTTER or (part.startswith(".") and part != "..") for part in name.parts)


def _zip_entries(source: Path) -> Iterator[tuple[str, bytes]]:
    try:
        archive = zipfile.ZipFile(source)
    except _UNREADABLE as error:
        raise DatasetError(f"expected a whole zip archive at {source}, found: {error}") from error
    with archive:
        for info in archive.infolist():
            name = PurePosixPath(info.filename)
            if name.is_absolute() or ".." in name.parts or "\\" in info.filename:
                raise DatasetError(f"expected names that stay inside the archive, found {info.filename!r} in {source}")
            if info.is_dir() or _is_clutter(name):
                continue
            yield str(name), _read_zip_entry(archive, info, source)


def _read_zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: Path) -> bytes:
    try:
        return archive.read(info)
    except _UNREADABLE as error:
        raise DatasetError(f"expected a readable entry {info.filename!r} in {source}, found: {error}") from error


def _folder_entries(source: Path) -> Iterator[tuple[str, bytes]]:
    for parent, folders, files in os.walk(source, onerror=_refuse_folder, followlinks=True):
        folders.sort()
        for file in sorted(files):
            path = Path(parent, file)
            name = PurePosixPath(source.name, *path.relative_to(source).parts)
            if _is_clutter(name):
                continue
            try:
                content = path.read_bytes()
            except OSError as error:
                raise DatasetError(f"expected a readable file at {path}, found: {error}") from error
            yield str(name), content


def _refuse_folder(error: OSError) -> None:
    raise DatasetError(f"expected a readable folder, found: {error}") from error
