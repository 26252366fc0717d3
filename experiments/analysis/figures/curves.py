"""The common parts of all figures: the look of curves and bands, panels of four curves, names, files."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator

from experiments.analysis.statistics import Curve, EpisodeCounts, Estimate, accuracy, band
from fedmeta_flwr.records import COLORS, CURVES, LABELS

DATASET_NAMES = {
    "strokes": "Strokes",
    "omniglot": "Omniglot",
    "mini-imagenet": "mini-ImageNet layout",
    "image-folder": "Image folder",
}
"""Names of data sets in figures; a folder in mini-ImageNet's layout need not hold mini-ImageNet."""


@dataclass(frozen=True)
class Look:
    """The look of a curve; colour, marker and line each distinguish it from the others."""

    color: str
    marker: str
    line: Any


LOOKS = {
    "meta_testing": Look(COLORS["meta_testing"], "o", "-"),
    "main_task": Look(COLORS["main_task"], "s", (0, (5, 1.5))),
    "attack_training": Look(COLORS["attack_training"], "^", (0, (3, 1.2, 1, 1.2))),
    "attack_validation": Look(COLORS["attack_validation"], "D", (0, (1.2, 1.2))),
}
STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "svg.fonttype": "path",
    "svg.hashsalt": "fedmeta_flwr",
}
"""Matplotlib's settings while a figure is drawn and saved; with the salt, the same figure gives the same SVG."""


SPANNED_SEEDS = 2
"""With two seeds a band goes from one to the other, because an interval over two seeds says nothing."""


@dataclass(frozen=True)
class Panel:
    """The content of one pair of axes.

    Attributes
    ----------
    run, title, x_label : str
        The run's name in the collection; the text above and below the axes.
    curves, pale : mapping of str to Curve
        By name in `fedmeta_flwr.records.results.CURVES`: curves drawn with bands, and those that they are compared to.
    reference : mapping of str to EpisodeCounts
        Points to the left of 0 steps.
    attack : int or None
        Position of the line that marks the attack.
    along_steps : bool
        Whether x is in local steps, not rounds.
    """

    run: str
    title: str
    x_label: str
    curves: Mapping[str, Curve]
    pale: Mapping[str, Curve]
    reference: Mapping[str, EpisodeCounts] = field(default_factory=dict)
    attack: int | None = None
    along_steps: bool = False

    @property
    def episodes(self) -> set[int]:
        """The numbers of episodes, over all seeds and clients, of its points."""
        curves = [point for curve in self.curves.values() for point in curve.values()]
        return {point.hits.size for point in (*curves, *self.reference.values())}


def draw_curve(
    axes: Axes, curve: str, percent: Mapping[int, float], *, most_markers: int = 18, size: float = 5.0
) -> None:
    """Draw one of the four curves.

    Parameters
    ----------
    axes : Axes
        Axes to draw into.
    curve : str
        One of `fedmeta_flwr.records.results.CURVES`, which decides its look and label.
    percent : mapping of int to float
        Round or step to accuracy in percent.
    most_markers : int
        If there are more points, only some get a marker, at other positions than those of the other curves.
    size : float
        Size of a marker, in points.
    """
    look = LOOKS[curve]
    axes.plot(
        list(percent),
        list(percent.values()),
        label=LABELS[curve],
        color=look.color,
        linestyle=look.line,
        linewidth=0.3 * size,
        marker=look.marker,
        markersize=size,
        markeredgecolor="white",
        markeredgewidth=0.1 * size,
        markevery=_marked(len(percent), CURVES.index(curve), most_markers),
    )


