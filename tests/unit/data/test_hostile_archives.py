"""Zip archives from strangers: every trick is refused by the name of the archive and of the entry."""

import io
import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from unit.bounded_memory import on_linux, outcomes

from fedmeta_flwr.data import archives
from fedmeta_flwr.data.archives import content_digest, read_entries
from fedmeta_flwr.data.safe_files import MAX_FILE_BYTES
from fedmeta_flwr.data.store import DatasetError

WriteZip = Callable[[bytes], Path]


@pytest.fixture
def write(tmp_path: Path) -> WriteZip:
    def write_zip(content: bytes) -> Path:
        (tmp_path / "part.zip").write_bytes(content)
        return tmp_path / "part.zip"

    return write_zip


def zipped(*entries: tuple[zipfile.ZipInfo | str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for info, content in entries:
            archive.writestr(info, content, method)
    return file.getvalue()


def entry(name: str, mode: int = 0) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def restated(content: bytes, size: int, entry_number: int = 0) -> bytes:
    """Return the archive with another size of an entry in its list; what is packed stays."""
    place = -1
    for _ in range(entry_number + 1):
        place = content.index(b"PK\x01\x02", place + 1)
    return content[: place + 24] + struct.pack("<I", size) + content[place + 28 :]


@pytest.mark.parametrize(
    "name",
    [
        *("/etc/passwd", "//server/share", "../a", "a/../../b", "a/..", ".."),
        *("..\\a", "a\\..\\..\\b", "\\a", "\\\\server\\share", "C:/a", "c:a", "C:\\a", "a\0b", "\0"),
    ],
)
def test_names_that_lead_out_or_hide_their_end_are_refused(write: WriteZip, name: str) -> None:
    placeholder = "x" * len(name)  # zipfile would not write some of them
    path = write(zipped(("fine", b"1"), (placeholder, b"2")).replace(placeholder.encode(), name.encode()))
    with pytest.raises(DatasetError, match=r"names that stay inside the archive, found '.*part\.zip") as caught:
        list(read_entries(path))
    assert repr(name.replace("\\", "/")) in str(caught.value)


@pytest.mark.parametrize("name", ["a..b", "..a/b", "ab:/c", "a/C:/b", "ä/ö", "...", "a b", "./a"])
def test_strange_names_that_stay_inside_are_read(write: WriteZip, name: str) -> None:
    found = dict(read_entries(write(zipped((name, b"1")))))
    assert found in ({name.removeprefix("./"): b"1"}, {})  # nothing where the name is hidden, as '...'


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        (stat.S_IFLNK, "a link"),
        (stat.S_IFIFO, "a pipe"),
        (stat.S_IFSOCK, "a socket"),
        (stat.S_IFCHR, "a device"),
        (stat.S_IFBLK, "a device"),
        (0o160000, "something else"),
    ],
)
def test_entries_that_are_no_plain_files_are_refused(write: WriteZip, mode: int, kind: str) -> None:
    path = write(zipped((entry("a/evil", mode | 0o777), b"/etc/passwd")))
    with pytest.raises(DatasetError, match=rf"plain files and folders, found {kind}: 'a/evil' in .*part\.zip"):
        list(read_entries(path))


@pytest.mark.parametrize("mode", [0, 0o644, stat.S_IFREG | 0o644])
def test_plain_entries_are_read_with_and_without_a_mode(write: WriteZip, mode: int) -> None:
    path = write(zipped((entry("a/", stat.S_IFDIR), b""), (entry("a/b", mode), b"1")))
    assert dict(read_entries(path)) == {"a/b": b"1"}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("second", ["a/b", "a//b", "a/./b"])
def test_two_entries_of_a_name_are_refused(write: WriteZip, second: str) -> None:
    path = write(zipped(("a/b", b"1"), (second, b"2")))
    with pytest.raises(DatasetError, match=rf"each name only once, found '{second}' twice in .*part\.zip"):
        list(read_entries(path))


def test_an_encrypted_entry_is_refused(write: WriteZip) -> None:
    content = bytearray(zipped(("a/b", b"1")))
    content[6] |= 1  # the flags, in the entry's head and in the list
    content[content.index(b"PK\x01\x02") + 8] |= 1
    with pytest.raises(DatasetError, match=r"without a password, found an encrypted one: 'a/b' in .*part\.zip"):
        list(read_entries(write(bytes(content))))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_that_may_ask_for_much_memory_are_refused(write: WriteZip, method: int) -> None:
    with pytest.raises(DatasetError, match=rf"stored or deflated, found compression method {method}: 'a' in "):
        list(read_entries(write(zipped(("a", b"1"), method=method))))


