"""A run of case ``bc`` gives the files of a run of case (b) and of one of case (c)."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from unit.small_federation import bits

from experiments.engines.inline import run_inline as run
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.checkpoint import load_checkpoint
from fedmeta_flwr.records.results import CURVES, read_results
from fedmeta_flwr.records.tensorboard import FOLDER_NAME

SMALL: dict[str, Any] = {
    "strokes-classes": 60,
    "image-size": 16,
    "filters": 4,
    "pretrain-rounds": 1,
    "pretrain-outer-steps": 1,
    "outer-steps": 1,
    "attack-round": 3,
    "num-server-rounds": 4,
    "poison-outer-steps": 2,
    "evaluate-every": 1,
    "evaluate-episodes": 2,
    "matching-way": 6,
    "matching-steps": 2,
    "fine-tuning-curve-steps": "0 2",
    "fine-tuning-curve-episodes": 1,
    "local-curve-steps": "0 2",
    "checkpoint-every": 1,
    "device": "cpu",
}
DEFENSES = {"none": "fine-tuning matching head", "federation": "matching"}
MODELS = ("model.safetensors", "before-attack.safetensors", "after-attack.safetensors")

Run = Callable[[str, str], Path]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Run:
    root = tmp_path_factory.mktemp("runs")

    def folder(case: str, defense: str) -> Path:
        place = root / f"{defense}-{case}"
        if not place.is_dir():
            own = {"case": case, "defense": defense, "step-curves": DEFENSES[defense], "results-dir": str(place)}
            run(merge_settings(read_defaults(APP_DIR), SMALL, own, {"cache-dir": str(root / "cache")}))
        return place

    return folder


@pytest.mark.parametrize("case", ["b", "c"])
@pytest.mark.parametrize("defense", list(DEFENSES))
def test_each_case_of_a_shared_run_has_the_records_of_a_separate_run(made: Run, case: str, defense: str) -> None:
    shared, separate = made("bc", defense) / f"case-{case}", made(case, defense)
    (first, *rounds), (expected_first, *expected_rounds) = lines(shared), lines(separate)
    assert rounds == expected_rounds
    assert first.pop("cases") == "bc"
    assert without_paths(first) == without_paths(expected_first)


@pytest.mark.parametrize("case", ["b", "c"])
@pytest.mark.parametrize("defense", list(DEFENSES))
def test_each_case_of_a_shared_run_has_the_models_of_a_separate_run(made: Run, case: str, defense: str) -> None:
    shared, separate = made("bc", defense) / f"case-{case}", made(case, defense)
    for name in MODELS:
        found, expected = load_checkpoint(shared / name), load_checkpoint(separate / name)
        assert bits(found.arrays) == bits(expected.arrays)
        assert json.loads(found.metadata["config"])["case"] == case
    assert files_in(shared) == files_in(separate)


def test_the_times_of_the_cases_add_up_to_those_of_the_run(made: Run) -> None:
    whole = read_results(made("bc", "none"))
    parts = [read_results(made("bc", "none") / f"case-{case}") for case in "bc"]
    assert whole.end is not None
    assert whole.end["seconds"] == pytest.approx(sum((part.end or {})["seconds"] for part in parts))
    for record, *others in zip(whole.rounds, *(part.rounds for part in parts), strict=True):
        assert record.seconds == pytest.approx(sum(other.seconds for other in others))


def test_each_case_has_event_files_with_its_accuracies(made: Run) -> None:
    for case in "bc":
        folder = made("bc", "none") / f"case-{case}"
        events = EventAccumulator(str(folder / FOLDER_NAME))
        events.Reload()
        for record in read_results(folder).evaluated():
            for curve, accuracy in (record.accuracies() or {}).items():
                (event,) = (one for one in events.Scalars(f"accuracy/{curve}") if one.step == record.server_round)
                assert event.value == pytest.approx(accuracy)


def test_a_shared_run_records_what_both_cases_have_in_common_once(made: Run) -> None:
    (record, *_) = read_results(made("bc", "none")).evaluated()
    assert record.evaluation is not None
    differing = [f"{curve}_c" for curve in CURVES if curve != "meta_testing"]
    assert list(record.evaluation[0].counts) == [*CURVES, *differing]


def test_a_shared_run_that_ended_before_its_files_were_written_writes_them_when_it_resumes(made: Run) -> None:
    place = made("bc", "none")
    file = place / "case-c" / "results.jsonl"
    before = file.read_bytes()
    file.unlink()
    config = read_results(place).run["config"]
    run({**config, "resume": True, "tensorboard": True})
    assert file.read_bytes() == before


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def without_paths(first: dict[str, Any]) -> dict[str, Any]:
    config = {key: value for key, value in first["config"].items() if key not in RunConfig.paths()}
    return {**first, "config": config}


def files_in(folder: Path) -> list[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return sorted(
        str(path.with_name("events") if path.parent.name == "tensorboard" else path)
        for path in found
        if path.name != ".lock"
    )
