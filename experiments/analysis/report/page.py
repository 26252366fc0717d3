"""Gather all parts and render them into one HTML file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from plotly.offline import get_plotlyjs

from experiments.analysis.audit_table import MEANINGS
from experiments.analysis.claims.table import LEGEND
from experiments.analysis.figures.curves import LOOKS
from experiments.analysis.report.absence import AbsentError, Parts, part_or_reason
from experiments.analysis.report.attacks import AuditView, audit_views
from experiments.analysis.report.figures import FigureView, figure_views
from experiments.analysis.report.material import Material, ShownRun, gather, gather_audits
from experiments.analysis.report.pictures import Gallery, galleries
from experiments.analysis.report.plots import SYMBOLS, Plot, dash_of
from experiments.analysis.report.provenance import Recipe, differing_settings, recipe_of
from experiments.analysis.report.run_view import RunView, run_view
from experiments.analysis.report.summary import Summary, summary_of
from experiments.analysis.report.witness import key_learnt_in, key_of, scenario_of
from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.learning import pin_threads
from fedmeta_flwr.records import CURVES, LABELS
from fedmeta_flwr.records.results import FILE_NAME

DEFAULT_NAME = "report.html"
_TEMPLATES = Path(__file__).parent / "templates"
_STYLES = ("report.css", "attacks.css")  # the second where there is an audit


class ReportError(ValueError):
    """A report cannot be written; the message says which file and why."""


@dataclass(frozen=True)
class Part:
    """All of the page about one data set and profile.

    Attributes
    ----------
    pictured : str
        The run whose pictures are in `galleries`.
    left_out : mapping of str to str
        ``claims``, ``key``, ``pictures``, ``differing``, ``recipe`` to the reason why they are not shown; empty where
        they are.
    """

    material: Material
    title: str
    summary: Summary | None
    figures: tuple[FigureView, ...]
    galleries: tuple[Gallery, ...]
    pictured: str
    runs: tuple[RunView, ...]
    differing: tuple[tuple[str, ...], ...]
    recipe: Recipe | None
    left_out: Mapping[str, str]


@dataclass
class _Plots:
    """The plots of the page, in their order on it."""

    specs: list[dict[str, Any]] = field(default_factory=list)

    def add(self, plot: Plot) -> int:
        """Add a plot and return its number."""
        self.specs.append(plot.spec)
        return len(self.specs) - 1


def write_report(path: Path, output: Path | None, data_dir: Path | None) -> Path:
    """Write the report about a results root or a single run.

    Parameters
    ----------
    path : Path
        A results root, a run's folder, or a result file.
    output : Path or None
        The HTML file; None: `DEFAULT_NAME` beside the results.
    data_dir : Path or None
        Folder with the data set's files, where they are not in the recorded place.

    Returns
    -------
    Path
        The file. The same results and data give the same bytes.

    Raises
    ------
    ResultsError
        If there are no results, or a result file or a file of an audit is damaged.
    ReportError
        If the file cannot be written.
    """
    audits = audit_views(gather_audits(path), path)
    parts = [_part(material, data_dir) for material in gather(path, may_be_empty=bool(audits))]
    file = output or (path if path.is_dir() else path.parent) / DEFAULT_NAME
    if file.name == FILE_NAME:
        raise ReportError(f"--output: expected a file for the page, found a result file: {file}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # Names of files may be no text.
        file.write_text(render(parts, audits), encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise ReportError(f"{file}: cannot write the report: {error.strerror}") from error
    return file


def render(parts: Sequence[Part], audits: Sequence[AuditView] = ()) -> str:
    """Return the page for a part or an audit at least."""
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    names, plots = [part.material.name for part in parts], _Plots()
    unmeasured = [audit for audit in audits if audit.name not in names]
    names += [audit.name for audit in unmeasured]
    views = [view for part in parts for view in part.runs]
    return environment.get_template("page.html").render(
        parts=parts,
        audits=audits,
        unmeasured=[audit.title for audit in unmeasured],
        materials=[*(part.title for part in parts), *(audit.title for audit in unmeasured)],
        places={audit.name: names.index(audit.name) for audit in audits},
        meanings=MEANINGS,
        cases=sorted({view.run.config["case"] for view in views}),
        adversaries=_adversaries_of_all(views),
        adversaries_of=_adversaries,
        legend=_claims_legend(),
        curves=[_curve(curve) for curve in CURVES],
        plots=plots,
        version=version("fedmeta-flwr"),
        plotlyjs=get_plotlyjs(),
        style="".join((_TEMPLATES / name).read_text(encoding="utf-8") for name in _STYLES[: 1 + bool(audits)]),
        script=(_TEMPLATES / "report.js").read_text(encoding="utf-8"),
    )


def _part(material: Material, data_dir: Path | None) -> Part:
    pin_threads()  # as in an actor, so that sums are taken in the same order
    parts = Parts(*(path for run in material.runs for path in run.paths))
    scenarios = [_scenario(run, data_dir) for run in material.runs]
    runs = tuple(run_view(run, scenario) for run, scenario in zip(material.runs, scenarios, strict=True))
    parts.make("key", lambda: key_of(material.runs[0]), None)
    pictured, found = parts.make("pictures", lambda: _pictures(material.runs, scenarios), ("", ()))
    return Part(
        material=material,
        title=material.title,
        summary=parts.make("claims", lambda: summary_of(material.collection), None),
        figures=tuple(figure_views(material.collection)),
        galleries=found,
        pictured=pictured,
        runs=runs,
        differing=parts.make("differing", lambda: tuple(differing_settings(material)), ()),
        recipe=parts.make("recipe", lambda: recipe_of(material), None),
        left_out=parts.left_out,
    )


def _scenario(run: ShownRun, data_dir: Path | None) -> Scenario | AbsentError:
    scenario, reason = part_or_reason(lambda: scenario_of(run, data_dir), None, *run.paths)
    return scenario or AbsentError(reason)


def _pictures(runs: Sequence[ShownRun], scenarios: Sequence[Scenario | AbsentError]) -> tuple[str, tuple[Gallery, ...]]:
    """Return the first run whose data are available, and its pictures."""
    for run, scenario in zip(runs, scenarios, strict=True):
        if isinstance(scenario, Scenario):
            return run.title, tuple(galleries(scenario, key_learnt_in(run)))
    raise AbsentError(str(scenarios[0]))


def _adversaries_of_all(views: Sequence[RunView]) -> str:
    """Return the sentence on the adversaries of all runs; empty if they are not the same in all of them."""
    found = {_adversaries(view) for view in views}
    return found.pop() if len(found) == 1 else ""


def _adversaries(view: RunView) -> str:
    *others, last = map(str, view.adversaries or (0,))
    return f"Adversaries: clients {', '.join(others)} and {last}." if others else f"Client {last} is the adversary."


def _claims_legend() -> str:
    return " ".join(LEGEND.replace("*", "").split()).partition("Thresholds are our choice")[0].strip()


def _curve(curve: str) -> dict[str, str]:
    look = LOOKS[curve]
    dash = "" if dash_of(curve) == "solid" else dash_of(curve).replace("px", "")
    return {
        "name": curve,
        "label": LABELS[curve],
        "color": look.color,
        "dash": dash,
        "symbol": SYMBOLS[look.marker],
    }
