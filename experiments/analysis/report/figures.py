"""The poster's figures for the page: the same plans and panels as `experiments.analysis.figures.panels` draws."""

from dataclasses import dataclass

from experiments.analysis.collection import Collection
from experiments.analysis.figures.panels import PLANS, Plan, caption
from experiments.analysis.report.absence import AbsentError, part_or_reason
from experiments.analysis.report.curve_plots import panel_plot
from experiments.analysis.report.plots import Plot

HEADINGS = {
    "persistence": "Persistence",
    "fine-tuning": "Fine-tuning",
    "rescue": "Local defense (rescue)",
    "defended-federation": "Defended federation",
    "controls": "Controls",
}
"""The page's names for the figures of `panels.PLANS`."""

_MISSING = {
    "persistence": "no run of an attack with an evaluated round from then on",
    "fine-tuning": "no run with fine-tuning steps measured (setting step-curves)",
    "rescue": "no run with local steps measured (setting step-curves)",
    "defended-federation": "no run of a defended federation",
    "controls": "no control run",
}


@dataclass(frozen=True)
class PanelView:
    """A panel of a figure, and the case that it is about."""

    case: str
    plot: Plot


@dataclass(frozen=True)
class FigureView:
    """A figure on the page.

    Attributes
    ----------
    name, heading, subject, caption : str
        In `panels.PLANS`, and what stands above and below it.
    panels : tuple of PanelView
        None where it cannot be drawn.
    problem : str
        Why there are no panels; empty where there are.
    """

    name: str
    heading: str
    subject: str = ""
    caption: str = ""
    panels: tuple[PanelView, ...] = ()
    problem: str = ""


def figure_views(collection: Collection) -> list[FigureView]:
    """Return all of the poster's figures; one that cannot be drawn says why instead."""
    return [_view(name, collection) for name in PLANS]


def _view(name: str, collection: Collection) -> FigureView:
    view, reason = part_or_reason(lambda: _drawn(name, collection), None)
    return view or FigureView(name, HEADINGS[name], problem=f"Not drawn: {reason}.")


def _drawn(name: str, collection: Collection) -> FigureView:
    plan = PLANS[name](collection)
    if not plan.panels:
        raise AbsentError(f"{_MISSING[name]} in these results")
    heading = HEADINGS[name]
    return FigureView(name, heading, plan.subject, caption(collection, plan), _panels(collection, plan, heading))


def _panels(collection: Collection, plan: Plan, heading: str) -> tuple[PanelView, ...]:
    return tuple(
        PanelView(str(collection.config(panel.run)["case"]), panel_plot(panel, row, heading))
        for row, panels in plan.rows.items()
        for panel in panels
        if panel.curves
    )
