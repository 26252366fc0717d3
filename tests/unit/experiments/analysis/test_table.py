from dataclasses import replace

import pytest
from rich.console import Console
from unit.experiments.conftest import MakeResults

from experiments.analysis.table import milestones, missed_attack, results_table
from fedmeta_flwr.records.drops import Drop, DropReason
from fedmeta_flwr.records.entries import Arrival
from fedmeta_flwr.records.results import CURVES, ResultsError, RoundRecord


def test_the_milestones_are_the_last_round_before_the_attack_the_attack_and_the_end(make_results: MakeResults) -> None:
    found = {name: record.server_round for name, record in milestones(make_results()).items()}
    assert found == {"before the attack": 3, "right after": 4, "at the end": 8}


def test_without_an_attack_the_end_is_the_only_milestone(make_results: MakeResults) -> None:
    assert list(milestones(make_results(attack_round=0))) == ["at the end"]


def test_without_an_evaluation_there_is_no_milestone(make_results: MakeResults) -> None:
    with pytest.raises(ResultsError, match="expected an evaluated round"):
        milestones(make_results(evaluated_from=99))


def test_the_table_shows_percent_and_fits_80_columns(make_results: MakeResults) -> None:
    console = Console(width=80)
    with console.capture() as capture:
        console.print(results_table(make_results()))
    rows = [line.split() for line in capture.get().splitlines()]
    assert ["right", "after", "4", "8.0", "28.0", "48.0", "68.0"] in rows
    assert "…" not in capture.get()
    assert len(CURVES) == 4


@pytest.mark.parametrize(
    ("arrived", "dropped", "expected"),
    [
        ((0, 1, 2), {3: "straggler"}, ""),
        ((1, 2, 3), {0: "straggler"}, "The attack of round 4 did not count: straggler."),
        ((1, 2, 3), {0: "unasked"}, "The attack of round 4 did not count: unasked."),
        ((1, 2, 3), {}, "The attack of round 4 did not count: no update came."),
    ],
)
def test_an_attack_that_did_not_count_is_reported(
    arrived: tuple[int, ...], dropped: dict[int, str], expected: str, make_results: MakeResults
) -> None:
    results = make_results()
    record = RoundRecord(
        4,
        "attack",
        arrivals=[Arrival(partition, 4, 1.0, 1.0) for partition in arrived],
        dropped=[Drop(partition, DropReason(reason)) for partition, reason in dropped.items()],
    )
    others = [one for one in results.rounds if one.server_round != 4]
    assert missed_attack(replace(results, rounds=(*others, record))) == expected
    assert not missed_attack(results)
    later = tuple(one for one in results.rounds if one.server_round > 4)
    assert missed_attack(replace(results, rounds=later)) == (
        "The attack of round 4 did not take place: the run begins with round 5."
    )


def test_of_attacks_in_turn_the_one_that_did_not_count_is_reported(make_results: MakeResults) -> None:
    results = make_results(num_clients=6, num_adversaries=2, attack_order="in-turn")
    assert milestones(results)["right after"].server_round == 5
    rounds = tuple(
        replace(
            record,
            arrivals=[Arrival(partition, record.server_round, 1.0, 1.0) for partition in (0, 2, 3)],
            dropped=[Drop(1, DropReason.ABSTAINED)],
        )
        for record in results.rounds
    )
    missed = missed_attack(replace(results, rounds=rounds))
    assert missed == "The attack of round 5 did not count: abstained."
