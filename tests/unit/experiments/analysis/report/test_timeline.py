from dataclasses import replace
from typing import Any

import pytest

from experiments.analysis.report.timeline import arrivals_plot, dropped_counts, norms_plot
from fedmeta_flwr.data.roles import Roles
from fedmeta_flwr.records.drops import Drop, DropReason
from fedmeta_flwr.records.entries import Arrival
from fedmeta_flwr.records.results import RoundRecord

ROLES = Roles.with_first_adversaries(1, num_clients=4)


def arrival(client: int, server_round: int, norm: float = 0.2, sent: int | None = None) -> Arrival:
    return Arrival(client, server_round if sent is None else sent, latency_seconds=1.0, update_norm=norm)


RECORDS = [
    RoundRecord(7, "benign", [arrival(1, 7), arrival(3, 7)], [Drop(0, DropReason.ABSTAINED)]),
    RoundRecord(
        8,
        "attack",
        [arrival(0, 8, norm=30.0), arrival(2, 8, sent=7)],
        [Drop(1, DropReason.STRAGGLER), Drop(3, DropReason.FAILED, detail="<b>no</b> reply in time")],
    ),
]


def points(spec: dict[str, Any], name: str) -> list[tuple[int, float]]:
    (trace,) = [trace for trace in spec["data"] if trace["name"] == name]
    return list(zip(trace["x"], trace["y"], strict=True))


def test_every_client_of_every_round_is_marked_by_what_became_of_it() -> None:
    plot = arrivals_plot(RECORDS, ROLES)
    found = {name: points(plot.spec, name) for name in ("adversary", "aggregated", "straggler", "abstained", "failed")}
    assert found == {
        "adversary": [(8, 0)],
        "aggregated": [(7, 1), (7, 3), (8, 2)],
        "straggler": [(8, 1)],
        "abstained": [(7, 0)],
        "failed": [(8, 3)],
    }
    assert [shape["x0"] for shape in plot.spec["layout"]["shapes"]] == [8]
    for words in ("abstained 1 times", "failed 1 times", "straggler 1 times", "Attack in round 8"):
        assert words in plot.label


def test_a_reason_is_text_and_not_markup_and_a_late_update_is_called_late() -> None:
    hovers = [text for trace in arrivals_plot(RECORDS, ROLES).spec["data"] for text in trace["customdata"]]
    assert any("failed: &lt;b&gt;no&lt;/b&gt; reply in time" in text for text in hovers)
    assert sum("sent in round 7" in text for text in hovers) == 1


def test_a_late_abstention_is_counted_as_one_and_a_failed_evaluation_separately() -> None:
    record = RoundRecord(
        9,
        "benign",
        dropped=[
            Drop(0, DropReason.ABSTAINED, sent_in_round=8),
            Drop(1, DropReason.ABSTAINED),
            Drop(2, DropReason.FAILED, detail="x", in_evaluation=True),
        ],
    )
    assert dropped_counts([record]) == {"abstained": 2, "evaluation failed": 1}
    plot = arrivals_plot([record], ROLES)
    assert points(plot.spec, "abstained") == [(9, 0), (9, 1)]
    assert plot.table.rows[0][3] == "0: abstained (sent in round 8), 1: abstained, 2: evaluation failed: x"


def test_norms_stand_on_a_logarithmic_axis_the_adversary_apart() -> None:
    spec = norms_plot(RECORDS, ROLES).spec
    assert spec["layout"]["yaxis"]["type"] == "log"
    assert points(spec, "adversary") == [(8, 30.0)]
    assert points(spec, "benign clients") == [(7, 0.2), (7, 0.2), (8, 0.2)]
    assert set(spec["layout"]["yaxis"]["tickvals"]) >= {0.1, 1.0, 10.0}


def test_tables_show_the_same_as_the_plots() -> None:
    rows = arrivals_plot(RECORDS, ROLES).table.rows
    assert rows[0] == ("7", "benign", "1 (1.00 s), 3 (1.00 s)", "0: abstained")
    assert rows[1][3] == "1: straggler, 3: failed: <b>no</b> reply in time"  # escaped by the template
    assert norms_plot(RECORDS, ROLES).table.rows[1] == ("8", "attack", "0: 30, 2: 0.2")


def test_an_update_without_a_difference_has_no_place_on_a_logarithmic_axis() -> None:
    still = [RoundRecord(1, "benign", [arrival(1, 1, norm=0.0)], [])]
    assert norms_plot(still, ROLES).spec["data"] == []
    assert norms_plot(still, ROLES).table.rows == (("1", "benign", "1: 0"),)


@pytest.mark.parametrize("clients", [4, 100])
def test_many_clients_do_not_make_a_plot_taller_than_a_screen(clients: int) -> None:
    assert arrivals_plot(RECORDS, replace(ROLES, num_clients=clients)).height <= 600


def test_every_adversary_is_drawn_and_named_as_one() -> None:
    roles = Roles.with_first_adversaries(2, num_clients=7)
    records = [RoundRecord(8, "attack", [arrival(0, 8, 30.0), arrival(1, 8, 20.0), arrival(5, 8)])]
    assert points(arrivals_plot(records, roles).spec, "adversary") == [(8, 0), (8, 1)]
    plot = norms_plot(records, roles)
    assert points(plot.spec, "adversary") == [(8, 30.0), (8, 20.0)]
    assert "the adversary's attack 30 and 20 in round 8" in plot.label
