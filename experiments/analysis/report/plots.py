"""The common parts of the report's plots: plotly figures as plain JSON, with colours only for the data.

Text, axes and grid take their colours from the page (`report.js`), so that they follow its light and dark form.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plotly import graph_objects as go

from experiments.analysis.figures.curves import LOOKS, Look
from fedmeta_flwr.records import COLORS

ATTACK_COLOR = COLORS["attack_training"]  # what the adversary does
BENIGN_COLOR = COLORS["meta_testing"]
MIDDLE_GREY = "#808080"
SYMBOLS = {"o": "circle", "s": "square", "^": "triangle-up", "D": "diamond"}
"""Matplotlib's names of markers to plotly's."""

_MARGIN = {"l": 48, "r": 12, "t": 34, "b": 44}


@dataclass(frozen=True)
class Table:
    """The numbers of a plot as text, for those who do not see it."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Plot:
    """A plot with its alternatives.

    Attributes
    ----------
    spec : dict
        Plotly's JSON: data and layout.
    label : str
        Description in a sentence or two.
    table : Table
        The numbers.
    """

    spec: dict[str, Any]
    label: str
    table: Table

    @property
    def height(self) -> int:
        """In pixels."""
        return int(self.spec["layout"]["height"])


def spec_of(traces: Sequence[Any], *, title: str, height: int, **layout: Any) -> dict[str, Any]:
    """Return traces and layout as plain JSON; `layout` holds more of plotly's layout."""
    figure = go.Figure(list(traces))
    figure.update_layout(
        template="none",
        title={"text": title, "font": {"size": 13}, "x": 0.5, "xanchor": "center", "y": 0.99, "yanchor": "top"},
        height=height,
        margin=_MARGIN,
        font={"size": 12},
        showlegend=False,
        dragmode=False,
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        **layout,
    )
    figure.update_xaxes(fixedrange=True)
    figure.update_yaxes(fixedrange=True)
    plain: dict[str, Any] = json.loads(figure.to_json())
    return plain


def dash_of(curve: str) -> str:
    """Return a curve's line as plotly and SVG have it: lengths of dashes and gaps in pixels, or ``solid``."""
    return line_of(LOOKS[curve])


def line_of(look: Look) -> str:
    """Return the line of a look, as `dash_of` does."""
    line = look.line
    return "solid" if isinstance(line, str) else ",".join(f"{2 * length:g}px" for length in line[1])


def translucent(color: str, opacity: float) -> str:
    """Return ``#rrggbb`` with an opacity."""
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def step_place(step: float) -> float:
    """Return the position of a number of local steps: linear at first, including 0, logarithmic later."""
    return math.log10(1 + step)


def labelled_steps(steps: Sequence[int], share: float = 0.1) -> list[int]:
    """Return the steps whose labels have room: first, last, powers of ten, then others, `share` of the width apart."""
    ordered = sorted(steps, key=lambda step: (step not in (steps[0], steps[-1]), str(step).strip("0") != "1", step))
    width = step_place(steps[-1]) - step_place(steps[0]) or 1.0
    kept: list[int] = []
    for step in ordered:
        if all(abs(step_place(step) - step_place(other)) >= share * width for other in kept):
            kept.append(step)
    return sorted(kept)
