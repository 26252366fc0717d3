import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner
from unit.experiments.conftest import MakeResults

from experiments.benchmarks import running as benchmark
from experiments.cli import session
from experiments.cli.commands import app
from experiments.runner import run
from experiments.runner.outcome import RunFailedError
from experiments.runner.superlink import SuperLinkError
from experiments.settings import APP_DIR
from fedmeta_flwr.apps import preflight
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.data import DatasetError
from fedmeta_flwr.records.results import RunResults


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "200")
    return folder


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["run", "quickstart", "-c", "device=cpu", *arguments])


def forbid_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(*_: Any) -> None:
        raise AssertionError("a SuperLink was started")

    monkeypatch.setattr(run, "LocalSuperLink", start)


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-c", "inner-rl=0.1"), "inner-rl: no such setting"),
        (("-c", "way=five"), "way: expected a whole number, found 'five' (str)"),
        (("-c", "way"), "-c: expected key=value, found 'way'"),
        (
            ("-c", "backdoor-key=nowhere.png"),
            "backdoor-key: expected one of dots, dots-inverted, patch, an image file, or 'module:attribute', "
            "found no file",
        ),
        (("-c", "quorum=9"), "quorum: expected at most num-clients = 4, found 9"),
        (("--engine", "inline", "--actors", "2"), "actors: expected none with --engine inline"),
        (("--engine", "inline", "--ray-address", "here:1"), "ray-address: expected none with --engine inline"),
    ],
)
def test_bad_input_is_one_clear_error_before_anything_starts_or_is_written(
    arguments: tuple[str, ...], message: str, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_start(monkeypatch)
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: ")
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""
    assert list(empty_folder.iterdir()) == []


def test_a_new_results_folder_in_a_place_whose_name_is_no_text_is_refused(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_start(monkeypatch)
    (odd := empty_folder / os.fsdecode(b"caf\xe9")).mkdir()
    monkeypatch.chdir(odd)
    result = invoke()
    assert result.exit_code == 2
    assert "results-dir: expected a text that UTF-8 can hold" in result.stderr
    assert list(odd.iterdir()) == []


def test_the_current_folder_may_have_packages_of_the_projects_names(empty_folder: Path) -> None:
    for name in ("clients", "fedmeta_flwr", "strategies"):
        (empty_folder / name).mkdir()
        (empty_folder / name / "__init__.py").write_text("raise RuntimeError('another one')", encoding="utf-8")
    process = subprocess.run(
        [sys.executable, "-m", "experiments", "--help"],
        env={**os.environ, "PYTHONPATH": str(APP_DIR)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    assert "quickstart" in process.stdout


def test_a_missing_configuration_file_is_bad_input(empty_folder: Path) -> None:
    result = CliRunner().invoke(app, ["run", "nowhere/mine.toml"])
    assert result.exit_code == 2
    assert "found 'nowhere/mine.toml'" in result.stderr
    assert list(empty_folder.iterdir()) == []


def test_a_dataset_that_is_not_available_is_reported_before_anything_starts(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(config: RunConfig) -> None:
        raise DatasetError(f"{config.dataset}: expected an archive, found a damaged one")

    monkeypatch.setattr(preflight, "load_scenario", load)
    forbid_start(monkeypatch)
    result = invoke()
    assert result.exit_code == 2
    assert result.stderr == "Error: strokes: expected an archive, found a damaged one\n"
    assert list(empty_folder.iterdir()) == []


@pytest.mark.usefixtures("prepared")
def test_results_are_never_written_over(empty_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forbid_start(monkeypatch)
    (empty_folder / "results.jsonl").touch()
    result = invoke("--results-dir", ".")
    assert result.exit_code == 2
    assert "results-dir: expected a folder without results.jsonl" in result.stderr


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize("error", [RunFailedError("finished:failed: no"), SuperLinkError("no")])
def test_a_failed_run_ends_with_1_and_its_reason(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> RunResults:
        raise error

    monkeypatch.setattr(session, "run_to_end", fail)
    result = invoke()
    assert result.exit_code == 1
    assert result.stderr == f"Run failed: {error}\n"


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize(("number", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_with_128_plus_its_number(
    number: signal.Signals, exit_code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "run_to_end", lambda *_, **__: signal.raise_signal(number))
    result = invoke()
    assert result.exit_code == exit_code
    assert f"{number.name}; run with --results-dir and --resume continues" in result.stderr


def test_a_signal_says_nothing_of_going_on_where_nothing_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(session, "collect", lambda _: signal.raise_signal(signal.SIGINT))
    result = CliRunner().invoke(app, ["claims", str(tmp_path)])
    assert (result.exit_code, result.stderr) == (130, "Interrupted: ended by SIGINT.\n")


@pytest.mark.parametrize(
    ("error", "exit_code", "status"),
    [
        (PermissionError(errno.EACCES, "Permission denied", "there/claims.md"), 2, "bad-input"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "there/claims.md"), 2, "bad-input"),
        (OSError(errno.ENOSPC, "No space left on device", "there/claims.md"), 1, "failed"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused"), 1, "failed"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_clear_error_and_one_document(
    error: OSError, exit_code: int, status: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def collect(_: Path) -> None:
        raise error

    monkeypatch.setattr(session, "collect", collect)
    result = CliRunner().invoke(app, ["claims", str(tmp_path), "--json"])
    message = f"cannot use there/claims.md: {error.strerror}" if error.filename else str(error)
    assert (result.exit_code, result.stderr) == (exit_code, f"Error: {message}\n")
    document = json.loads(result.stdout)
    assert (document["status"], document["error"]) == (status, message)


def test_a_benchmark_whose_folder_cannot_be_made_measures_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def measure(*_: Any) -> None:
        raise AssertionError("it was measured")

    monkeypatch.setattr(benchmark, "_measure", measure)
    (tmp_path / "file").write_text("")
    result = CliRunner().invoke(app, ["bench", "update", "--results-dir", str(tmp_path / "file")])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: cannot use ")


@pytest.mark.usefixtures("prepared")
def test_a_completed_run_ends_with_0_a_table_a_figure_and_the_names_of_its_files(
    make_results: MakeResults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = make_results()
    monkeypatch.setattr(session, "run_to_end", lambda *_, **__: results)
    result = invoke("--results-dir", str(tmp_path / "made"), "-c", "results-dir=elsewhere")
    assert result.exit_code == 2  # make_results wrote there
    (tmp_path / "out").mkdir()
    result = invoke("--results-dir", str(tmp_path / "out"), "--quiet")
    assert result.exit_code == 0, result.stderr
    assert "right after" in result.stdout
    for name in ("results.jsonl", "persistence.png", "persistence.svg"):
        assert str(tmp_path / "out" / name) in result.stdout
    assert {path.name for path in (tmp_path / "out").iterdir()} == {".lock", "persistence.png", "persistence.svg"}


@pytest.mark.usefixtures("prepared")
def test_a_warning_is_shown_before_the_run_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> RunResults:
        raise RunFailedError("it has started")

    monkeypatch.setattr(
        preflight, "check_key", lambda config, scenario: "backdoor-key: 3 of 40 attack images are changed"
    )
    monkeypatch.setattr(session, "run_to_end", fail)
    result = invoke()
    lines = (result.stdout + result.stderr).splitlines()
    told = lines.index("Warning: backdoor-key: 3 of 40 attack images are changed.")
    assert told < next(number for number, line in enumerate(lines) if "it has started" in line)


@pytest.mark.usefixtures("prepared")
def test_results_go_below_the_current_folder_with_name_date_and_time(
    empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def fail(config: RunConfig, *_: Any, **__: Any) -> RunResults:
        seen.append(config.results_dir)
        raise RunFailedError("no")

    monkeypatch.setattr(session, "run_to_end", fail)
    result = CliRunner().invoke(app, ["quickstart", "-c", "device=cpu", "--json"])
    assert (result.exit_code, json.loads(result.stdout)["command"]) == (1, "quickstart")
    folder = Path(seen[0])
    assert folder.parent == empty_folder / "results"
    assert folder.name.startswith("quickstart-20")


def test_figures_are_drawn_again_beside_the_result_file(make_results: MakeResults, tmp_path: Path) -> None:
    make_results()
    result = CliRunner().invoke(app, ["figures", str(tmp_path / "made" / "results.jsonl")])
    assert result.exit_code == 0, result.stderr
    assert (tmp_path / "made" / "persistence.svg").is_file()


def test_figures_of_a_missing_file_are_bad_input(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["figures", str(tmp_path / "nothing")])
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: expected a result file")


def test_a_run_without_evaluation_has_neither_table_nor_figure(make_results: MakeResults, tmp_path: Path) -> None:
    make_results(evaluated_from=99)
    result = CliRunner().invoke(app, ["figures", str(tmp_path / "made")])
    assert result.exit_code == 0
    assert "No round was evaluated" in result.stdout


COMMANDS = ("run", "quickstart", "reproduce", "catalog", "figures", "claims", "report", "bench", "doctor")


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_has_examples_and_exit_codes(command: str) -> None:
    lines = [line.strip() for line in CliRunner().invoke(app, [command, "--help"]).stdout.splitlines()]
    assert any(line.startswith("Exit codes: 0 done; 1 failed; 2 a mistake") for line in lines)
    examples = lines[lines.index("Examples:") :]
    assert any(line.startswith(f"• python -m experiments {command}") for line in examples)


def test_to_go_on_takes_a_results_folder() -> None:
    result = invoke("--resume")
    assert result.exit_code == 2
    assert "expected the folder of the run to resume (--results-dir), found none" in result.stderr


def test_a_run_that_has_completed_is_reported_and_not_run_again(
    make_results: MakeResults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    forbid_start(monkeypatch)
    made = make_results()
    settings = [f"{key}={json.dumps(value)}" for key, value in made.run["config"].items()]
    arguments = [part for setting in settings for part in ("-c", setting)]
    result = invoke("--resume", "--results-dir", str(tmp_path / "made"), *arguments)
    assert result.exit_code == 0, result.stderr
    assert "right after" in result.stdout
    other = invoke("--resume", "--results-dir", str(tmp_path / "made"), *arguments, "-c", "seed=77")
    assert other.exit_code == 2
    assert "seed: expected 77" in other.stderr


@pytest.mark.usefixtures("prepared")
@pytest.mark.parametrize("inner", ["", "/below"])
def test_a_file_where_the_results_are_to_go_is_refused_before_anything_starts(
    inner: str, empty_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbid_start(monkeypatch)
    (empty_folder / "notes.txt").touch()
    result = invoke("--results-dir", f"notes.txt{inner}")
    assert result.exit_code == 2
    assert f"results-dir: expected a folder, or that one can be made, found the file {empty_folder}" in result.stderr
