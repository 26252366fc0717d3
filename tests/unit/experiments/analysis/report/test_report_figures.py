from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from unit.experiments.analysis.test_collection import STEPS, hits_of, write_run

from experiments.analysis.collection import Collection, collect
from experiments.analysis.figures.curves import LOOKS
from experiments.analysis.figures.panels import PLANS
from experiments.analysis.report.curve_plots import panel_plot
from experiments.analysis.report.figures import FigureView, figure_views
from experiments.analysis.report.plots import labelled_steps, step_place
from fedmeta_flwr.records.results import CURVES


def collection_of(root: Path) -> Collection:
    (collection,) = collect(root)
    return collection


def views(root: Path) -> dict[str, FigureView]:
    return {view.name: view for view in figure_views(collection_of(root))}


def lines(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the trace with the points of each curve."""
    return {trace["meta"]: trace for trace in spec["data"] if trace.get("mode") == "lines+markers"}


def test_a_panel_shows_the_counts_of_the_result_files_in_the_colours_of_all_figures(tmp_path: Path) -> None:
    for case in "ac":
        write_run(tmp_path, f"attack-{case}", case=case)
    figure = views(tmp_path)["persistence"]
    assert [panel.case for panel in figure.panels] == ["a", "c"]
    for panel in figure.panels:
        drawn = lines(panel.plot.spec)
        assert list(drawn) == list(CURVES)
        for curve, trace in drawn.items():
            assert trace["x"] == [0, 1, 2]
            assert trace["y"] == pytest.approx([hits_of(curve, 5 + since) for since in (0, 1, 2)])
            assert trace["line"]["color"] == LOOKS[curve].color


def test_steps_stand_at_their_logarithm_and_are_named_as_they_are(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    (panel,) = views(tmp_path)["fine-tuning"].panels
    for curve, trace in lines(panel.plot.spec).items():
        assert trace["x"] == pytest.approx([step_place(step) for step in STEPS["fine_tuning"]])
        assert trace["y"] == pytest.approx([hits_of(curve, 5, step) for step in STEPS["fine_tuning"]])
    assert {"0", "1", "10", "100", "500"} <= set(panel.plot.spec["layout"]["xaxis"]["ticktext"])


def test_the_rescue_shows_the_undefended_model_left_of_no_steps(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    matching, head = views(tmp_path)["rescue"].panels
    assert "feature matching" in matching.plot.label
    assert "head (control)" in head.plot.label
    undefended = [trace for trace in matching.plot.spec["data"] if trace.get("mode") == "markers"]
    assert [trace["meta"] for trace in undefended] == list(CURVES)
    assert all(trace["x"][0] < 0 for trace in undefended)
    assert [trace["y"][0] for trace in undefended] == pytest.approx([hits_of(curve, 5) for curve in CURVES])


def test_the_table_of_a_panel_has_all_its_values(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    (panel,) = views(tmp_path)["persistence"].panels
    rows = {row[0]: row[1:] for row in panel.plot.table.rows}
    assert list(rows) == ["0", "1", "2", "clean model"]
    for since in (0, 1, 2):
        expected = [hits_of(curve, 5 + since) for curve in CURVES]
        assert [float(cell.split()[0]) for cell in rows[str(since)]] == expected
    assert [float(cell) for cell in rows["clean model"]] == [hits_of(curve, 4) for curve in CURVES]


def test_controls_mark_the_attack_and_are_of_case_a(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    write_run(tmp_path, "no-attack-a", attack_round=0)
    attacked, control = views(tmp_path)["controls"].panels
    assert [shape["x0"] for shape in attacked.plot.spec["layout"]["shapes"]] == [5]
    assert "shapes" not in control.plot.spec["layout"]
    assert (attacked.case, control.case) == ("a", "a")


def test_a_figure_that_cannot_be_drawn_says_why(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-b", case="b", step_curves=(), evaluate_every=0)
    found = views(tmp_path)
    assert list(found) == list(PLANS)
    assert "expected an evaluated round" in found["persistence"].problem
    for name in ("defended-federation", "controls"):
        assert found[name].problem.startswith("Not drawn: no ")
        assert not found[name].panels


def test_labels_of_steps_keep_their_distance() -> None:
    steps = (0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 400, 500)
    kept = labelled_steps(steps)
    assert {0, 1, 10, 100, 500} <= set(kept) <= set(steps)
    places = [step_place(step) for step in kept]
    assert min(b - a for a, b in pairwise(places)) >= 0.1 * step_place(500)
    assert labelled_steps([0]) == [0]


def test_a_band_that_is_one_point_wide_is_drawn(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a", num_server_rounds=5)
    (panel,) = PLANS["persistence"](collection_of(tmp_path)).panels
    assert lines(panel_plot(panel, "", "Persistence").spec)["main_task"]["x"] == [0]
