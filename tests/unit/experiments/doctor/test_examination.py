"""What the doctor says of real failures."""

import json
import os
import socket
from collections.abc import Callable, Iterable
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result
from typer.testing import CliRunner

from experiments.cli.commands import app
from experiments.doctor.data import check_data
from experiments.doctor.finding import Finding
from experiments.doctor.folders import check_folder, check_leftovers, check_locks
from experiments.doctor.machine import available_bytes, check_loopback, check_memory, check_port, check_shared_memory
from experiments.doctor.trial import check_run
from experiments.doctor.versions import check_versions
from experiments.settings import APP_DIR
from fedmeta_flwr.records.writer import locked

MEBIBYTE = 2**20
PROJECT = """
[project]
name = "other"
requires-python = ">=3.11"
dependencies = ["numpy==0.0.1", "torch", "no-such-package==1.0", "flwr[simulation]>=1"]
"""


def only(findings: Iterable[Finding]) -> Finding:
    (finding,) = findings
    return finding


def pyproject(folder: Path, text: str) -> Path:
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def test_this_environment_has_what_the_project_asks_for() -> None:
    python, packages = check_versions(APP_DIR)
    assert (python.verdict, packages.verdict) == ("ok", "ok")
    for name in ("flwr 1", "ray 2", "torch 2", "learn2learn 0.2.0", "numpy 2"):
        assert name in packages.found


def test_every_package_of_another_version_is_named_with_what_was_expected(tmp_path: Path) -> None:
    python, numpy, missing = check_versions(pyproject(tmp_path, PROJECT))
    assert python.verdict == "ok"
    assert (numpy.name, numpy.verdict) == ("numpy", "wrong")
    assert numpy.found.endswith("; expected ==0.0.1")
    assert "uv sync" in numpy.advice
    assert missing == Finding("no-such-package", "wrong", "not installed; expected ==1.0", numpy.advice)


def test_another_python_is_wrong(tmp_path: Path) -> None:
    python, *_ = check_versions(pyproject(tmp_path, PROJECT.replace(">=3.11", ">=4")))
    assert (python.name, python.verdict) == ("Python", "wrong")
    assert python.found.endswith("expected >=4")


@pytest.mark.parametrize(("mebibytes", "verdict"), [(64_000, "ok"), (2000, "warning"), (1000, "wrong")])
def test_memory_is_judged_by_what_a_run_takes(mebibytes: int, verdict: str) -> None:
    found = only(check_memory(mebibytes * MEBIBYTE))
    assert found.verdict == verdict
    assert f"{mebibytes} MiB free" in found.found
    assert ("--actors 1" in found.advice) == (verdict == "warning")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "3000", "memory.current": "2500", "memory.stat": "anon 2100\ninactive_file 400\n"}, 900),
        ({"memory.max": "3000", "memory.current": "3500", "memory.stat": "inactive_file 0\n"}, 0),
        ({"memory.max": "3000", "memory.current": "2500", "memory.stat": "anon 2100\n"}, None),
        ({"memory.max": "max", "memory.current": "2500", "memory.stat": "inactive_file 0\n"}, None),
        (
            {
                "memory/memory.limit_in_bytes": "3000",
                "memory/memory.usage_in_bytes": "1000",
                "memory/memory.stat": "inactive_file 7\ntotal_inactive_file 10\n",
            },
            2010,
        ),
        ({}, None),
    ],
)
def test_what_a_container_has_left_is_its_limit_less_what_is_used(
    files: dict[str, str], expected: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(available=10**9))
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    assert available_bytes(tmp_path) == (10**9 if expected is None else expected)


def test_a_missing_folder_of_shared_memory_is_a_warning(tmp_path: Path) -> None:
    assert only(check_shared_memory(tmp_path / "shm")).verdict == "warning"
    assert only(check_shared_memory(tmp_path)).verdict == "ok"


def test_a_port_in_use_is_reported() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert (check_port(port).verdict, check_port(port).found) == ("warning", "in use")
    assert check_port(port).verdict == "ok"
    assert only(check_loopback()).verdict == "ok"


def test_a_folder_that_does_not_exist_yet_is_judged_by_the_one_above(tmp_path: Path) -> None:
    assert only(check_folder("results folder", tmp_path / "a" / "b")).verdict in ("ok", "warning")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("place", ["/proc/results", "file/results", "file"])
