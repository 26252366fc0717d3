"""The claims table for people, as rich tables and as Markdown."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, groupby

from rich.box import SIMPLE_HEAD
from rich.console import Group
from rich.markup import escape
from rich.table import Table

from experiments.analysis.bootstrap import RESAMPLES
from experiments.analysis.claims.accuracies import Measured
from experiments.analysis.claims.judging import Answer, Judged, Judgement, place
from experiments.analysis.claims.numbers import accuracy_text, estimate_text, threshold_text
from experiments.analysis.claims.poster import CLAIMS
from experiments.analysis.claims.statements import Row
from fedmeta_flwr.records import CURVES, LABELS

LEGEND = f"""Accuracies in %, their differences in percentage points, paired by seed, client and episode. 95 % intervals
are over seeds and episodes (hierarchical bootstrap of {RESAMPLES} resamples, stretched by Student's t for few seeds);
of a single seed they are over its episodes alone.
*Excess* is backdoor accuracy minus that of the clean model under the same treatment. A statement holds if its whole
interval is where it is asked to be, and does not hold if none of it is. A claim holds in a place if all of its
statements do, and as a whole if it does in all places; it does not hold if it fails in one. Thresholds are our choice;
`experiments/analysis/claims/poster.py` gives the reasons."""


@dataclass(frozen=True)
class Sheet:
    """A table as text: rows in sections; a newline within a cell begins a new line of it."""

    title: str
    headings: tuple[str, ...]
    sections: tuple[tuple[tuple[str, ...], ...], ...]


def sheets(judged: Judged) -> list[Sheet]:
    """Return verdicts, their statements, controls, accuracies, and what is missing; empty sheets are left out."""
    statements = tuple(
        tuple(_statements(answer, judgement)) for answer in judged.answers for judgement in answer.judgements
    )
    found = [
        Sheet("Claims", ("", "claim", "verdict", "in detail"), (tuple(map(_verdict, judged.answers)),)),
        Sheet("Statements", ("claim and statements", "points [95 %]", "asked", "verdict"), statements),
        Sheet("Controls", ("control", "points [95 %]", "notes"), tuple(_controls(judged))),
        Sheet("Accuracies", ("% [95 %]", *(LABELS[curve] for curve in CURVES)), tuple(_accuracies(judged))),
        Sheet("Missing", ("why", "what could not be said"), tuple(_missing(judged))),
    ]
    return [sheet for sheet in found if sheet.sections]


def _verdict(answer: Answer) -> tuple[str, ...]:
    return answer.name, CLAIMS[answer.claim].text, answer.verdict, answer.summary


def _statements(answer: Answer, judgement: Judgement) -> Iterator[tuple[str, ...]]:
    question = judgement.question
    notes = f" ({'; '.join(judgement.notes)})" if judgement.notes else ""
    yield f"{answer.name}, {place(question.case, question.measured)}{notes}", "", "", judgement.verdict
    for row in judgement.rows:
        asked = threshold_text(row.statement, row.estimate)
        premise = "premise: " if row.statement.premise else ""
        yield f"· {premise}{row.statement.text}", estimate_text(row.estimate), asked, row_verdict(row)


def row_verdict(row: Row) -> str:
    """Return the verdict on a statement; with a single seed it is always undecided."""
    return row.verdict if row.estimate.over_seeds else "undecided"


def _controls(judged: Judged) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Yield a section for each kind of control, with a row for each place."""
    by_text: dict[str, list[tuple[str, ...]]] = {}
    for compared in judged.controls:
        control = compared.control
        row = (
            f"· {place(control.case, control.measured)}",
            estimate_text(compared.estimate),
            "; ".join(compared.notes),
        )
        by_text.setdefault(control.text, [(control.text, "", "")]).append(row)
    return map(tuple, by_text.values())


def _accuracies(judged: Judged) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Yield a section for each run."""
    for run, found in groupby(judged.accuracies, key=lambda measured: measured.moment.run):
        yield (run, *[""] * len(CURVES)), *map(_accuracy, found)


def _accuracy(measured: Measured) -> tuple[str, ...]:
    notes = f" ({'; '.join(measured.notes)})" if measured.notes else ""
    return f"· {measured.moment.name}{notes}", *(accuracy_text(measured.estimates[curve]) for curve in CURVES)


def _missing(judged: Judged) -> Iterator[tuple[tuple[str, ...], ...]]:
    """Yield a section for each reason, with the claims and controls, but without their places."""
    if judged.missing_runs:
        yield (("runs without results", "\n".join(judged.missing_runs)),)
    for reason, names in judged.missing.items():
        yield ((reason, "\n".join(dict.fromkeys(name for name, _ in names))),)


def claims_renderable(judged: Judged) -> Group:
    """Return all sheets for the terminal."""
    heading = f"{judged.dataset}, {judged.profile}"
    return Group(*(_rich_table(sheet, heading) for sheet in sheets(judged)))


def _rich_table(sheet: Sheet, heading: str) -> Table:
    table = Table(title=f"{sheet.title}: {heading}", title_justify="left", box=SIMPLE_HEAD)
    for name in sheet.headings:
        numbers = name.startswith("points")
        table.add_column(name, justify="right" if numbers else "left", no_wrap=numbers or name in ("asked", "verdict"))
    for section in sheet.sections:
        for row in section:
            table.add_row(*map(escape, row))
        table.add_section()
    return table


def claims_markdown(judged: Judged) -> str:
    """Return all sheets as Markdown, with the runs and seeds behind them."""
    runs = [f"- {run}: {origin.describe()}" for run, origin in judged.origins.items()]
    parts = [f"## {judged.dataset}, {judged.profile}", "\n".join(runs)]
    for sheet in sheets(judged):
        rows = [sheet.headings, ("---",) * len(sheet.headings), *chain.from_iterable(sheet.sections)]
        parts += [f"### {sheet.title}", "\n".join(map(_markdown_row, rows))]
    return "\n\n".join(parts)


def _markdown_row(cells: tuple[str, ...]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", "<br>") for cell in cells) + " |"
