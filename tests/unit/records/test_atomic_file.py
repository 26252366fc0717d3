"""A file is written whole or not at all."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest

from fedmeta_flwr.records.atomic_file import atomic_file, remove_unfinished, write_whole


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("is_durable", [True, False])
def test_a_file_takes_the_place_of_another(tmp_path: Path, is_durable: bool) -> None:
    file = tmp_path / "a"
    for content in (b"first, which is longer", "sécond"):
        write_whole(file, content, is_durable=is_durable)
    assert (file.read_text(encoding="utf-8"), names(tmp_path)) == ("sécond", ["a"])


def test_a_file_is_not_visible_before_it_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "a"
    with atomic_file(file) as unfinished:
        unfinished.write(b"half")
        assert not file.exists()
        unfinished.write(b" and half")
    assert file.read_bytes() == b"half and half"


@pytest.mark.parametrize("owner", [(os, "fsync"), (Path, "replace")])
def test_where_a_disk_is_full_the_old_file_stays(
    owner: tuple[Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_whole(tmp_path / "a", "old")
    monkeypatch.setattr(*owner, full)
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "a", "new")
    assert ((tmp_path / "a").read_text(), names(tmp_path)) == ("old", ["a"])


def test_a_block_that_raises_leaves_no_file(tmp_path: Path) -> None:
    def interrupted() -> None:
        with atomic_file(tmp_path / "a") as file:
            file.write(b"some")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert names(tmp_path) == []


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a-17", ".b-17", "a"):
        (tmp_path / name).touch()
    remove_unfinished(tmp_path / "a")
    assert names(tmp_path) == [".b-17", "a"]
    remove_unfinished(tmp_path / "missing" / "a")
