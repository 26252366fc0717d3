"""What the page says of the adversaries of its runs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.experiments.analysis.test_collection import write_run

ONE, TWO = "Client 0 is the adversary.", "Adversaries: clients 0 and 1."
UNASKED = "not selected for its attack (unasked)"


PageOf = Callable[[Path], str]


def write_dropped(file: Path, reason: str) -> None:
    """Say of the attack's round why client 0 does not count."""
    records: list[dict[str, Any]] = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    for record in records:
        if record.get("phase") == "attack":
            record["dropped"] = [{"partition_id": 0, "reason": reason}]
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")


@pytest.mark.parametrize(("number", "sentence"), [(1, ONE), (2, TWO), (3, "Adversaries: clients 0, 1 and 2.")])
def test_the_adversaries_of_all_runs_are_named_once(
    page_of: PageOf, tmp_path: Path, number: int, sentence: str
) -> None:
    write_run(tmp_path, "attack-a", step_curves=(), num_adversaries=number, num_clients=10)
    page = page_of(tmp_path)
    assert page.count(f"abstained took no part. {sentence}</p>") == 1
    assert page.count(sentence) == 1


def test_where_runs_differ_in_their_adversaries_each_names_its_own(page_of: PageOf, tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a", step_curves=(), num_adversaries=2, num_clients=10)
    write_run(tmp_path, "attack-b", case="b", step_curves=(), num_clients=10)
    page = page_of(tmp_path)
    assert "abstained took no part.</p>" in page
    assert (page.count(f"<p>{ONE}</p>"), page.count(f"<p>{TWO}</p>")) == (1, 1)


@pytest.mark.parametrize(("reason", "is_marked"), [("unasked", True), ("abstained", False)])
def test_the_legend_has_a_mark_for_an_adversary_that_was_not_selected_only_where_there_was_one(
    page_of: PageOf, tmp_path: Path, reason: str, is_marked: bool
) -> None:
    write_dropped(write_run(tmp_path, "attack-a", step_curves=()), reason)
    page = page_of(tmp_path)
    assert "</span> straggler</li>" in page
    assert (UNASKED in page) == is_marked
