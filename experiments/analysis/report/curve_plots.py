"""The panels of the poster's figures as plots: four curves with their bands, what they are compared to, all values."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from plotly import graph_objects as go

from experiments.analysis.figures.curves import LOOKS, Panel, band_ends
from experiments.analysis.report.plots import (
    MIDDLE_GREY,
    SYMBOLS,
    Plot,
    Table,
    dash_of,
    labelled_steps,
    spec_of,
    step_place,
    translucent,
)
from experiments.analysis.statistics import Curve, EpisodeCounts, accuracy, band
from fedmeta_flwr.records import CURVES, LABELS

_HEIGHT = 300
_FEW_ROUNDS = 8
_UNDEFENDED = "no defense"
_LEFT_OF_ZERO = -0.25  # in the units of `step_place`: where the model without a defense stands
_APART = 0.07


@dataclass(frozen=True)
class Point:
    """An accuracy in percent with the ends of its band."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.1f} [{self.low:.1f}, {self.high:.1f}]"


def panel_plot(panel: Panel, row: str, heading: str) -> Plot:
    """Return a panel as a plot.

    Parameters
    ----------
    panel : Panel
        With a curve at least.
    row : str
        What its row of the figure measures; empty if the figure has one row.
    heading : str
        Of the figure; with it the names of tables differ.

    Raises
    ------
    CountsError
        If a curve's counts cannot be paired.
    """
    title = f"{panel.title}, {' '.join(row.split())}" if row else panel.title
    points = {curve: _points(counts) for curve, counts in panel.curves.items()}
    reference = {curve: _point(counts) for curve, counts in panel.reference.items()}
    traces = [trace for curve in points for trace in _traces(panel, curve, points[curve], reference.get(curve))]
    layout: dict[str, Any] = {
        "hovermode": "x unified",
        "hoverdistance": -1,  # the nearest point, however far
        "yaxis": {"title": {"text": "accuracy, %", "standoff": 4}, "range": [-2, 102], "dtick": 20, "zeroline": False},
        "xaxis": {"title": {"text": panel.x_label, "standoff": 6}, "zeroline": False, "showgrid": False},
    }
    if panel.attack is not None:
        layout["shapes"] = [attack_line(panel.attack)]
    if panel.along_steps:
        layout["xaxis"] |= _step_axis(panel)
    elif _span(points) < _FEW_ROUNDS:
        layout["xaxis"]["dtick"] = 1  # there is no half a round
    spec = spec_of(traces, title=title, height=_HEIGHT, **layout)
    return Plot(spec, _label(title, panel, points), _table(f"{heading}, {title}", panel, points, reference))


def _span(points: Mapping[str, Mapping[int, Point]]) -> int:
    xs = [x for along in points.values() for x in along]
    return max(xs) - min(xs)


def attack_line(x: float) -> dict[str, Any]:
    """Return the line that marks an attack."""
    line = {"color": MIDDLE_GREY, "width": 1.2}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "below"}


def _points(counts: Curve) -> dict[int, Point]:
    return {x: _in_percent(counts[x], estimate) for x, estimate in band(counts).items()}


def _point(counts: EpisodeCounts) -> Point:
    return _in_percent(counts, accuracy(counts))


def _in_percent(counts: EpisodeCounts, estimate: Any) -> Point:
    low, high = band_ends(counts, estimate)
    return Point(100 * estimate.value, 100 * low, 100 * high)


