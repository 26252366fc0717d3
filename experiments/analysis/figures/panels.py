"""The figures of a reproduction: rows of panels with the four curves and their bands over seeds."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from experiments.analysis.collection import Collection, When
from experiments.analysis.defended import curves_of_run, defense_of_run
from experiments.analysis.figures.curves import DATASET_NAMES, SPANNED_SEEDS, STYLE, Panel, draw_panel, save
from experiments.analysis.roles import recorded_attack
from experiments.analysis.statistics import Curve
from experiments.catalog import CASES, CONTROLS
from fedmeta_flwr.records import CURVES, persistence_of

_SMALL = {"legend.fontsize": 7.5, "axes.titlesize": 8.5, "axes.labelsize": 8, "xtick.labelsize": 7.5, "font.size": 8}
_FEW_WIDTHS, _FULL_WIDTH = {1: 4.4, 2: 5.2}, 6.8
_ROW_HEIGHT, _FRAME_HEIGHT = 1.8, 1.0
_CHARACTERS_PER_INCH = 18
_PALE = "pale: the clean model, evaluated last before the attack"


@dataclass(frozen=True)
class Plan:
    """The content of one figure.

    Attributes
    ----------
    subject : str
        For its title.
    rows : mapping of str to sequence of Panel
        Panels by what a row measures (empty if the title says it); the same number in every row.
    remarks : tuple of str
        For its caption.
    """

    subject: str
    rows: Mapping[str, Sequence[Panel]]
    remarks: tuple[str, ...]

    @property
    def panels(self) -> list[Panel]:
        """All panels with something to draw."""
        return [panel for row in self.rows.values() for panel in row if panel.curves]


def draw_collection(collection: Collection, folder: Path) -> list[Path]:
    """Draw those figures of one data set and profile for which there are runs.

    Parameters
    ----------
    collection : Collection
        Its runs.
    folder : Path
        Receives ``<dataset>-<profile>-<figure>.png`` and ``.svg`` for each of `PLANS`; made if it is missing. The
        same results give the same SVG, byte for byte.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    ResultsError, CountsError
        If a run has no such round or curve, or its seeds do not match; see `Collection.points`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    start = f"{collection.dataset}-{collection.profile}"
    figures = collection_figures(collection)
    return [file for name, figure in figures.items() for file in save(figure, folder / f"{start}-{name}")]


def collection_figures(collection: Collection) -> dict[str, Figure]:
    """Return the figures for which there are runs, by their names in `PLANS`; raises as `draw_collection` does."""
    plans = {name: plan(collection) for name, plan in PLANS.items()}
    with mpl.rc_context(STYLE | _SMALL):
        return {name: _figure(collection, plan) for name, plan in plans.items() if plan.panels}


def _persistence(collection: Collection) -> Plan:
    return _after_attack(collection, "attack", "persistence of a one-shot attack")


def _defended_federation(collection: Collection) -> Plan:
    return _after_attack(collection, "defended", "one-shot attack on a defended federation")


def _after_attack(collection: Collection, kind: str, subject: str) -> Plan:
    runs = _attacked(collection, kind)
    panels = [_persistence_panel(collection, run) for run in runs]
    return Plan(subject, {"": panels}, (*_defenses(collection, runs), _PALE))


def _defenses(collection: Collection, runs: Sequence[str]) -> list[str]:
    """Return the remarks of the defenses under which accuracies were measured, each once."""
    remarks = (defense_of_run(collection, run).remark for run in runs)
    return list(dict.fromkeys(remark for remark in remarks if remark))


def _persistence_panel(collection: Collection, run: str) -> Panel:
    config = collection.config(run)
    interval, length = config["attack-interval"], max(1, len(recorded_attack(config)))
    shown = persistence_of(collection.evaluated(run), config["attack-round"], interval, length)
    rounds = {} if shown.baseline is None else shown.rounds
    curves = {curve: {x: collection.points(run, number, curve) for x, number in rounds.items()} for curve in CURVES}
    return Panel(run, f"case ({run[-1]})", shown.x_label, _with_points(curves), _clean(collection, run))


