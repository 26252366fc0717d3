"""The poster's persistence figure, drawn from a result file alone."""

from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from experiments.analysis.figures.curves import DATASET_NAMES, LOOKS, STYLE, draw_curve, draw_pale, in_percent, save
from fedmeta_flwr.records.results import CURVES, ResultsError, RoundRecord, RunResults

FIGURE_NAME = "persistence"


def draw_persistence(results: RunResults, path_without_suffix: Path) -> list[Path]:
    """Draw the figure into a PNG and an SVG file.

    Parameters
    ----------
    results : RunResults
        Of one run, with at least one evaluated round.
    path_without_suffix : Path
        Where; ``.png`` and ``.svg`` are appended. The same results give the same SVG, byte for byte.

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

    The right axes hold the curves from the (first) attack on, x = 0 being the round of the attack; the left ones
    the last evaluation before it, the clean baseline. Without an attack there is one pair of axes with all rounds.
    """
    evaluated = results.evaluated()
    if not evaluated:
        raise ResultsError("expected an evaluated round to draw, found none")
    config = results.run["config"]
    attack_round = config["attack-round"]
    before = [record for record in evaluated if record.server_round < attack_round]
    after = [record for record in evaluated if record.server_round >= attack_round]
    figure = Figure(figsize=(6.8, 4.1), layout="constrained")
    if attack_round and before and after:
        _draw_attacked(figure, before[-1], after, config)
    else:
        _draw_curves(figure.subplots(), evaluated, first_round=0)
        figure.axes[0].set_xlabel("round")
    _name_axes(figure, config, evaluated)
    return figure


def _draw_attacked(figure: Figure, baseline: RoundRecord, after: list[RoundRecord], config: dict[str, Any]) -> None:
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(1, 9))
    for position, (curve, accuracy) in enumerate(_percent(baseline).items()):
        look = LOOKS[curve]
        left.plot([position], [accuracy], color=look.color, marker=look.marker, markersize=6, markeredgecolor="white")
        draw_pale(right, curve, {0: accuracy})
    left.set_xlim(-1, len(CURVES))
    left.set_xticks([(len(CURVES) - 1) / 2], ["before\nattack"])
    left.tick_params(axis="x", length=0)
    attack_round = config["attack-round"]
    _draw_curves(right, after, first_round=attack_round)
    _mark_attacks(right, attack_round, config["attack-interval"], after[-1].server_round)
    right.set_xlabel("rounds after the attack")
    right.spines["left"].set_visible(False)
    right.tick_params(axis="y", left=False)


def _mark_attacks(axes: Axes, attack_round: int, interval: int, last_round: int) -> None:
    attacks = range(attack_round, last_round + 1, interval) if interval else [attack_round]
    for number in attacks:
        axes.axvline(number - attack_round, color="0.45", linewidth=0.9, zorder=1)
    name = "attack" if len(attacks) == 1 else "attacks"
    axes.text(0, 1.01, name, transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=8, color="0.25")


def _draw_curves(axes: Axes, records: list[RoundRecord], first_round: int) -> None:
    for curve in CURVES:
        draw_curve(axes, curve, {record.server_round - first_round: _percent(record)[curve] for record in records})
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
    """Say what a point stands for: the number of episodes behind it, over all clients."""
    counts = {
        sum(len(client.counts[curve].trials) for client in record.evaluation or ())
        for record in evaluated
        for curve in CURVES
    }
    episodes = str(min(counts)) if len(counts) == 1 else f"{min(counts)} to {max(counts)}"
    clients = len(evaluated[-1].evaluation or ())
    return f"each point: {episodes} episodes of {clients} benign client{'s' if clients != 1 else ''}"


def _percent(record: RoundRecord) -> dict[str, float]:
    return {curve: 100 * accuracy for curve, accuracy in (record.accuracies() or {}).items()}
