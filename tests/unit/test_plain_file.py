"""What a path names is looked at before it is opened."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from fedmeta_flwr.plain_file import PlainFileError, plain_file_size


def bind(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)  # in the current folder: a socket's path has 107 characters at most


def test_a_plain_file_has_a_size_up_to_the_largest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert plain_file_size(tmp_path / "a", 5) == 5
    with pytest.raises(PlainFileError, match="expected a file of at most 4 bytes, found 5"):
        plain_file_size(tmp_path / "a", 4)


@pytest.mark.skipif(os.name != "posix", reason="pipes and sockets in folders")
@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (Path.mkdir, "a folder"),
        (os.mkfifo, "a pipe"),
        (bind, "a socket"),
        (lambda path: path.symlink_to(path), "a link"),
    ],
)
def test_anything_else_is_refused_by_its_kind(
    make: Callable[[Path], None], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "a")
    with pytest.raises(PlainFileError, match=f"expected a plain file, found {kind}"):
        plain_file_size(tmp_path / "a", 2**20)


def test_a_device_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PlainFileError, match="found a device"):
        plain_file_size(Path(os.devnull), 2**20)


def test_a_missing_file_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        plain_file_size(tmp_path / "a", 2**20)
