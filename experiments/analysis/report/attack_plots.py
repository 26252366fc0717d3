"""The security curves of an audit, and its frontier, as plots: a line for each attack, and the worst case."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from plotly import graph_objects as go

from experiments.analysis.figures.curves import Look
from experiments.analysis.figures.security import CURVE, looks_of, rescues, step_curves_of, steps_label
from experiments.analysis.report.plots import (
    MIDDLE_GREY,
    SYMBOLS,
    Plot,
    Table,
    labelled_steps,
    line_of,
    spec_of,
    step_place,
    translucent,
)
from experiments.analysis.security import Audited, frontier, security_curve, worst_case
from experiments.analysis.statistics import Estimate

WORST = "worst case"
_WORST_KEY = "worst"
_HEIGHT, _FRONTIER_HEIGHT = 320, 380
_SYMBOLS = SYMBOLS | {
    "v": "triangle-down",
    "P": "cross",
    "X": "x",
    "<": "triangle-left",
    ">": "triangle-right",
    "*": "star",
    "p": "pentagon",
}
_SHAPES = {
    "o": "M13 6a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z",
    "s": "M13 2h8v8h-8Z",
    "^": "M17 1L22 10H12Z",
    "D": "M17 1L22 6L17 11L12 6Z",
    "v": "M17 11L22 2H12Z",
    "P": "M15.5 1h3v3.5h3.5v3h-3.5v3.5h-3v-3.5h-3.5v-3h3.5Z",
    "X": "M14 1L17 4L20 1L22 3L19 6L22 9L20 11L17 8L14 11L12 9L15 6L12 3Z",
    "<": "M12 6L21 1V11Z",
    ">": "M22 6L13 1V11Z",
    "*": "M17 0L18.5 4.3H23L19.4 7L20.8 11.4L17 8.8L13.2 11.4L14.6 7L11 4.3H15.5Z",
    "p": "M17 1L22 4.8L20.1 10.8H13.9L12 4.8Z",
}

_Curves = Mapping[str, Mapping[int, Estimate]]


@dataclass(frozen=True)
class LegendEntry:
    """A line of a figure with its box, which hides it.

    Attributes
    ----------
    key : str
        Identifies the line's traces.
    label, color, dash : str
        Its name, colour, and line as SVG has it; empty: solid.
    shape : str
        Path of its marker; empty: the worst case, a broad line.
    """

    key: str
    label: str
    color: str
    dash: str = ""
    shape: str = ""


def security_legend(attacks: Sequence[Audited]) -> tuple[LegendEntry, ...]:
    """Return an entry for each attack, and that of the worst case."""
    return (*_legend([one.name for one in attacks]), LegendEntry(_WORST_KEY, WORST, MIDDLE_GREY))


def frontier_legend(attacks: Sequence[Audited]) -> tuple[LegendEntry, ...]:
    """Return an entry for each defense whose frontier is drawn."""
    return _legend(rescues(attacks))


def security_plots(attacks: Sequence[Audited]) -> tuple[Plot, ...]:
    """Return a plot for each defense that was measured along its steps, all with the same vertical axis.

    Raises
    ------
    CountsError
        If the counts with clean and poisoned model cannot be paired.
    """
    looks = looks_of([one.name for one in attacks])
    found = {name: security_curve(attacks, CURVE, name) for name in step_curves_of(attacks)}
    values = [100 * one.value for curves in found.values() for along in curves.values() for one in along.values()]
    return tuple(_security_plot(name, curves, looks, _range(values)) for name, curves in found.items())


def frontier_plot(attacks: Sequence[Audited]) -> Plot | None:
    """Return the largest excess over the benefit kept along the steps of each rescue; None if it was not measured.

    Raises
    ------
    CountsError
        If counts cannot be paired.
    """
    if not (found := {name: frontier(attacks, CURVE, name) for name in rescues(attacks)}):
        return None
    title = "excess over benefit kept"
    looks, ys = looks_of(list(found)), [100 * pair[1].value for points in found.values() for pair in points.values()]
    layout = {
        "hovermode": "closest",
        "xaxis": {"title": {"text": "benefit kept, points", "standoff": 6}, **_ZERO},
        "yaxis": {"title": {"text": "largest excess, points", "standoff": 4}, "range": _range(ys), **_ZERO},
    }
    traces = [_frontier_trace(name, points, looks) for name, points in found.items()]
    spec = spec_of(traces, title=title, height=_FRONTIER_HEIGHT, **layout)
    rows = tuple(
        (_named(name), str(step), _text(benefit), _text(excess))
        for name, points in found.items()
        for step, (benefit, excess) in points.items()
    )
    table = Table(f"{title}, in points [interval]", ("defense", "steps", "benefit kept", "largest excess"), rows)
    return Plot(spec, _frontier_label(found), table)


_ZERO = {"zeroline": True, "zerolinecolor": MIDDLE_GREY}


def _legend(names: Sequence[str]) -> tuple[LegendEntry, ...]:
    looks = looks_of(names)
    return tuple(
        LegendEntry(_key(names, name), _named(name), look.color, _dash(look), _SHAPES[look.marker])
        for name, look in looks.items()
    )


def _key(names: Sequence[str] | Mapping[str, Look], name: str) -> str:
    return f"line-{list(names).index(name)}"


def _dash(look: Look) -> str:
    return "" if line_of(look) == "solid" else line_of(look).replace("px", "")


def _named(name: str) -> str:
    return name.replace("_", "-")


def _security_plot(name: str, curves: _Curves, looks: Mapping[str, Look], span: Sequence[float]) -> Plot:
    title, worst = _named(name), worst_case(curves)
    steps = sorted({step for along in curves.values() for step in along})
    layout = {
        "hovermode": "x unified",
        "hoverdistance": -1,
        "yaxis": {"title": {"text": "excess, points", "standoff": 4}, "range": span, **_ZERO},
        "xaxis": {"title": {"text": steps_label(name), "standoff": 6}, **_step_axis(steps)},
    }
    spec = spec_of(list(_security_traces(curves, worst, looks)), title=escape(title), height=_HEIGHT, **layout)
    return Plot(spec, _security_label(name, curves, worst), _security_table(name, steps, curves, worst))


def _security_traces(
    curves: _Curves, worst: Mapping[int, tuple[str, Estimate]], looks: Mapping[str, Look]
) -> Iterator[Any]:
    """Yield the broad line of the worst case, and above it a line for each attack."""
    yield go.Scatter(
        x=[step_place(step) for step in worst],
        y=[100 * estimate.value for _, estimate in worst.values()],
        customdata=[[escape(attack)] for attack, _ in worst.values()],
        mode="lines+markers",
        line={"color": translucent(MIDDLE_GREY, 0.45), "width": 10},
        marker={"color": translucent(MIDDLE_GREY, 0.45), "size": 10},
        hovertemplate="%{customdata[0]}<extra>" + WORST + "</extra>",
        name=WORST,
        meta=_WORST_KEY,
    )
    for attack, along in curves.items():
        yield go.Scatter(
            x=[step_place(step) for step in along],
            y=[100 * estimate.value for estimate in along.values()],
            customdata=[[_text(estimate), str(step)] for step, estimate in along.items()],
            mode="lines+markers",
            hovertemplate="%{customdata[0]}<extra>%{fullData.name}</extra>",
            name=escape(attack),
            meta=_key(looks, attack),
            **_style(looks[attack]),
        )


def _frontier_trace(name: str, points: Mapping[int, tuple[Estimate, Estimate]], looks: Mapping[str, Look]) -> Any:
    return go.Scatter(
        x=[100 * benefit.value for benefit, _ in points.values()],
        y=[100 * excess.value for _, excess in points.values()],
        customdata=[[str(step), _text(benefit), _text(excess)] for step, (benefit, excess) in points.items()],
        text=[str(step) for step in points],
        textposition="top right",
        mode="lines+markers+text",
        hovertemplate="%{customdata[0]} steps<br>benefit %{customdata[1]}<br>excess %{customdata[2]}"
        "<extra>%{fullData.name}</extra>",
        name=escape(_named(name)),
        meta=_key(looks, name),
        **_style(looks[name]),
    )


def _style(look: Look) -> dict[str, Any]:
    return {
        "line": {"color": look.color, "width": 2, "dash": line_of(look)},
        "marker": {"color": look.color, "symbol": _SYMBOLS[look.marker], "size": 7},
    }


def _range(values: Sequence[float]) -> list[float]:
    """Return the ends of an axis on which all values, and 0, have room."""
    low, high = min(0, *values), max(0, *values)
    room = 0.08 * (high - low) or 1.0
    return [low - room, high + room]


def _step_axis(steps: Sequence[int]) -> dict[str, Any]:
    shown, last = labelled_steps(steps), step_place(steps[-1])
    room = 0.05 * (last - step_place(steps[0])) or 0.05
    return {
        "tickvals": [step_place(step) for step in shown],
        "ticktext": [str(step) for step in shown],
        "range": [step_place(steps[0]) - room, last + room],
        "zeroline": False,
        "showgrid": False,
    }


def _text(estimate: Estimate) -> str:
    return f"{100 * estimate.value:+.1f} [{100 * estimate.low:+.1f}, {100 * estimate.high:+.1f}]"


def _security_label(name: str, curves: _Curves, worst: Mapping[int, tuple[str, Estimate]]) -> str:
    steps = sorted({step for along in curves.values() for step in along})
    lines = {**curves, WORST: {step: estimate for step, (_, estimate) in worst.items()}}
    parts = [
        f"{attack} from {100 * along[min(along)].value:+.0f} to {100 * along[max(along)].value:+.0f}"
        for attack, along in lines.items()
        if along
    ]
    span = f"from {steps[0]} to {steps[-1]} {steps_label(name)}"
    return f"{_named(name)}. Excess of backdoor accuracy {span}, in points: {'; '.join(parts)}."


def _security_table(
    name: str, steps: Sequence[int], curves: _Curves, worst: Mapping[int, tuple[str, Estimate]]
) -> Table:
    rows = tuple(
        (
            str(step),
            *(_text(along[step]) if step in along else "" for along in curves.values()),
            f"{_text(worst[step][1])} {worst[step][0]}" if step in worst else "",
        )
        for step in steps
    )
    caption = f"Security curve, {_named(name)}: excess in points [interval]"
    return Table(caption, (steps_label(name), *curves, WORST), rows)


def _frontier_label(found: Mapping[str, Mapping[int, tuple[Estimate, Estimate]]]) -> str:
    parts = [
        f"{_named(name)} from {_pair(points[min(points)])} to {_pair(points[max(points)])} after {max(points)} steps"
        for name, points in found.items()
        if points
    ]
    return f"Largest excess of backdoor accuracy over attacks, and benefit kept, in points: {'; '.join(parts)}."


def _pair(pair: tuple[Estimate, Estimate]) -> str:
    benefit, excess = pair
    return f"excess {100 * excess.value:+.0f} at benefit {100 * benefit.value:+.0f}"