def refuse_to_unpack(*_: object) -> None:
    raise AssertionError("unpacked")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            zipped(("fine", b"1"), ("bomb", bytes(2**23))),
            r"grow at most 200 times, found one .* to 8388608: 'bomb' in ",
        ),
        (
            restated(zipped(("a", b"1")), MAX_FILE_BYTES + 1),
            rf"at most {MAX_FILE_BYTES} bytes, found one of .*: 'a' in ",
        ),
    ],
)
def test_a_bomb_is_refused_before_anything_is_unpacked(
    write: WriteZip, monkeypatch: pytest.MonkeyPatch, content: bytes, complaint: str
) -> None:
    monkeypatch.setattr(zipfile.ZipFile, "open", refuse_to_unpack)
    with pytest.raises(DatasetError, match=rf"{complaint}.*part\.zip"):
        list(read_entries(write(content)))


@pytest.mark.parametrize(
    ("limit", "complaint"),
    [
        ("MAX_ENTRIES", "at most 2 entries in .*found 3"),
        ("MAX_TOTAL_BYTES", "at most 200 bytes unpacked in .*found 300"),
    ],
)
def test_too_many_entries_or_bytes_are_refused_before_anything_is_unpacked(
    write: WriteZip, monkeypatch: pytest.MonkeyPatch, limit: str, complaint: str
) -> None:
    path = write(zipped(*((name, bytes(100)) for name in "abc")))
    monkeypatch.setattr(zipfile.ZipFile, "open", refuse_to_unpack)
    monkeypatch.setattr(archives, limit, {"MAX_ENTRIES": 2, "MAX_TOTAL_BYTES": 200}[limit])
    monkeypatch.setattr(archives, "check_file", lambda *_: 0)
    with pytest.raises(DatasetError, match=complaint):
        list(read_entries(path))


def test_a_list_of_entries_beyond_measure_is_refused_unread(write: WriteZip, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(zipped(*((str(name), b"") for name in range(100))))
    monkeypatch.setattr(archives, "_MAX_PIECE", 4000)
    with pytest.raises(
        DatasetError, match=r"whole zip archive at .*part\.zip.*list of entries of \d+ bytes, more than 4000"
    ):
        list(read_entries(path))


@pytest.mark.parametrize("size", [10, 2**20, MAX_FILE_BYTES])
def test_a_size_that_is_a_lie_is_refused(write: WriteZip, size: int) -> None:
    content = restated(zipped(("a", bytes(range(256)) * 12), method=zipfile.ZIP_STORED), size)
    with pytest.raises(DatasetError, match=r"'a' in .*part\.zip"):
        list(read_entries(write(content)))


def test_a_shorter_entry_than_stated_is_refused_though_its_checksum_is_right(write: WriteZip) -> None:
    with pytest.raises(DatasetError, match=r"readable entry 'a' in .*part\.zip, found: 3 bytes instead of 4"):
        list(read_entries(write(restated(zipped(("a", b"123")), 4))))


@on_linux
def test_bombs_with_true_and_with_false_sizes_take_little_memory(tmp_path: Path) -> None:
    bomb = zipped(("part/bomb", bytes(3 * 10**8)))  # 300 MB in 300 kB
    nested = zipped(("part/inner.zip", bomb))
    for name, content in (
        ("honest.zip", bomb),
        ("small.zip", restated(bomb, 100)),
        ("largest.zip", restated(bomb, 2 * 10**8)),
        ("nested.zip", nested),
    ):
        (tmp_path / name).write_bytes(content)
    with (tmp_path / "holes.zip").open("wb") as file:
        file.truncate(2**37)
    (tmp_path / "folder").mkdir()
    with (tmp_path / "folder" / "holes.png").open("wb") as file:
        file.truncate(2**33)
    names = ["honest.zip", "small.zip", "largest.zip", "nested.zip", "holes.zip", "folder"]
    imports = "from fedmeta_flwr.data.archives import DatasetError, read_entries"
    call = "for _ in read_entries(file): pass"
    found = outcomes(imports, call, "DatasetError", [str(tmp_path / name) for name in names], mebibytes=100)
    assert [words.partition(",")[0] for words in found] == [
        f"expected entries of at most {MAX_FILE_BYTES} bytes",
        f"expected a readable entry 'part/bomb' in {tmp_path / 'small.zip'}",
        "expected entries that grow at most 200 times",
        "accepted",  # the content of an entry is data: an archive in an archive is not unpacked
        f"expected a file of at most {archives.MAX_TOTAL_BYTES} bytes at {tmp_path / 'holes.zip'}",
        f"expected a file of at most {MAX_FILE_BYTES} bytes at {tmp_path / 'folder' / 'holes.png'}",
    ]


def test_digests_do_not_depend_on_how_a_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "part" / "a").write_bytes(b"123")
    (tmp_path / "part" / b"\xff".decode(errors="surrogateescape")).write_bytes(b"")  # no text in any encoding
    # printf '6 part/a 3 1236 part/\xff 0 ' | sha256sum
    assert content_digest(tmp_path / "part") == "4f8ab9ee335f734371a5596e06d21581fd286eb5ebb346d58a773e7e2f767143"
