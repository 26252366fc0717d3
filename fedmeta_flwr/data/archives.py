"""The files of a zip archive, or of the same tree unpacked, read one by one; nothing is unpacked to disk.

Both may come from an untrusted source. The archive's list of entries is checked before any entry is unpacked, and no
entry is unpacked beyond its stated size.
"""

import hashlib
import io
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path, PurePosixPath

from fedmeta_flwr.data.image_files import is_skipped
from fedmeta_flwr.data.safe_files import MAX_FILE_BYTES, check_file, read_file, refuse_links
from fedmeta_flwr.data.store import DatasetError
from fedmeta_flwr.plain_file import file_kind

MAX_TOTAL_BYTES = 2**36  # 64 GiB; the photos of mini-ImageNet in their original size have 7 GiB
MAX_ENTRIES = 250_000  # mini-ImageNet has 60,000
MAX_RATIO = 200  # photos hardly shrink, lists of names shrink 10 to 20 times, zeros 1000 times
_MIN_BOMB_BYTES = 2**22  # 4 MiB: less is harmless, and an image of a single colour shrinks as much as a zip bomb
_MAX_DEPTH = 32  # nested folders; the layouts have 3
_MAX_PIECE = 2**25  # 32 MiB; zipfile reads the list of entries in one piece, with about 100 bytes per entry
_PIECE = 2**20

_UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    ValueError,
    LookupError,
    OverflowError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
_LEADS_OUT = re.compile(r"$|/|[A-Za-z]:|(.*/)?\.\.(/|$)|.*\0", re.DOTALL)
_SAYS_UTF_8 = 0x800  # a flag; without it, zipfile takes names for cp437
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # other methods may allocate gigabytes before they begin


def read_entries(source: Path) -> Iterator[tuple[str, bytes]]:
    r"""Read the files of a zip archive or a folder.

    Parameters
    ----------
    source
        A zip archive, or a folder.

    Yields
    ------
    tuple of str and bytes
        Name and content of a file. Names use ``/``, even if an archive that was made on Windows has ``\``. Names in a
        folder begin with the folder's name, as they do in an archive of it. Hidden and system files
        (`fedmeta_flwr.data.image_files.is_skipped`) are left out.

    Raises
    ------
    DatasetError
        If the archive or a file in it is damaged or cannot be read; if a name leads out of the archive or occurs twice;
        if something is neither a folder nor a plain file, such as a link or a pipe; if an entry is encrypted or
        compressed with a method other than deflate; or if one entry, or all of them, would unpack to more than any data
        set has.
    """
    yield from (_folder_entries(source) if source.is_dir() else _zip_entries(source))


def content_digest(source: Path) -> str:
    """Return the SHA-256 of a file's bytes, or of a folder's file names and their bytes.

    Parameters
    ----------
    source
        A file, such as a zip archive, or a folder.

    Returns
    -------
    str
        64 hex digits.

    Raises
    ------
    DatasetError
        If a file cannot be read, or something is neither a folder nor a plain file, such as a link or a pipe.
    """
    digest = hashlib.sha256()
    if source.is_dir():
        for name, path in _folder_files(source):
            _hash_file(path, digest, f"{len(name)} {name} ")
    else:
        _hash_file(source, digest)
    return digest.hexdigest()


def _hash_file(path: Path, digest: "hashlib._Hash", heading: str = "") -> None:
    size = check_file(path, MAX_TOTAL_BYTES)
    if heading:
        digest.update(f"{heading}{size} ".encode(errors="surrogateescape"))
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE):
                digest.update(piece)
    except OSError as error:
        raise DatasetError(f"expected a readable file at {path}, found: {error}") from error


