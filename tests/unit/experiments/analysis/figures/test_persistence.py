from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from unit.experiments.conftest import MakeResults

from experiments.analysis.figures.curves import LOOKS
from experiments.analysis.figures.persistence import draw_persistence, persistence_figure
from fedmeta_flwr.records.persistence import LABELS
from fedmeta_flwr.records.results import CURVES, ResultsError

Line = tuple[list[float], list[float]]


def lines(axes: Axes) -> list[Line]:
    return [(np.ravel(x).tolist(), np.ravel(y).tolist()) for x, y in (line.get_data() for line in axes.get_lines())]


def curves(axes: Axes) -> dict[str, Line]:
    labels = [line.get_label() for line in axes.get_lines()]
    return {curve: lines(axes)[labels.index(LABELS[curve])] for curve in CURVES}


def test_the_curves_are_the_accuracies_from_the_attack_on(make_results: MakeResults) -> None:
    _, right = persistence_figure(make_results()).axes
    for position, (x, y) in enumerate(curves(right).values()):
        assert x == [0, 1, 2, 3, 4]
        assert y == pytest.approx([2 * number + 20 * position for number in range(4, 9)])


def test_the_clean_baseline_is_the_last_evaluation_before_the_attack(make_results: MakeResults) -> None:
    left, right = persistence_figure(make_results()).axes
    assert [y for _, y in lines(left)] == [pytest.approx([level]) for level in (6, 26, 46, 66)]
    level_lines = [y for x, y in lines(right) if x == [0, 1]]
    assert level_lines == [pytest.approx([level, level]) for level in (6, 26, 46, 66)]


@pytest.mark.parametrize(("interval", "marks"), [(0, [0]), (2, [0, 2, 4])])
def test_every_attack_is_marked(interval: int, marks: list[int], make_results: MakeResults) -> None:
    results = make_results(attack_interval=interval)
    _, right = persistence_figure(results).axes
    assert [x for x, y in lines(right) if y == [0, 1]] == [[mark, mark] for mark in marks]


def test_without_an_attack_the_curves_go_over_all_rounds(make_results: MakeResults) -> None:
    (axes,) = persistence_figure(make_results(attack_round=0)).axes
    x, y = curves(axes)["meta_testing"]
    assert x == [2, 3, 4, 5, 6, 7, 8]
    assert y == pytest.approx([2 * number for number in x])
    assert axes.get_xlabel() == "round"


def test_the_figure_says_what_was_run_and_over_how_many_episodes(make_results: MakeResults) -> None:
    figure = persistence_figure(make_results(seed=7, way=3, shot=2, batch_norm="support", case="b"))
    assert figure.get_suptitle() == "Strokes, case b, 3-way 2-shot, support batch norm, one seed (7)"
    assert figure.axes[0].get_ylabel() == "accuracy, %"
    assert figure.axes[1].get_xlabel() == "rounds since the attack"
    assert "each point: 4 episodes of 2 benign clients" in figure.legends[0].get_title().get_text()


def test_curves_differ_in_colour_marker_and_line() -> None:
    for attribute in ("color", "marker", "line"):
        assert len({str(getattr(look, attribute)) for look in LOOKS.values()}) == len(CURVES)


def test_the_same_results_give_the_same_svg_and_a_png_for_print(make_results: MakeResults, tmp_path: Path) -> None:
    results = make_results()
    png, svg = draw_persistence(results, tmp_path / "first.figure")
    again = draw_persistence(results, tmp_path / "second")[1]
    assert [path.name for path in (png, svg)] == ["first.figure.png", "first.figure.svg"]
    assert svg.read_bytes() == again.read_bytes()
    assert png.stat().st_size > 0


def test_results_without_an_evaluation_cannot_be_drawn(make_results: MakeResults) -> None:
    with pytest.raises(ResultsError, match="expected an evaluated round to draw"):
        persistence_figure(make_results(evaluated_from=99))