def _traces(panel: Panel, curve: str, points: Mapping[int, Point], reference: Point | None) -> Iterator[Any]:
    """Yield the traces of one curve, from back to front; `meta` names the curve for the legend."""
    look, xs = LOOKS[curve], [_x(panel, x) for x in points]
    common: dict[str, Any] = {"meta": curve, "name": LABELS[curve]}
    yield from _pale(panel, curve, xs, common)
    yield go.Scatter(
        x=xs + xs[::-1],
        y=[point.high for point in points.values()] + [point.low for point in points.values()][::-1],
        fill="toself",
        mode="none",
        fillcolor=translucent(look.color, 0.18),
        hoverinfo="skip",
        **common,
    )
    yield go.Scatter(
        x=xs,
        y=[point.value for point in points.values()],
        customdata=[[str(point), str(x)] for x, point in points.items()],
        mode="lines+markers",
        line={"color": look.color, "width": 2, "dash": dash_of(curve)},
        marker={"color": look.color, "symbol": SYMBOLS[look.marker], "size": 6},
        hovertemplate="%{customdata[0]}" + ("<extra>%{fullData.name}</extra>"),
        **common,
    )
    if reference is not None:
        place = CURVES.index(curve)
        yield go.Scatter(
            x=[_LEFT_OF_ZERO + _APART * (place - 1.5)],
            y=[reference.value],
            error_y={
                "type": "data",
                "symmetric": False,
                "array": [reference.high - reference.value],
                "arrayminus": [reference.value - reference.low],
                "width": 0,
                "thickness": 1,
            },
            customdata=[[str(reference), _UNDEFENDED]],
            mode="markers",
            marker={"color": look.color, "symbol": f"{SYMBOLS[look.marker]}-open", "size": 7, "line": {"width": 2}},
            hovertemplate="%{customdata[0]}<extra>%{fullData.name}, no defense</extra>",
            **common,
        )


def _pale(panel: Panel, curve: str, xs: list[float], common: Mapping[str, Any]) -> Iterator[Any]:
    """Yield the traces that the curve is compared to; a single value becomes a level."""
    counts = panel.pale.get(curve)
    if not counts:
        return
    values = [100 * point.accuracy() for point in counts.values()]
    level = len(values) == 1
    yield go.Scatter(
        x=[min(xs), max(xs)] if level else [_x(panel, x) for x in counts],
        y=values * 2 if level else values,
        mode="lines",
        line={"color": LOOKS[curve].color, "width": 1, "dash": "solid" if level else dash_of(curve)},
        opacity=0.8,
        hoverinfo="skip",
        **common,
    )


def _x(panel: Panel, x: float) -> float:
    return step_place(x) if panel.along_steps else x


def _step_axis(panel: Panel) -> dict[str, Any]:
    steps = sorted({step for counts in panel.curves.values() for step in counts})
    named = {step_place(step): str(step) for step in labelled_steps(steps)}
    start = step_place(steps[0]) - 0.05
    if panel.reference:
        named = {_LEFT_OF_ZERO: "none"} | named
        start = _LEFT_OF_ZERO - 3 * _APART
    room = 0.04 * (step_place(steps[-1]) - start)
    return {
        "tickvals": list(named),
        "ticktext": list(named.values()),
        "range": [start, step_place(steps[-1]) + room],
    }


def _label(title: str, panel: Panel, points: Mapping[str, Mapping[int, Point]]) -> str:
    """Describe each curve in words."""
    xs = sorted({x for along in points.values() for x in along})
    parts = [
        f"{LABELS[curve]} from {first.value:.0f} to {last.value:.0f} %"
        for curve, along in points.items()
        for first, last in [(along[min(along)], along[max(along)])]
    ]
    return f"{title}. Accuracy from {xs[0]} to {xs[-1]} {panel.x_label}: {'; '.join(parts)}."


def _table(
    title: str, panel: Panel, points: Mapping[str, Mapping[int, Point]], reference: Mapping[str, Point]
) -> Table:
    xs = sorted({x for along in points.values() for x in along})
    rows = [(str(x), *(str(along[x]) if x in along else "" for along in points.values())) for x in xs]
    if reference:
        rows.insert(0, (_UNDEFENDED, *(str(reference[curve]) if curve in reference else "" for curve in points)))
    rows += _clean_rows(panel, list(points))
    caption = f"{title}: accuracy in % [band]"
    return Table(caption, (panel.x_label, *(LABELS[curve] for curve in points)), tuple(rows))


def _clean_rows(panel: Panel, curves: list[str]) -> list[tuple[str, ...]]:
    xs = sorted({x for counts in panel.pale.values() for x in counts})
    names = ["clean model"] if len(xs) == 1 else [f"clean model, {x}" for x in xs]
    return [
        (
            name,
            *(
                f"{100 * panel.pale[curve][x].accuracy():.1f}" if x in panel.pale.get(curve, {}) else ""
                for curve in curves
            ),
        )
        for name, x in zip(names, xs, strict=True)
    ]
