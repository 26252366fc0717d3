import json
import math
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from unit.experiments.made_up_runs import made_up

from experiments.analysis import bootstrap
from experiments.analysis.claims.files import claims_json, write_claims
from experiments.analysis.claims.judging import Judged, judge_collection
from experiments.analysis.claims.numbers import estimate_json, estimate_text, points_text, threshold_text
from experiments.analysis.claims.poster import CLAIMS
from experiments.analysis.claims.table import claims_markdown, claims_renderable
from experiments.analysis.half_life import HalfLife
from experiments.analysis.statistics import Estimate


@pytest.fixture
def judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Judged:
    """Case (a) only, in which the half-life of 20 rounds is not reached in the 15 that were observed."""
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1_000)
    return judge_collection(made_up(tmp_path / "runs", runs=["attack-a"], last_round=96))


def refuse(constant: str) -> None:
    raise ValueError(constant)


def strict(text: str) -> Any:
    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize(
    ("estimate", "expected"),
    [
        (Estimate(0.1234, -0.00049, 0.98765, 3, 60), "+12.3 [0.0, +98.8]"),
        (Estimate(-0.05, -0.061, -0.04, 3, 60), "-5.0 [-6.1, -4.0]"),
        (HalfLife(20, 15, 35, 3, 60, observed_rounds=50), "20 [15, 35] rounds"),
        (HalfLife(math.inf, 45, math.inf, 3, 60, observed_rounds=50), "> 50 [45, > 50] rounds"),
    ],
)
def test_numbers_are_points_with_one_decimal_or_rounds(estimate: Estimate, expected: str) -> None:
    assert estimate_text(estimate) == expected


def test_zero_has_no_sign() -> None:
    assert [points_text(fraction) for fraction in (0.0, -0.0001, 0.0001)] == ["0.0"] * 3


def test_thresholds_are_in_the_unit_of_the_estimate() -> None:
    points, rounds = Estimate(0, 0, 0, 3, 60), HalfLife(20, 15, 35, 3, 60, observed_rounds=50)
    excess, half_life, _ = CLAIMS["P1"].statements
    assert threshold_text(excess, points) == "> 5.0"
    assert threshold_text(half_life, rounds) == "> 10 rounds"
    assert threshold_text(CLAIMS["P7"].statements[0], points) == "< 0.0"
    assert threshold_text(CLAIMS["P8"].statements[1], points) == "± 3.0"


def test_a_half_life_beyond_the_run_is_valid_json() -> None:
    record = estimate_json(HalfLife(math.inf, 45, math.inf, 3, 60, observed_rounds=50))
    assert strict(json.dumps(record, allow_nan=False)) == {
        "value": None,
        "low": 45,
        "high": None,
        "unit": "rounds",
        "seeds": 3,
        "episodes": 60,
        "over_seeds": True,
        "censored": True,
        "observed_rounds": 50,
        "text": "> 50 [45, > 50] rounds",
    }


def test_the_json_file_holds_verdicts_numbers_and_gaps(judged: Judged, tmp_path: Path) -> None:
    json_file, markdown_file = write_claims([judged], tmp_path / "tables" / "new")
    assert [json_file.name, markdown_file.name] == ["claims.json", "claims.md"]
    (record,) = strict(json_file.read_text())["collections"]
    assert (record["dataset"], record["profile"], record["runs"]) == ("strokes", "quick", {"attack-a": [0, 1, 2]})
    assert record["missing_runs"][:2] == ["attack-b", "attack-c"]
    persistence = record["claims"][0]
    assert (persistence["id"], persistence["verdict"], persistence["unanswered"]) == ("P1", "undecided", 4)
    statement = persistence["places"][0]["statements"][1]
    assert (statement["verdict"], statement["threshold"]) == ("holds", 10)
    assert statement["estimate"]["text"] == "> 15 [15, > 15] rounds"
    assert statement["estimate"]["censored"]
    assert record["controls"][0]["estimate"]["value"] == pytest.approx(0.6)


def test_writing_again_gives_the_same_bytes(judged: Judged, tmp_path: Path) -> None:
    first = [path.read_bytes() for path in write_claims([judged], tmp_path)]
    assert [path.read_bytes() for path in write_claims([judged], tmp_path)] == first


def test_markdown_tables_are_rectangular_and_hold_the_numbers(judged: Judged) -> None:
    text = claims_markdown(judged)
    tables = [part.splitlines() for part in text.split("\n\n") if part.startswith("|")]
    assert len(tables) == 5
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    assert "- attack-a: seeds 0, 1, 2; commit unknown; 0 min in all on an unknown machine" in text
    assert "| P1 | after a one-shot attack" in text
    assert "| · half-life of the excess, in benign rounds | > 15 [15, > 15] rounds | > 10 rounds | holds |" in text
    place = "P1, case (a), backdoor, attack training (last round: 96; 15 rounds after the attack observed)"
    assert f"| {place} |  |  | holds |" in text
    assert "| · premise: excess backdoor accuracy before anything is done about it | +60.0 [" in text
    assert "| runs without results | attack-b<br>attack-c<br>" in text


def test_on_one_seed_no_statement_is_said_to_hold(tmp_path: Path) -> None:
    judged = judge_collection(made_up(tmp_path, runs=["attack-a"], seeds=[0]))
    places = [place for answer in claims_json(judged)["claims"] for place in answer["places"]]
    assert {statement["verdict"] for place in places for statement in place["statements"]} == {"undecided"}
    assert "| holds |" not in claims_markdown(judged)


@pytest.mark.parametrize("width", [80, 120])
def test_the_terminal_shows_all_sheets_without_cutting_words(judged: Judged, width: int) -> None:
    console = Console(width=width)
    with console.capture() as capture:
        console.print(claims_renderable(judged))
    shown = capture.get()
    for title in ("Claims", "Statements", "Controls", "Accuracies", "Missing"):
        assert f"{title}: strokes, quick" in shown
    assert "…" not in shown
    assert "+60.0 [+60.0, +60.0]" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= width
