"""With --json, standard output is one JSON document, however a command ends."""

import io
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from rich.console import Console
from typer.testing import CliRunner
from unit.experiments.analysis.test_collection import write_run
from unit.experiments.conftest import MakeResults
from unit.experiments.made_up_runs import write_runs

from experiments.benchmarks.race import Tell, Turn
from experiments.benchmarks.running import BENCHMARKS, BenchmarkError, run_benchmark
from experiments.catalog import EXPERIMENTS
from experiments.cli import session
from experiments.cli.commands import app
from experiments.output import Output
from experiments.plan import PlannedRun, plan_runs
from experiments.runner.outcome import RunFailedError
from experiments.runner.reproduce import ReproduceRequest
from experiments.settings import APP_DIR

pytestmark = pytest.mark.usefixtures("prepared")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def invoke(*arguments: str) -> Result:
    return CliRunner().invoke(app, arguments)


def document(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(result.stdout)  # and nothing else beside it
    assert found["exit_code"] == result.exit_code
    return found


def run_json(*arguments: str) -> Result:
    return invoke("run", "quickstart", "-c", "device=cpu", "--json", *arguments)


def test_a_run_hands_over_its_status_its_folder_and_the_values_of_its_table(
    make_results: MakeResults, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = make_results()

    def speak(*_: Any, **__: Any) -> Any:
        print("a library with something to say")
        return results

    monkeypatch.setattr(session, "run_to_end", speak)
    (tmp_path / "out").mkdir()
    result = run_json("--results-dir", str(tmp_path / "out"))
    found = document(result)
    assert (found["command"], found["status"], found["error"]) == ("run", "completed", None)
    assert found["results_dir"] == str(tmp_path / "out")
    assert [(row["name"], row["server_round"]) for row in found["table"]] == [
        ("before the attack", 3),
        ("right after", 4),
        ("at the end", 8),
    ]
    assert found["table"][1]["accuracies"] == pytest.approx(
        {"meta_testing": 0.08, "main_task": 0.28, "attack_training": 0.48, "attack_validation": 0.68}
    )
    assert [Path(file).name for file in found["files"]] == ["results.jsonl", "persistence.png", "persistence.svg"]
    assert "a library with something to say" in result.stderr


def test_a_run_that_fails_says_so_in_the_document_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RunFailedError("finished:failed: no")

    monkeypatch.setattr(session, "run_to_end", fail)
    result = run_json()
    found = document(result)
    assert (found["status"], found["exit_code"], found["error"]) == ("failed", 1, "finished:failed: no")
    assert Path(found["results_dir"]).name.startswith("quickstart-")
    assert "Run failed: finished:failed: no" in result.stderr


def test_bad_input_and_an_interruption_have_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    found = document(run_json("-c", "way=five"))
    assert (found["status"], found["exit_code"]) == ("bad-input", 2)
    assert "way: expected a whole number" in found["error"]
    monkeypatch.setattr(session, "run_to_end", lambda *_, **__: signal.raise_signal(signal.SIGTERM))
    found = document(run_json())
    assert (found["status"], found["exit_code"], found["error"]) == ("interrupted", 143, "ended by SIGTERM")


def test_a_mistake_in_the_command_ends_with_2_and_its_usage_on_standard_error() -> None:
    for arguments in (("run", "--json"), ("run", "quickstart", "--jsn"), ("bench", "nothing"), ("nothing",)):
        result = invoke(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert "Usage" in result.stderr


def test_the_catalog_lists_every_experiment() -> None:
    listed = document(invoke("catalog", "--json"))["experiments"]
    assert [one["name"] for one in listed] == list(EXPERIMENTS)
    assert listed[0]["runs"] == ["attack-a", "attack-b", "attack-c"]


def test_claims_hand_over_what_their_file_has(tmp_path: Path) -> None:
    write_runs(tmp_path, runs=["attack-a"], seeds=[0])
    result = invoke("claims", str(tmp_path), "--json")
    found = document(result)
    file = json.loads((tmp_path / "claims.json").read_text(encoding="utf-8"))
    assert {key: found[key] for key in file} == file
    assert found["files"] == [str(tmp_path / "claims.json"), str(tmp_path / "claims.md")]
    quiet = invoke("claims", str(tmp_path), "--quiet")
    assert quiet.stdout.split() == ["Claims:", *found["files"]]


def test_figures_name_their_files_and_show_no_table_when_quiet(make_results: MakeResults, tmp_path: Path) -> None:
    make_results()
    found = document(invoke("figures", str(tmp_path / "made"), "--json"))
    assert len(found["table"]) == 3
    quiet = invoke("figures", str(tmp_path / "made"), "--quiet")
    assert quiet.stdout.split() == ["Files:", *found["files"]]


def test_a_reproduction_hands_over_its_runs_and_verdicts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    (planned,) = (
        one
        for one in plan_runs(
            ["boost-1"],
            dataset="strokes",
            profile="quick",
            seeds=[0],
            root=tmp_path,
            data_dir=None,
            overrides=[],
            app_dir=APP_DIR,
        )
        if one.run.name == "boost-1-a"
    )

    def reproduce(_: ReproduceRequest, console: Console) -> list[PlannedRun]:
        console.print("1 runs, 1 of them finished")
        return [planned]

    monkeypatch.setattr(session, "reproduce", reproduce)
    result = invoke("reproduce", "boost-1", "--results-dir", str(tmp_path), "--json")
    found = document(result)
    assert "1 runs, 1 of them finished" in result.stderr
    place = {"dataset": "strokes", "profile": "quick", "seed": 0, "run": "boost-1-a"}
    assert found["runs"] == [{**place, "results_dir": str(planned.folder), "seconds": None}]
    verdicts = {claim["id"]: claim["verdict"] for claim in found["collections"][0]["claims"]}
    assert set(verdicts) == {f"P{number}" for number in range(1, 9)}


@pytest.mark.parametrize("quiet", [False, True])
def test_a_benchmark_returns_its_numbers_and_reports_its_turns_on_standard_error(
    quiet: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = {"benchmark": "update", "repetitions": 2, "seconds": 3.0, "rows": []}

    def measure(
        name: str, repetitions: int | None, folder: Path, tell: Tell, engine: str | None
    ) -> tuple[dict[str, Any], Path]:
        assert (name, repetitions, engine) == ("update", None, None)
        for case in ("first", "second"):
            for number in range(3):
                tell(Turn(case, number, 2))
        return made, folder / "bench-update.json"

    monkeypatch.setattr(session, "run_benchmark", measure)
    result = invoke("bench", "update", "--json", "--results-dir", str(tmp_path), *(["--quiet"] if quiet else []))
    found = document(result)
    assert {key: found[key] for key in made} == made
    assert found["files"] == [str(tmp_path / "bench-update.json")]
    told = [line for line in result.stderr.splitlines() if "elapsed" in line]
    assert told == ([] if quiet else ["first | turn 0/2 | 0:00 elapsed", "second | turn 0/2 | 0:00 elapsed"])


def test_a_benchmark_that_fails_shows_its_last_output(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(BENCHMARKS, "race", BENCHMARKS["update"])  # a module that measures nothing
    with pytest.raises(BenchmarkError, match=r"(?s)benchmark race failed.*has no attribute 'measure'"):
        run_benchmark("race", None, tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "here"]


def test_a_benchmark_without_a_choice_of_engines_refuses_one_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"engine: expected none with bench update, .* found ray"):
        run_benchmark("update", None, tmp_path / "new", engine="ray")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("as_json", [False, True])
def test_a_file_whose_name_is_no_text_is_named_with_escapes(as_json: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", errors="strict", write_through=True)
    monkeypatch.setattr("sys.stdout", written)
    name = os.fsdecode(b"caf\xe9/results.jsonl")
    output = Output("figures", as_json, {"files": [name]})
    if as_json:
        output.hand_over(0, None)
        assert json.loads(written.buffer.getvalue())["files"] == [name]
    else:
        output.console.print(name)
        assert written.buffer.getvalue() == b"caf\\udce9/results.jsonl\n"