def _fine_tuning(collection: Collection) -> Plan:
    measured = _rows_along_steps(collection, "fine-tuning steps", is_of_episode=True)
    names = list(measured) if len(measured) > 1 else [""] * len(measured)
    rows = dict(zip(names, measured.values(), strict=True))
    return Plan("fine-tuning of the poisoned model", rows, (_PALE,))


def _rescue(collection: Collection) -> Plan:
    measured = _rows_along_steps(collection, "local steps", is_of_episode=False)
    is_compared = any(panel.reference for row in measured.values() for panel in row)
    undefended = ["no defense: fully-connected head without local steps"] * is_compared
    remarks = (*undefended, f"{_PALE}, along the same steps")
    return Plan("local defense of the poisoned model", measured, remarks)


def _rows_along_steps(collection: Collection, x_label: str, *, is_of_episode: bool) -> dict[str, list[Panel]]:
    """Return a row of panels for each measured curve of an episode, or else along local steps, by its label."""
    runs = _attacked(collection)
    names = {
        key: step_curve.label
        for run in runs
        for key, step_curve in curves_of_run(collection, run).items()
        if step_curve.is_of_episode == is_of_episode
    }
    rows = {
        name: [_along_steps(collection, run, key, x_label, is_compared=not is_of_episode) for run in runs]
        for key, name in names.items()
    }
    return {name: row for name, row in rows.items() if any(panel.curves for panel in row)}


def _along_steps(collection: Collection, run: str, step_curve: str, x_label: str, *, is_compared: bool) -> Panel:
    curves = _measured(collection, run, "attack", step_curve)
    clean = _measured(collection, run, "before", step_curve)
    is_undefended = is_compared and not defense_of_run(collection, run).label
    undefended = {curve: collection.points(run, "attack", curve) for curve in curves if is_undefended}
    return Panel(run, f"case ({run[-1]})", x_label, curves, clean, reference=undefended, along_steps=True)


def _measured(collection: Collection, run: str, when: When, step_curve: str) -> dict[str, Curve]:
    return {curve: steps for curve in CURVES if (steps := collection.steps(run, when, step_curve, curve))}


def _controls(collection: Collection) -> Plan:
    if not any(run in collection.runs for run in CONTROLS):
        return Plan("", {}, ())
    runs = [run for run in ("attack-a", *CONTROLS) if run in collection.runs]
    panels = [_over_all_rounds(collection, run) for run in runs]
    is_sequence = any(len(recorded_attack(collection.config(run))) > 1 for run in runs)
    line = "grey line: the first round of the attack" if is_sequence else "grey line: the attack"
    remarks = (line, _PALE) if any(panel.attack for panel in panels) else ()
    return Plan("controls of the attack, case (a)", {"": panels}, remarks)


def _over_all_rounds(collection: Collection, run: str) -> Panel:
    config = collection.config(run)
    attack = config["attack-round"] or None
    title = f"attack, boost {config['boost-factor']:g}" if attack else run.removesuffix("-a").replace("-", " ")
    curves = _with_points({curve: collection.by_server_round(run, curve) for curve in CURVES})
    return Panel(run, title, "round", curves, _clean(collection, run) if attack else {}, attack=attack)


def _with_points(curves: Mapping[str, Curve]) -> dict[str, Curve]:
    """Leave out curves without a point: a run may have been evaluated in no round, or in none from the attack on."""
    return {curve: points for curve, points in curves.items() if points}


def _attacked(collection: Collection, kind: str = "attack") -> list[str]:
    return [run for case in CASES if (run := f"{kind}-{case}") in collection.runs]


def _clean(collection: Collection, run: str) -> dict[str, Curve]:
    return {curve: {0: collection.points(run, "before", curve)} for curve in CURVES}


