"""The command ``audit``, from its request to the exit code, with all output for the user."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.analysis.audit_files import FOLDER
from experiments.analysis.audit_table import HEADINGS, MEANINGS, attack_row, table_title
from experiments.analysis.security import LOCAL_ONLY, MATCHING, Audited, accuracy_of, benefit_of, excess_of
from experiments.audit.audit import AuditRequest, audit, require_passed
from experiments.cli.session import exit_code_of
from experiments.output import Output
from fedmeta_flwr.records import CURVES


def audit_session(request: AuditRequest, *, quiet: bool = False, as_json: bool = False) -> int:
    """Audit attacks, show the table, draw figures if there are curves, and return the exit code."""
    output = Output("audit", as_json)

    def command() -> None:
        audited = audit(request, output.console)
        output.document["attacks"] = [_document(one) for one in audited]
        if not quiet:
            output.show(audit_table(audited))
        _draw(request, audited, output)
        require_passed(audited, request)

    return exit_code_of(command, output)


def audit_table(audited: Sequence[Audited]) -> Table:
    """Return a row for each attack: excess of backdoor accuracy in points with its interval, and its upload."""
    table = Table(
        title=table_title(audited),
        title_justify="left",
        caption=MEANINGS,
        caption_justify="left",
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    for place, heading in enumerate(HEADINGS):
        table.add_column(heading, no_wrap=True, justify="right" if place else "left")
    for one in audited:
        table.add_row(*attack_row(one))
    return table


def _document(one: Audited) -> Mapping[str, Any]:
    return {
        "name": one.name,
        "seeds": [measured.seed for measured in one.poisoned],
        "excess": {curve: asdict(excess_of(one, curve)) for curve in CURVES},
        "accuracy": {
            model: {curve: accuracy_of(measured, curve) for curve in CURVES}
            for model, measured in (("clean", one.clean), ("poisoned", one.poisoned))
        },
        "norm_ratio": one.norm_ratio(),
        "uploads": [measured.numbers["uploads"] for measured in one.poisoned],
        "detection": [measured.numbers["detection"] for measured in one.poisoned],
        "curves": {
            name: {str(step): asdict(excess_of(one, "attack_training", name, step)) for step in one.steps(name)}
            for name in one.step_curves()
        },
        "benefit_kept": {
            name: {str(step): asdict(benefit_of(one, name, step)) for step in one.steps(name)}
            for name in one.step_curves()
            if name.startswith(MATCHING) and one.steps(name) == one.steps(LOCAL_ONLY)
        },
        "seconds": [measured.origin["seconds"] for measured in one.poisoned],
    }


def _draw(request: AuditRequest, audited: Sequence[Audited], output: Output) -> None:
    """Draw the figures of this data set and profile, and name them."""
    from experiments.analysis.figures.security import draw_security

    folder = request.results_root / FOLDER / request.dataset / request.profile
    files = draw_security(audited, folder) if any(one.step_curves() for one in audited) else []
    output.document["files"] = [str(file) for file in files]
    for file in files:
        output.console.print(f"  {file}", markup=False)