def _marked(num_points: int, curve: int, most_markers: int) -> list[int]:
    """Return the points that get a marker: the first and some others, which differ between curves if there are many."""
    every = -(-num_points // most_markers)
    return sorted({0, *range(curve * every // len(CURVES), num_points, every)})


def draw_pale(axes: Axes, curve: str, percent: Mapping[int, float]) -> None:
    """Draw a curve for comparison, in percent, thin and pale; a single value becomes a level across the axes."""
    look = LOOKS[curve]
    pale: dict[str, Any] = {"color": look.color, "alpha": 0.45, "linewidth": 0.8, "zorder": 0}
    if len(percent) == 1:
        axes.axhline(*percent.values(), **pale)
    else:
        axes.plot(list(percent), list(percent.values()), linestyle=look.line, **pale)


def in_percent(axes: Axes) -> None:
    """Give the axes the y scale of all figures, 0 to 100 %, and its grid."""
    axes.set_ylim(-2, 102)
    axes.set_yticks(range(0, 101, 20))
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def draw_panel(axes: Axes, panel: Panel) -> None:
    """Draw a panel into its axes; raises `CountsError` if a curve's counts cannot be paired."""
    axes.set_title(panel.title)
    axes.set_xlabel(panel.x_label)
    in_percent(axes)
    for curve, counts in panel.pale.items():
        draw_pale(axes, curve, {x: 100 * point.accuracy() for x, point in counts.items()})
    for curve, counts in panel.curves.items():
        _draw_band(axes, curve, counts)
    if panel.attack is not None:
        axes.axvline(panel.attack, color="0.45", linewidth=0.8, zorder=1)
    if panel.along_steps and panel.curves:
        _draw_along_steps(axes, panel)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True, steps=[1, 2, 5, 10]))


def _draw_band(axes: Axes, curve: str, counts: Curve) -> None:
    estimates = band(counts)
    ends = [band_ends(counts[x], estimate) for x, estimate in estimates.items()]
    low, high = ([100 * end for end in side] for side in zip(*ends, strict=True))
    axes.fill_between(list(estimates), low, high, color=LOOKS[curve].color, alpha=0.18, linewidth=0)
    percent = {x: 100 * estimate.value for x, estimate in estimates.items()}
    draw_curve(axes, curve, percent, most_markers=12, size=4)


def band_ends(point: EpisodeCounts, estimate: Estimate) -> tuple[float, float]:
    """Return the ends of a band: those of the interval, or the two seeds, whose interval would span everything."""
    if len(point.seeds) != SPANNED_SEEDS:
        return estimate.low, estimate.high
    first, second = sorted(point.of_seeds([seed]).accuracy() for seed in point.seeds)
    return first, second


def _draw_along_steps(axes: Axes, panel: Panel) -> None:
    """Draw the reference, and scale x: linear up to the first step above 0, and logarithmic after that."""
    steps = sorted({step for counts in panel.curves.values() for step in counts})
    first = min((step for step in steps if step > 0), default=1)
    for place, (curve, counts) in enumerate(panel.reference.items()):
        look, estimate, x = LOOKS[curve], accuracy(counts), -first * (1.3 - 0.2 * place)
        low, high = band_ends(counts, estimate)
        axes.vlines(x, 100 * low, 100 * high, color=look.color, linewidth=0.8, alpha=0.6)
        axes.plot([x], [100 * estimate.value], color=look.color, marker=look.marker, markersize=4, markerfacecolor="w")
    axes.set_xscale("symlog", linthresh=first, linscale=0.45)
    named = {-first: "no\ndefense"} if panel.reference else {}
    ticks = named | {step: str(step) for step in _with_room(axes, steps)}
    axes.set_xticks(list(ticks), list(ticks.values()))
    axes.xaxis.set_minor_locator(NullLocator())


def _with_room(axes: Axes, steps: list[int]) -> list[int]:
    """Return the first and last step, and others whose labels fit into a panel about 5 cm wide.

    Powers of ten come first.
    """
    to_axes = axes.xaxis.get_transform().transform
    low, high = to_axes(np.array(axes.get_xlim()))
    place = dict(zip(steps, ((to_axes(np.array(steps, dtype=float)) - low) / (high - low)).tolist(), strict=True))
    kept = [steps[0]]
    for step in sorted(steps, key=lambda step: (step != steps[-1], str(step).strip("0") != "1", step)):
        if all(abs(place[step] - place[other]) >= 0.014 + 0.018 * len(f"{step}{other}") for other in kept):
            kept.append(step)
    return sorted(kept)


def save(figure: Figure, path_without_suffix: Path) -> list[Path]:
    """Write a figure as ``.png`` and ``.svg``, in this order; the same figure gives the same SVG, byte for byte."""
    files = [path_without_suffix.with_name(f"{path_without_suffix.name}.{kind}") for kind in ("png", "svg")]
    with mpl.rc_context(STYLE):
        figure.savefig(files[0], dpi=300)
        figure.savefig(files[1], metadata={"Date": None})
    return files
