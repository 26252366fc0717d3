from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.collections import FillBetweenPolyCollection
from matplotlib.figure import Figure
from unit.experiments.analysis.test_collection import CLIENTS, CONTROLS, EPISODES, STEPS, evaluation, hits_of, write_run

from experiments.analysis.collection import collect
from experiments.analysis.figures.panels import collection_figures, draw_collection
from experiments.analysis.statistics import band, episode_counts
from fedmeta_flwr.records.persistence import LABELS
from fedmeta_flwr.records.results import CURVES

Points = dict[float, float]


def figures_of(root: Path) -> dict[str, Figure]:
    (collection,) = collect(root)
    return collection_figures(collection)


def points(axes: Axes) -> list[tuple[str, Points]]:
    """Return label and points of every line in the axes."""
    found = []
    for line in axes.get_lines():
        x, y = (np.ravel(np.asarray(values, dtype=float)).tolist() for values in line.get_data())
        found.append((str(line.get_label()), dict(zip(x, y, strict=True))))
    return found


def curves(axes: Axes) -> dict[str, Points]:
    drawn = dict(points(axes))
    return {curve: drawn[label] for curve, label in LABELS.items() if label in drawn}


def unnamed(axes: Axes) -> list[Points]:
    return [line for label, line in points(axes) if label not in LABELS.values()]


def caption(figure: Figure) -> str:
    return figure.legends[0].get_title().get_text().replace("\n", " ")


def test_persistence_has_a_panel_per_case_with_the_curves_from_the_attack_on(tmp_path: Path) -> None:
    for case in "ac":
        write_run(tmp_path, f"attack-{case}", case=case)
    figure = figures_of(tmp_path)["persistence"]
    assert [axes.get_title() for axes in figure.axes] == ["case (a)", "case (c)"]
    for axes in figure.axes:
        for curve, drawn in curves(axes).items():
            assert drawn == pytest.approx({since: hits_of(curve, 5 + since) for since in (0, 1, 2)})
        clean = [pytest.approx(dict.fromkeys((0, 1), hits_of(curve, 4))) for curve in CURVES]
        assert unnamed(axes) == clean
        assert axes.get_ylim() == (-2, 102)


def test_bands_are_the_intervals_over_seeds(tmp_path: Path) -> None:
    for seed in (0, 10, 20):
        write_run(tmp_path, "attack-a", seed=seed)
    (axes,) = figures_of(tmp_path)["persistence"].axes
    bands = [drawn for drawn in axes.collections if isinstance(drawn, FillBetweenPolyCollection)]
    for curve, drawn in zip(CURVES, bands, strict=True):
        counts = {n: episode_counts({seed: evaluation(5 + n, seed) for seed in (0, 10, 20)}, curve) for n in (0, 1, 2)}
        estimates = band(counts).values()
        heights = np.asarray(drawn.get_paths()[0].vertices)[:, 1]
        assert heights.min() == pytest.approx(100 * min(estimate.low for estimate in estimates))
        assert heights.max() == pytest.approx(100 * max(estimate.high for estimate in estimates))


def test_bands_of_two_seeds_go_from_one_to_the_other(tmp_path: Path) -> None:
    for seed in (0, 10):
        write_run(tmp_path, "attack-a", seed=seed)
    (axes,) = figures_of(tmp_path)["persistence"].axes
    drawn = next(drawn for drawn in axes.collections if isinstance(drawn, FillBetweenPolyCollection))
    accuracies = [
        episode_counts({seed: evaluation(5 + n, seed)}, CURVES[0]).accuracy() for n in (0, 1, 2) for seed in (0, 10)
    ]
    heights = np.asarray(drawn.get_paths()[0].vertices)[:, 1]
    assert heights.min() == pytest.approx(100 * min(accuracies))
    assert heights.max() == pytest.approx(100 * max(accuracies))


