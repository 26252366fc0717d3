"""The poster's persistence figure, drawn from a result file only."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.analysis.figures.curves import DATASET_NAMES, LOOKS, STYLE, draw_curve, draw_pale, in_percent, save
from experiments.analysis.roles import recorded_attack
from fedmeta_flwr.records import CURVES, Persistence, ResultsError, RoundRecord, RunResults, persistence_of

FIGURE_NAME = "persistence"
Percent = Mapping[str, float]
"""Curve to accuracy."""


def draw_persistence(results: RunResults, path_without_suffix: Path) -> list[Path]:
    """Draw the figure into a PNG and an SVG file.

    Parameters
    ----------
    results : RunResults
        Of one run, with at least one evaluated round.
    path_without_suffix : Path
        The files' path; ``.png`` and ``.svg`` are appended. The same results give the same SVG, byte for byte.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ResultsError
        If no round was evaluated.
    """
    with mpl.rc_context(STYLE):
        figure = persistence_figure(results)
    return save(figure, path_without_suffix)


def persistence_figure(results: RunResults) -> Figure:
    """Return the figure: four curves against the rounds since the attack.

    The right axes show the curves from the (first) attack on, with the round of the attack at x = 0. The left axes show
    the last evaluation before it, the clean baseline. Without an attack, one pair of axes shows all rounds.
    `fedmeta_flwr.records.persistence` decides which rounds these are.
    """
    evaluated = results.evaluated()
    if not evaluated:
        raise ResultsError("expected an evaluated round to draw, found none")
    config = results.run["config"]
    percent = {record.server_round: _percent(record) for record in evaluated}
    length = max(1, len(recorded_attack(config)))
    shown = persistence_of(list(percent), config["attack-round"], config["attack-interval"], length)
    figure = Figure(figsize=(6.8, 4.1), layout="constrained")
    if shown.baseline is None:
        _draw_curves(figure.subplots(), shown, percent)
    else:
        _draw_attacked(figure, shown, percent[shown.baseline], percent)
    _name_axes(figure, config, evaluated)
    return figure


def _draw_attacked(figure: Figure, shown: Persistence, baseline: Percent, percent: Mapping[int, Percent]) -> None:
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 9))
    for position, (curve, accuracy) in enumerate(baseline.items()):
        look = LOOKS[curve]
        left.plot([position], [accuracy], color=look.color, marker=look.marker, markersize=6, markeredgecolor="white")
        draw_pale(right, curve, {0: accuracy})
    left.set_xlim(-1, len(CURVES))
    left.set_xticks([(len(CURVES) - 1) / 2], ["before\nattack"])
    left.tick_params(axis="x", length=0)
    _draw_curves(right, shown, percent)
    _mark_attacks(right, shown.attacks)
    right.spines["left"].set_visible(False)
    right.tick_params(axis="y", left=False)


def _mark_attacks(axes: Axes, attacks: Sequence[int]) -> None:
    for x in attacks:
        axes.axvline(x, color="0.45", linewidth=0.9, zorder=1)
    name = "attack" if len(attacks) == 1 else "attacks"
    axes.text(0, 1.01, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=8, color="0.25")


def _draw_curves(axes: Axes, shown: Persistence, percent: Mapping[int, Percent]) -> None:
    for curve in CURVES:
        draw_curve(axes, curve, {x: percent[number][curve] for x, number in shown.rounds.items()})
    axes.set_xlabel(shown.x_label)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def _name_axes(figure: Figure, config: dict[str, Any], evaluated: list[RoundRecord]) -> None:
    for axes in figure.axes:
        in_percent(axes)
    figure.axes[0].set_ylabel("accuracy, %")
    figure.suptitle(_title(config), fontsize=10)
    lines, labels = figure.axes[-1].get_legend_handles_labels()
    caption = _caption(evaluated) + ("; pale lines: before the attack" if len(figure.axes) > 1 else "")
    legend = {"ncols": 2, "frameon": False, "handlelength": 4, "title": caption, "title_fontsize": 7.5}
    figure.legend(lines, labels, loc="outside lower center", **legend)


def _title(config: dict[str, Any]) -> str:
    episode = f"{config['way']}-way {config['shot']}-shot"
    return (
        f"{DATASET_NAMES.get(config['dataset'], config['dataset'])}, case {config['case']}, {episode}, "
        f"{config['batch-norm']} batch norm, one seed ({config['seed']})"
    )


def _caption(evaluated: list[RoundRecord]) -> str:
    """Return the caption: the number of episodes of a point, over all clients."""
    counts = {
        sum(len(client.counts[curve].trials) for client in record.evaluation or ())
        for record in evaluated
        for curve in CURVES
    }
    episodes = str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    clients = len(evaluated[-1].evaluation or ())
    return f"each point: {episodes} episodes of {clients} benign client{'s' if clients != 1 else ''}"


def _percent(record: RoundRecord) -> Percent:
    return {curve: 100 * accuracy for curve, accuracy in (record.accuracies() or {}).items()}
