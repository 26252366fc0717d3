import os
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedmeta_flwr.data import archives
from fedmeta_flwr.data.archives import content_digest, read_entries
from fedmeta_flwr.data.store import DatasetError

FILES = {"part/c/3": b"three", "part/b/2": b"two" * 50, "part/b/1": b"one", "part/a": b"a"}


def _zip(path: Path, files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def _unpack(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder / "part"


def test_an_archive_and_the_same_tree_unpacked_hold_the_same_entries(tmp_path: Path) -> None:
    assert dict(read_entries(_zip(tmp_path / "part.zip", FILES))) == FILES
    assert dict(read_entries(_unpack(tmp_path, FILES))) == FILES


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    names = [name for name, _ in read_entries(_unpack(tmp_path, FILES))]
    assert names == ["part/a", "part/b/1", "part/b/2", "part/c/3"]


def test_what_file_managers_leave_behind_is_left_out(tmp_path: Path) -> None:
    clutter = {"part/.DS_Store": b"", "__MACOSX/part/._a": b"", "part/__MACOSX/a": b"", "part/b/Thumbs.db": b""}
    assert dict(read_entries(_zip(tmp_path / "part.zip", FILES | clutter))) == FILES
    assert dict(read_entries(_unpack(tmp_path, FILES | clutter))) == FILES


def test_clutter_does_not_change_a_folders_digest(tmp_path: Path) -> None:
    folder = _unpack(tmp_path, FILES)
    before = content_digest(folder)
    (folder / ".DS_Store").write_bytes(b"x")
    assert content_digest(folder) == before


def test_names_with_backslashes_are_read_as_windows_means_them(tmp_path: Path) -> None:
    names = {name.replace("/", "\\"): content for name, content in FILES.items()}
    names |= {"part\\b\\": b"", "part\\.hidden\\a": b"", "__MACOSX\\part\\a": b""}
    assert dict(read_entries(_zip(tmp_path / "part.zip", names))) == FILES


def test_one_entry_in_two_spellings_is_refused(tmp_path: Path) -> None:
    path = _zip(tmp_path / "part.zip", {"part/a": b"1", "part\\a": b"2"})
    with pytest.raises(DatasetError, match=r"each name only once, found 'part.*a' twice in .*part\.zip"):
        list(read_entries(path))


@pytest.mark.parametrize("says_utf_8", [True, False])
def test_names_are_read_as_utf_8_whether_an_archive_says_so_or_not(tmp_path: Path, says_utf_8: bool) -> None:
    path = _zip(tmp_path / "part.zip", {"part/Ä 🐈/1": b"1"})
    content = bytearray(path.read_bytes())
    for place in (6, content.index(b"PK\1\2") + 8):  # the flags, in the entry's head and in the list
        assert content[place + 1] == 8
        content[place + 1] = 8 * says_utf_8
    path.write_bytes(content)
    assert dict(read_entries(path)) == {"part/Ä 🐈/1": b"1"}


def test_names_that_are_not_utf_8_are_read_as_of_old(tmp_path: Path) -> None:
    path = _zip(tmp_path / "part.zip", {"part/xx": b"1"})
    path.write_bytes(path.read_bytes().replace(b"part/xx", b"part/\x8e\xff"))
    assert dict(read_entries(path)) == {"part/\u00c4\u00a0": b"1"}  # cp437


def test_a_name_from_a_unicode_path_field_counts() -> None:
    info = zipfile.ZipInfo("part/\u00e9\u00e2/1")  # its old field, read as cp437
    info.filename = "part/\u732b/1"  # what Python 3.12 and later put there
    assert archives._name(info) == "part/\u732b/1"


def test_messages_name_an_entry_as_it_is_read(tmp_path: Path) -> None:
    path = _zip(tmp_path / "part.zip", {"part/\u00c4\\1": b"oneone"}, zipfile.ZIP_STORED)
    content = path.read_bytes().replace(b"oneone", b"oneTwo")
    flags = content.index(b"PK\1\2") + 8
    path.write_bytes(content[:6] + b"\0\0" + content[8:flags] + b"\0\0" + content[flags + 2 :])  # does not say UTF-8
    with pytest.raises(DatasetError, match=r"readable entry 'part/\u00c4/1' in .*part\.zip"):
        list(read_entries(path))


@pytest.mark.parametrize("name", ["../outside", "part/../../outside", "/outside", "part\\..\\outside"])
def test_names_that_lead_out_of_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    path = _zip(tmp_path / "part.zip", FILES | {name: b""})
    with pytest.raises(DatasetError, match=r"stay inside the archive.*outside.*part\.zip"):
        list(read_entries(path))


def test_a_truncated_archive_is_refused_by_name(tmp_path: Path) -> None:
    path = _zip(tmp_path / "part.zip", FILES)
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(DatasetError, match=r"whole zip archive at .*part\.zip"):
        list(read_entries(path))


def test_a_corrupt_entry_is_refused_by_name(tmp_path: Path) -> None:
    path = _zip(tmp_path / "part.zip", FILES, zipfile.ZIP_STORED)
    path.write_bytes(path.read_bytes().replace(b"twotwo", b"twoTwo", 1))
    with pytest.raises(DatasetError, match=r"'part/b/2' in .*part\.zip"):
        list(read_entries(path))


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_a_damaged_archive_is_read_or_refused_but_never_crashes(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = _zip(Path(folder, "part.zip"), FILES)
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 3))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content[: data.draw(st.integers(len(content) - 2, len(content)))])
        with suppress(DatasetError):
            list(read_entries(path))


@pytest.mark.parametrize("changed", [{"part/a": b"b"}, {"part/d": b""}])
def test_a_digest_changes_with_any_name_or_content(tmp_path: Path, changed: dict[str, bytes]) -> None:
    before = content_digest(_unpack(tmp_path / "1", FILES)), content_digest(_zip(tmp_path / "1.zip", FILES))
    after = (
        content_digest(_unpack(tmp_path / "2", FILES | changed)),
        content_digest(_zip(tmp_path / "2.zip", FILES | changed)),
    )
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_folders_digest_does_not_depend_on_where_it_lies_or_the_order_of_writing(tmp_path: Path) -> None:
    reverse = dict(reversed(FILES.items()))
    assert content_digest(_unpack(tmp_path / "1", FILES)) == content_digest(_unpack(tmp_path / "2", reverse))


def test_a_folder_that_cannot_be_listed_is_refused_rather_than_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scandir = os.scandir

    def refuse_b(path: str) -> Iterator[os.DirEntry[str]]:
        if Path(path).name == "b":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    folder = _unpack(tmp_path, FILES)
    monkeypatch.setattr(os, "scandir", refuse_b)
    with pytest.raises(DatasetError, match=r"readable folder.*Permission denied.*part/b"):
        list(read_entries(folder))


def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path) -> None:
    folder = _unpack(tmp_path, FILES)
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DatasetError, match="part/broken"):
        list(read_entries(folder))
    with pytest.raises(DatasetError, match="nowhere"):
        content_digest(tmp_path / "nowhere")
