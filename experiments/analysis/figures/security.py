"""The figures of an audit: security curves of defenses, and excess over the length of the upload."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from experiments.analysis.figures.curves import STYLE, Look, save
from experiments.analysis.security import LOCAL_ONLY, MATCHING, Audited, excess_of, frontier, security_curve, worst_case
from experiments.analysis.statistics import Estimate

CURVE = "attack_training"
_Y_LABEL = "excess of backdoor accuracy,\npoisoned minus clean (points)"
# Okabe and Ito's colours, which differ for colour-blind readers; marker and line differ as well.
_COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#999999")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p")
_LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (3, 1.2, 1, 1.2)), (0, (1.2, 1.2)))
_WIDTH, _HEIGHT = 3.4, 3.0
_COLUMNS = 2


def looks_of(names: Sequence[str]) -> dict[str, Look]:
    """Return a look for each attack; no two of them have the same marker and line, up to 44 attacks."""
    return {
        name: Look(_COLORS[place % len(_COLORS)], _MARKERS[place % len(_MARKERS)], _LINES[place % len(_LINES)])
        for place, name in enumerate(names)
    }


def step_curves_of(attacks: Sequence[Audited]) -> list[str]:
    """Return the step curves that were measured with an attack at least."""
    return list(dict.fromkeys(name for one in attacks for name in one.step_curves()))


def rescues(attacks: Sequence[Audited]) -> list[str]:
    """Return the step curves with a frontier: those of matching, if local training was measured as well."""
    found = step_curves_of(attacks)
    return [name for name in found if name.startswith(MATCHING)] if LOCAL_ONLY in found else []


def steps_label(step_curve: str) -> str:
    """Return the label of an axis with the steps of a step curve."""
    return {"fine_tuning": "fine-tuning steps", "fresh_head": "steps on the support set"}.get(step_curve, "local steps")


def draw_security(attacks: Sequence[Audited], folder: Path, start: str = "") -> list[Path]:
    """Draw the figures of one data set and profile.

    Parameters
    ----------
    attacks : sequence of Audited
        The attacks, in the order of the legend.
    folder : Path
        Where ``security.png``, ``norms.png``, ``frontier.png`` and their SVGs are written, each if it can be drawn.
    start : str
        Start of their names.

    Returns
    -------
    list of Path
        The files; none if there is no attack.
    """
    if not attacks:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    step_curves = step_curves_of(attacks)
    with mpl.rc_context(STYLE):
        drawn = [save(_norms(attacks), folder / f"{start}norms")]
        if defended := [name for name in step_curves if name != LOCAL_ONLY]:  # whose excess is 0
            drawn.append(save(_security(attacks, defended), folder / f"{start}security"))
        if matching := rescues(attacks):
            drawn.append(save(_frontier(attacks, matching), folder / f"{start}frontier"))
    return [file for files in drawn for file in files]


def _security(attacks: Sequence[Audited], step_curves: Sequence[str]) -> Figure:
    looks = looks_of([one.name for one in attacks])
    columns = min(_COLUMNS, len(step_curves))
    rows = math.ceil(len(step_curves) / columns)
    figure = Figure(figsize=(_WIDTH * columns + 2, _HEIGHT * rows), layout="constrained")
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes in panels.flat[len(step_curves) :]:
        axes.set_visible(False)
    for axes, name in zip(panels.flat, step_curves, strict=False):
        _panel(axes, security_curve(attacks, CURVE, name), looks)
        axes.set_title(name.replace("_", "-"))
        axes.set_xlabel(steps_label(name))
    for axes in panels[:, 0]:
        axes.set_ylabel(_Y_LABEL)
    handles = [_handle(name, look) for name, look in looks.items()]
    handles.append(Line2D([], [], color="0.75", linewidth=5, label="worst case"))
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def _panel(axes: Axes, curves: Mapping[str, Mapping[int, Estimate]], looks: Mapping[str, Look]) -> None:
    """Draw a line with its intervals for each attack, above a broad band along the largest excess."""
    _grid(axes)
    worst = worst_case(curves)
    axes.plot(
        list(worst),
        [100 * estimate.value for _, estimate in worst.values()],
        color="0.75",
        linewidth=5,
        solid_capstyle="round",
        zorder=1,
    )
    for name, points in curves.items():
        look, percent = looks[name], [100 * estimate.value for estimate in points.values()]
        low = [100 * (estimate.value - estimate.low) for estimate in points.values()]
        high = [100 * (estimate.high - estimate.value) for estimate in points.values()]
        axes.errorbar(list(points), percent, (low, high), fmt="none", ecolor=look.color, elinewidth=0.7, alpha=0.6)
        axes.plot(list(points), percent, **_style(look))
    steps = sorted({step for points in curves.values() for step in points})
    first = min((step for step in steps if step), default=1)
    axes.set_xscale("symlog", linthresh=first, linscale=0.45)
    axes.set_xticks(steps, list(map(str, steps)))
    axes.minorticks_off()


def _frontier(attacks: Sequence[Audited], step_curves: Sequence[str]) -> Figure:
    """Draw the largest excess over the benefit kept, along the steps of each rescue."""
    looks = looks_of(step_curves)
    figure = Figure(figsize=(_WIDTH + 2.4, _HEIGHT + 0.6), layout="constrained")
    axes = figure.subplots()
    _grid(axes)
    axes.axvline(0, color="0.45", linewidth=0.8, zorder=0)
    for name in step_curves:
        points = frontier(attacks, CURVE, name)
        x, y = ([100 * pair[side].value for pair in points.values()] for side in (0, 1))
        axes.plot(x, y, **_style(looks[name]))
        for step, benefit, excess in zip(points, x, y, strict=True):
            axes.annotate(
                str(step), (benefit, excess), xytext=(3, 3), textcoords="offset points", fontsize=6, color="0.35"
            )
    axes.set_xlabel("benefit kept: accuracy minus that of local training only (points)")
    axes.set_ylabel("largest excess of backdoor accuracy\nover attacks (points)")
    handles = [_handle(name.replace("_", "-"), look) for name, look in looks.items()]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def _norms(attacks: Sequence[Audited]) -> Figure:
    """Draw the excess without a defense over the length of the upload, in median lengths of a benign update."""
    looks = looks_of([one.name for one in attacks])
    figure = Figure(figsize=(_WIDTH + 2, _HEIGHT), layout="constrained")
    axes = figure.subplots()
    _grid(axes)
    for one in attacks:
        estimate, look = excess_of(one, CURVE), looks[one.name]
        axes.vlines(one.norm_ratio(), 100 * estimate.low, 100 * estimate.high, color=look.color, linewidth=0.8)
        axes.plot([one.norm_ratio()], [100 * estimate.value], **{**_style(look), "linestyle": "none"})
    _logarithmic(axes, [one.norm_ratio() for one in attacks])
    axes.set_xlabel("norm of the upload / median norm of a benign update")
    axes.set_ylabel(_Y_LABEL)
    handles = [_handle(name, look, line=False) for name, look in looks.items()]
    figure.legend(handles=handles, loc="outside right upper", frameon=False)
    return figure


def _logarithmic(axes: Axes, values: Sequence[float]) -> None:
    """Give the x axis a logarithmic scale around the values above 0, with ticks at 1, 2 and 5 times powers of ten."""
    axes.set_xscale("log")
    shown = [value for value in values if value > 0] or [1.0]
    low, high = min(shown) / 1.25, max(shown) * 1.25
    exponents = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    ticks = [step * 10.0**exponent for exponent in exponents for step in (1, 2, 5)]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.set_xlim(low, high)


def _grid(axes: Axes) -> None:
    axes.axhline(0, color="0.45", linewidth=0.8, zorder=0)
    axes.grid(axis="y", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)


def _style(look: Look) -> dict[str, Any]:
    return {
        "color": look.color,
        "linestyle": look.line,
        "linewidth": 1.2,
        "marker": look.marker,
        "markersize": 4.5,
        "markeredgecolor": "white",
        "markeredgewidth": 0.4,
    }


def _handle(name: str, look: Look, *, line: bool = True) -> Line2D:
    return Line2D([], [], label=name, **{**_style(look), **({} if line else {"linestyle": "none"})})
