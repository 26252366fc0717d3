from pathlib import Path

import pytest
from unit.experiments.made_up_runs import CONTROLS, STEPS, made_up

from experiments.analysis import bootstrap
from experiments.analysis.claims.accuracies import measure, moments
from experiments.analysis.claims.files import claims_json
from experiments.analysis.claims.judging import judge_collection
from experiments.analysis.claims.table import claims_markdown


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1_000)


def test_an_attacked_run_is_shown_in_rounds_and_along_the_steps_that_it_measured(tmp_path: Path) -> None:
    collection = made_up(tmp_path, runs=["attack-a"], last_round=101)
    shown = {
        (measured.moment.name, measured.notes): round(100 * measured.estimates["attack_training"].value)
        for measured in (measure(collection, moment) for moment in moments(collection))
    }
    matching, head = "{} local steps of the matching network".format, "{} local steps with the head".format
    assert shown == {
        ("before the attack", ()): 20,
        ("right after", ()): 80,
        ("at the end", ("last round: 101",)): 50,
        ("right after", ("3 fine-tuning steps",)): 80,
        ("before the attack", ("3 fine-tuning steps",)): 20,
        ("right after", ("500 fine-tuning steps",)): 80,
        ("before the attack", ("500 fine-tuning steps",)): 20,
        ("right after", (matching(0),)): 80,
        ("before the attack", (matching(0),)): 20,
        ("right after", (matching(50),)): 20,
        ("before the attack", (matching(50),)): 20,
        ("right after", (head(50),)): 50,
        ("before the attack", (head(50),)): 20,
    }


def test_a_fresh_head_and_the_control_without_a_global_model_are_shown_where_they_are_measured(tmp_path: Path) -> None:
    plain = judge_collection(made_up(tmp_path / "plain", runs=["attack-a"]))
    judged = judge_collection(made_up(tmp_path / "more", runs=["attack-a"], step_curves=(*STEPS, *CONTROLS)))
    assert claims_json(judged)["claims"] == claims_json(plain)["claims"]
    shown = [(measured.moment.name, *measured.notes) for measured in judged.accuracies]
    for notes in (
        "3 tuning steps of a fresh head",
        "500 tuning steps of a fresh head",
        "0 local steps from random weights",
        "50 local steps from random weights",
    ):
        assert shown.count(("right after", notes)) == shown.count(("before the attack", notes)) == 1
        assert notes in claims_markdown(judged)
        assert notes not in claims_markdown(plain)


def test_the_table_and_the_json_hold_accuracies_as_percent_and_as_fractions(tmp_path: Path) -> None:
    judged = judge_collection(made_up(tmp_path, runs=["attack-a", "boost-1-a"]))
    text = claims_markdown(judged)
    assert "| attack-a |  |  |  |  |\n| · before the attack | 95.0 [95.0, 95.0] | 95.0 [95.0, 95.0] | 20.0 [" in text
    assert "| boost-1-a |  |  |  |  |" in text
    first = claims_json(judged)["accuracies"][0]
    assert (first["run"], first["moment"], first["notes"]) == ("attack-a", "before the attack", [])
    assert first["estimates"]["main_task"]["text"] == "95.0 [95.0, 95.0]"
    assert first["estimates"]["main_task"]["value"] == pytest.approx(0.95)
    assert first["estimates"]["main_task"]["episodes"] == 18


def test_what_only_some_seeds_have_is_reported_as_missing(tmp_path: Path) -> None:
    made_up(tmp_path, runs=["attack-a"], seeds=[0, 1])
    judged = judge_collection(made_up(tmp_path, runs=["attack-a"], seeds=[2], last_round=126))
    names = {name for about in judged.missing.values() for name in about}
    assert ("accuracies of attack-a", "at the end") in names
    assert [measured.moment.name for measured in judged.accuracies][:2] == ["before the attack", "right after"]


def test_step_curves_that_one_seed_lacks_are_reported_as_missing(tmp_path: Path) -> None:
    made_up(tmp_path, runs=["attack-a"], seeds=[0, 1])
    judged = judge_collection(made_up(tmp_path, runs=["attack-a"], seeds=[2], step_curves=["matching"]))
    names = {name for about in judged.missing.values() for name in about}
    assert ("accuracies of attack-a", "right after") in names
    shown = {(measured.moment.name, *measured.notes) for measured in judged.accuracies}
    assert ("right after", "50 local steps of the matching network") in shown
    assert ("right after", "50 local steps with the head") not in shown