def test_a_folder_that_cannot_be_written_to_is_wrong(place: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    found = only(check_folder("results folder", tmp_path / place))
    assert found.verdict == "wrong"
    assert "cannot be written to" in found.found
    assert found.advice


def test_a_results_folder_in_use_is_reported_and_an_old_lock_is_not(tmp_path: Path) -> None:
    with locked(tmp_path / "old"):
        pass
    assert only(check_locks(tmp_path)).verdict == "ok"
    with locked(tmp_path / "going" / "on"):
        found = only(check_locks(tmp_path))
    assert (found.verdict, found.found) == ("warning", f"in use: {tmp_path / 'going' / 'on'}")


def test_what_a_killed_run_left_is_reported(tmp_path: Path) -> None:
    assert only(check_leftovers(tmp_path)).verdict == "ok"
    for name in ("fedmeta-abcd1234", "fedmeta-bench-abcd1234", "fedmeta-new_1234"):
        (tmp_path / name).mkdir()
    os.utime(tmp_path / "fedmeta-abcd1234", (0, 0))
    os.utime(tmp_path / "fedmeta-bench-abcd1234", (0, 0))
    found = only(check_leftovers(tmp_path))
    assert found.verdict == "warning"
    assert found.advice.endswith(f"rm -r {tmp_path / 'fedmeta-abcd1234'}")


def test_data_is_looked_at_through_the_loaders(tmp_path: Path, write_drawings: Callable[[Path], None]) -> None:
    missing = only(check_data(None, tmp_path / "none", tmp_path, APP_DIR))
    assert (missing.verdict, missing.found) == ("wrong", f"no folder {tmp_path / 'none'}")
    (tmp_path / "data").mkdir()
    unknown = only(check_data(None, tmp_path / "data", tmp_path, APP_DIR))
    assert (unknown.verdict, unknown.advice) == ("wrong", "name it with --dataset")
    half = only(check_data("omniglot", tmp_path / "data", tmp_path / "cache", APP_DIR))
    assert half.verdict == "wrong"
    assert "expected images_background.zip or images_background/" in half.found
    write_drawings(tmp_path / "data")
    few = only(check_data(None, tmp_path / "data", tmp_path / "cache", APP_DIR))
    assert few.verdict == "warning"
    assert "omniglot: 2 classes of 2 images, fingerprint" in few.found
    assert "Omniglot has 1623; the official data has fingerprint 43f638b9c14f" in few.found


def test_omniglot_that_was_not_downloaded_yet_is_not_downloaded_by_the_doctor(tmp_path: Path) -> None:
    found = only(check_data("omniglot", None, tmp_path, APP_DIR))
    assert (found.verdict, found.found) == ("ok", "omniglot has not been downloaded yet; the first run does that")


@pytest.fixture
def write_drawings() -> Callable[[Path], None]:
    from PIL import Image

    def write(folder: Path) -> None:
        for part in ("images_background", "images_evaluation"):
            for drawer in (1, 2):
                file = folder / part / part.title().replace("_", "") / "character01" / f"0001_{drawer:02d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.new("1", (105, 105), drawer % 2).save(file)

    return write


def test_a_run_that_cannot_begin_is_wrong_with_its_reason(tmp_path: Path) -> None:
    found = only(check_run(pyproject(tmp_path, PROJECT)))
    assert found.verdict == "wrong"
    assert "expected a table [tool.flwr.app.config] with the defaults, found none" in found.found


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["doctor", "--no-run", *arguments])


def test_something_wrong_ends_with_1_and_stands_in_the_document(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = doctor("--json", "--results-dir", str(tmp_path / "file"), "--app", str(pyproject(tmp_path, PROJECT)))
    document = json.loads(result.stdout)
    assert (result.exit_code, document["exit_code"], document["status"]) == (1, 1, "failed")
    wrong = {finding["name"] for finding in document["findings"] if finding["verdict"] == "wrong"}
    assert wrong == {"numpy", "no-such-package", "results folder"}
    assert document["error"] == f"3 of {len(document['findings'])} checks found something wrong"
    assert all(finding["advice"] for finding in document["findings"] if finding["verdict"] != "ok")
    assert "wrong    numpy" in result.stderr


def test_a_check_that_cannot_be_made_is_wrong_and_the_others_still_report(tmp_path: Path) -> None:
    result = doctor("--app", str(tmp_path), "--results-dir", str(tmp_path))  # no pyproject.toml
    assert result.exit_code == 1
    assert "wrong    packages        SettingsError" in result.stdout
    assert "ok       results folder" in result.stdout


def test_an_unknown_data_set_is_a_mistake_in_the_command() -> None:
    assert doctor("--dataset", "mnist").exit_code == 2