def test_fine_tuning_shows_the_poisoned_model_and_pale_the_clean_one_at_all_steps(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    (axes,) = figures_of(tmp_path)["fine-tuning"].axes
    for curve, drawn in curves(axes).items():
        assert drawn == pytest.approx({step: hits_of(curve, 5, step) for step in STEPS["fine_tuning"]})
    clean = [{step: hits_of(curve, 4, step) for step in STEPS["fine_tuning"]} for curve in CURVES]
    assert unnamed(axes) == [pytest.approx(line) for line in clean]
    assert {0, 1, 2, 3, 500} <= set(axes.get_xticks())


def test_rescue_shows_matching_above_the_head_and_the_undefended_model_left_of_0(tmp_path: Path) -> None:
    for case in "ab":
        write_run(tmp_path, f"attack-{case}", case=case)
    figure = figures_of(tmp_path)["rescue"]
    assert len(figure.axes) == 4
    assert "matching" in figure.axes[0].get_ylabel()
    assert "head (control)" in figure.axes[2].get_ylabel()
    for axes in figure.axes:
        for curve, drawn in curves(axes).items():
            assert drawn == pytest.approx({step: hits_of(curve, 5, step) for step in STEPS["matching"]})
        undefended = [y for line in unnamed(axes) for x, y in line.items() if x < 0]
        assert undefended == pytest.approx([hits_of(curve, 5) for curve in CURVES])


def test_a_fresh_head_is_drawn_below_fine_tuning_and_the_control_without_a_global_model_below_the_head(
    tmp_path: Path,
) -> None:
    write_run(tmp_path, "attack-a", step_curves=(*STEPS, *CONTROLS))
    figures = figures_of(tmp_path)
    labels = {name: [axes.get_ylabel().split("\n")[0] for axes in figures[name].axes] for name in figures}
    assert labels["fine-tuning"] == ["fine-tuning", "fresh head"]
    assert labels["rescue"] == ["feature matching", "fully-connected", "local training"]
    for axes, steps in ((figures["fine-tuning"].axes[1], "fresh_head"), (figures["rescue"].axes[2], "local_only")):
        for curve, drawn in curves(axes).items():
            assert drawn == pytest.approx({step: hits_of(curve, 5, step) for step in CONTROLS[steps]})


def test_a_defended_federation_is_drawn_apart_from_an_attacked_one(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    write_run(tmp_path, "defended-b", case="b", step_curves=(), hits=lambda *_: 7)
    figure = figures_of(tmp_path)["defended-federation"]
    assert [axes.get_title() for axes in figure.axes] == ["case (b)"]
    assert curves(figure.axes[0])["main_task"] == pytest.approx({0: 7, 1: 7, 2: 7})


def test_controls_are_shown_beside_the_attack_over_all_rounds(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a")
    write_run(tmp_path, "without-adversary-a", attack_round=0)
    write_run(tmp_path, "boost-1-a", boost_factor=1.0)
    figure = figures_of(tmp_path)["controls"]
    assert [axes.get_title() for axes in figure.axes] == ["attack, boost 3", "without adversary", "attack, boost 1"]
    assert curves(figure.axes[0])["main_task"] == pytest.approx({n: hits_of("main_task", n) for n in (2, 4, 5, 6, 7)})
    assert curves(figure.axes[1])["main_task"] == pytest.approx({n: hits_of("main_task", n) for n in (2, 4, 6, 7)})


def test_figures_without_a_run_are_left_out(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-b", case="b", step_curves=())
    write_run(tmp_path, "attack-a.partial", status="")
    assert list(figures_of(tmp_path)) == ["persistence"]


def test_the_caption_says_seeds_episodes_data_and_norm(tmp_path: Path) -> None:
    for seed in range(3):
        write_run(tmp_path, "attack-a", dataset="mini-imagenet", profile="full", seed=seed, batch_norm="transductive")
    figure = figures_of(tmp_path)["persistence"]
    assert figure.get_suptitle().startswith("mini-ImageNet layout: ")
    for words in (
        "5-way 5-shot, transductive batch norm, full profile",
        "seeds 0 to 2",
        f"each point: {3 * len(CLIENTS) * EPISODES} episodes",
        "bands: 95 % over seeds",
    ):
        assert words in caption(figure)


def test_a_band_over_the_episodes_of_a_single_seed_says_so(tmp_path: Path) -> None:
    write_run(tmp_path, "attack-a", seed=3)
    found = caption(figures_of(tmp_path)["persistence"])
    assert "one seed (3)" in found
    assert "bands: of one seed, 95 % over its episodes alone" in found
    for seed in (4, 6):
        write_run(tmp_path, "attack-b", case="b", seed=seed)
    found = caption(figures_of(tmp_path)["persistence"])
    assert "seeds: case (a) 3, case (b) 4 and 6" in found
    assert "bands: of two seeds, from one to the other (no interval); of one seed, 95 % over its" in found


def test_the_same_results_give_the_same_svg_files(tmp_path: Path) -> None:
    write_run(tmp_path / "R", "attack-a")
    (collection,) = collect(tmp_path / "R")
    first, second = (draw_collection(collection, tmp_path / name) for name in ("first", "second"))
    assert [path.name for path in first] == [
        f"strokes-quick-{name}.{kind}" for name in ("persistence", "fine-tuning", "rescue") for kind in ("png", "svg")
    ]
    for one, other in zip(first[1::2], second[1::2], strict=True):
        assert one.read_bytes() == other.read_bytes()
