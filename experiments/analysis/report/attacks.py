"""The audit of one data set and profile on the page: table, benign updates, security curves, and frontier."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from experiments.analysis.audit_table import BENIGN_HEADINGS, HEADINGS, attack_row, benign_rows, table_title
from experiments.analysis.report.absence import AbsentError, Parts
from experiments.analysis.report.attack_plots import (
    LegendEntry,
    frontier_legend,
    frontier_plot,
    security_legend,
    security_plots,
)
from experiments.analysis.report.material import name_of, title_of
from experiments.analysis.report.plots import Plot, Table
from experiments.analysis.security import Audited


@dataclass(frozen=True)
class Lines:
    """Plots with the same lines, and their legend; no plots where nothing was measured."""

    plots: tuple[Plot, ...] = ()
    legend: tuple[LegendEntry, ...] = ()


@dataclass(frozen=True)
class AuditView:
    """An audit on the page.

    Attributes
    ----------
    name, title : str
        Data set and profile, as in `experiments.analysis.report.material.Material`.
    cases : tuple of str
        Of the audited runs.
    table, benign : Table or None
        A row for each attack; and for each clean model and seed, the ranges of benign updates.
    curves, frontier : Lines
        The security curves, one plot for each defense; and the excess over the benefit kept.
    left_out : mapping of str to str
        ``table``, ``benign``, ``curves``, ``frontier`` to the reason why they are not shown; empty where they are.
    """

    name: str
    title: str
    cases: tuple[str, ...]
    table: Table | None
    benign: Table | None
    curves: Lines
    frontier: Lines
    left_out: Mapping[str, str]


def audit_views(audits: Mapping[tuple[str, str], Sequence[Audited]], root: Path) -> list[AuditView]:
    """Return a view for each data set and profile; `root` is not named in reasons."""
    return [_view(dataset, profile, attacks, root) for (dataset, profile), attacks in audits.items()]


def _view(dataset: str, profile: str, attacks: Sequence[Audited], root: Path) -> AuditView:
    parts = Parts(str(root))
    return AuditView(
        name=name_of(dataset, profile),
        title=title_of(dataset, profile),
        cases=tuple(sorted({str(one.config.get("case", "")) for attack in attacks for one in attack.poisoned})),
        table=parts.make("table", lambda: _table(attacks), None),
        benign=parts.make("benign", lambda: _benign(attacks), None),
        curves=parts.make("curves", lambda: _curves(attacks), Lines()),
        frontier=parts.make("frontier", lambda: _frontier(attacks), Lines()),
        left_out=parts.left_out,
    )


def _table(attacks: Sequence[Audited]) -> Table:
    return Table(table_title(attacks), HEADINGS, tuple(attack_row(one) for one in attacks))


def _benign(attacks: Sequence[Audited]) -> Table:
    return Table("Benign updates: least to largest", BENIGN_HEADINGS, tuple(benign_rows(attacks)))


def _curves(attacks: Sequence[Audited]) -> Lines:
    if not (plots := security_plots(attacks)):
        raise AbsentError("no steps of a defense were measured (audit --curves)")
    return Lines(plots, security_legend(attacks))


def _frontier(attacks: Sequence[Audited]) -> Lines:
    plot = frontier_plot(attacks)
    return Lines() if plot is None else Lines((plot,), frontier_legend(attacks))