class _CautiousFile(io.BufferedReader):
    """A file that refuses to read a large piece at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > _MAX_PIECE:
            raise zipfile.BadZipFile(f"a list of entries of {size} bytes, more than {_MAX_PIECE}")
        return super().read(size)


def _zip_entries(source: Path) -> Iterator[tuple[str, bytes]]:
    check_file(source, MAX_TOTAL_BYTES)
    with ExitStack() as stack:
        try:
            file = stack.enter_context(_CautiousFile(io.FileIO(source)))
            archive = stack.enter_context(zipfile.ZipFile(file))
        except _UNREADABLE as error:
            raise DatasetError(f"expected a whole zip archive at {source}, found: {error}") from error
        infos = archive.infolist()
        _check_list(infos, source)
        for info in infos:
            name = _name(info)
            if not name.endswith("/") and not is_skipped(name):
                yield str(PurePosixPath(name)), _read_zip_entry(archive, info, source)


def _name(info: zipfile.ZipInfo) -> str:
    """Return an entry's name as the standard defines it: with ``/``, and in UTF-8, which macOS does not declare."""
    name = info.orig_filename
    if name.partition("\0")[0].replace("\\", "/") != info.filename.replace("\\", "/"):
        name = info.filename  # Python 3.12 and later take it from the entry's Unicode Path field, if it has one
    elif not info.flag_bits & _SAYS_UTF_8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode()
    return name.replace("\\", "/")


def _check_list(infos: Sequence[zipfile.ZipInfo], source: Path) -> None:
    """Refuse an archive whose list of entries is not acceptable."""
    if len(infos) > MAX_ENTRIES:
        raise DatasetError(f"expected at most {MAX_ENTRIES} entries in {source}, found {len(infos)}")
    total = sum(info.file_size for info in infos)
    if total > MAX_TOTAL_BYTES:
        raise DatasetError(f"expected at most {MAX_TOTAL_BYTES} bytes unpacked in {source}, found {total}")
    names: set[PurePosixPath] = set()
    for info in infos:
        _check_entry(info, source)
        name = PurePosixPath(_name(info))
        if name in names and not _name(info).endswith("/"):
            raise DatasetError(f"expected each name only once, found {_name(info)!r} twice in {source}")
        names.add(name)


def _check_entry(info: zipfile.ZipInfo, source: Path) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)  # 0 if it comes from Windows
    if _LEADS_OUT.match(_name(info)):
        expected, found = "names that stay inside the archive", ""
    elif kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        expected, found = "plain files and folders", f"{file_kind(kind)}: "
    elif info.flag_bits & 1:
        expected, found = "entries without a password", "an encrypted one: "
    elif info.compress_type not in _METHODS:
        expected, found = "entries stored or deflated", f"compression method {info.compress_type}: "
    elif info.file_size > MAX_FILE_BYTES:
        expected, found = f"entries of at most {MAX_FILE_BYTES} bytes", f"one of {info.file_size}: "
    elif info.file_size > max(_MIN_BOMB_BYTES, MAX_RATIO * info.compress_size):
        expected = f"entries that grow at most {MAX_RATIO} times"
        found = f"one that grows from {info.compress_size} bytes to {info.file_size}: "
    else:
        return
    raise DatasetError(f"expected {expected}, found {found}{_name(info)!r} in {source}")


def _read_zip_entry(archive: zipfile.ZipFile, info: zipfile.ZipInfo, source: Path) -> bytes:
    """Unpack an entry in pieces, because zipfile would exceed the stated size if asked for all of it at once."""
    try:
        with archive.open(info) as entry:
            content = b"".join(iter(lambda: entry.read(_PIECE), b""))
        if len(content) != info.file_size:
            raise ValueError(f"{len(content)} bytes instead of {info.file_size}")
    except _UNREADABLE as error:
        raise DatasetError(f"expected a readable entry {_name(info)!r} in {source}, found: {error}") from error
    return content


def _folder_entries(source: Path) -> Iterator[tuple[str, bytes]]:
    for name, path in _folder_files(source):
        yield name, read_file(path)


def _folder_files(source: Path) -> Iterator[tuple[str, Path]]:
    """List the files of a folder; the folder itself may be a link, because the user chose it."""
    for parent, folders, files in os.walk(source, onerror=_refuse_folder):
        inside = Path(parent).relative_to(source).parts
        if len(inside) > _MAX_DEPTH:
            raise DatasetError(f"expected folders at most {_MAX_DEPTH} deep in {source}, found {parent}")
        folders[:] = sorted(folder for folder in folders if not is_skipped(folder))
        refuse_links(Path(parent, folder) for folder in folders)
        for file in sorted(files):
            if not is_skipped(file):
                yield str(PurePosixPath(source.name, *inside, file)), Path(parent, file)


def _refuse_folder(error: OSError) -> None:
    raise DatasetError(f"expected a readable folder, found: {error}") from error