PLANS: Mapping[str, Callable[[Collection], Plan]] = {
    "persistence": _persistence,
    "fine-tuning": _fine_tuning,
    "rescue": _rescue,
    "defended-federation": _defended_federation,
    "controls": _controls,
}
"""The figures of a collection: name to what is drawn."""


def _figure(collection: Collection, plan: Plan) -> Figure:
    columns = max(len(row) for row in plan.rows.values())
    width = _FEW_WIDTHS.get(columns, _FULL_WIDTH)
    figure = Figure(figsize=(width, _FRAME_HEIGHT + _ROW_HEIGHT * len(plan.rows)), layout="constrained")
    grid = figure.subplots(len(plan.rows), columns, sharey=True, squeeze=False)
    for (name, row), axes_row in zip(plan.rows.items(), grid, strict=True):
        axes_row[0].set_ylabel(f"{name}\naccuracy, %" if name else "accuracy, %")
        for axes, panel in zip(axes_row, row, strict=True):
            draw_panel(axes, panel)
    for axes in grid[1:].flat:
        axes.set_title("")
    for axes in grid[:-1].flat:
        axes.set_xlabel("")
    figure.suptitle(f"{DATASET_NAMES.get(collection.dataset, collection.dataset)}: {plan.subject}", fontsize=9.5)
    _add_legend(figure, caption(collection, plan), ncols=4 if width == _FULL_WIDTH else 2)
    return figure


def _add_legend(figure: Figure, caption: str, ncols: int) -> None:
    lines, labels = next(found for axes in figure.axes if (found := axes.get_legend_handles_labels())[0])
    text = "\n".join(textwrap.wrap(caption, int(figure.get_figwidth() * _CHARACTERS_PER_INCH)))
    place: Any = {"loc": "outside lower center", "ncols": ncols, "frameon": False, "handlelength": 3.5}
    legend = figure.legend(lines, labels, title=text, title_fontsize=7.5, **place)
    legend.get_title().set_multialignment("center")


def caption(collection: Collection, plan: Plan) -> str:
    """Return the caption, which explains points and bands."""
    seeds = {panel.run: collection.seeds(panel.run) for panel in plan.panels}
    drawn = {size for panel in plan.panels for size in panel.episodes}
    episodes = " to ".join(str(size) for size in sorted({min(drawn), max(drawn)}))
    parts = (_settings(collection, plan), _seeds(plan, seeds), f"each point: {episodes} episodes", _bands(seeds))
    return "; ".join([*parts, *plan.remarks])


def _bands(seeds: Mapping[str, tuple[int, ...]]) -> str:
    numbers = {len(found) for found in seeds.values()}
    kinds = {
        "95 % over seeds": any(number > SPANNED_SEEDS for number in numbers),
        "of two seeds, from one to the other (no interval)": SPANNED_SEEDS in numbers,
        "of one seed, 95 % over its episodes alone": 1 in numbers,
    }
    return "bands: " + "; ".join(kind for kind, drawn in kinds.items() if drawn)


def _settings(collection: Collection, plan: Plan) -> str:
    configs = [collection.config(panel.run) for panel in plan.panels]
    found = {f"{config['way']}-way {config['shot']}-shot, {config['batch-norm']} batch norm" for config in configs}
    return f"{' / '.join(sorted(found))}, {collection.profile} profile"


def _seeds(plan: Plan, seeds: Mapping[str, tuple[int, ...]]) -> str:
    texts = {panel.title: _numbers(seeds[panel.run]) for panel in plan.panels}
    if len(set(texts.values())) > 1:
        return "seeds: " + ", ".join(f"{title} {text}" for title, text in texts.items())
    plural = len(seeds[plan.panels[0].run]) > 1
    return f"seeds {texts.popitem()[1]}" if plural else f"one seed ({texts.popitem()[1]})"


def _numbers(seeds: tuple[int, ...]) -> str:
    if len(seeds) > 2 and seeds[-1] - seeds[0] == len(seeds) - 1:
        return f"{seeds[0]} to {seeds[-1]}"
    return " and ".join(str(seed) for seed in seeds)
