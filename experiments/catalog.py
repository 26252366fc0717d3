"""The experiments of the reproduction: every figure of the poster and every control, and the runs that each needs.

A run's settings are the defaults, overridden by ``configs/reproduce/DATASET.toml``, then
``configs/reproduce/PROFILE.toml``, then the settings of the run in this module. Cases (b) and (c) start from the same
pre-trained model and share a run, because their clients train alike; they differ only in evaluation.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

DATASETS = ("strokes", "omniglot", "mini-imagenet", "image-folder")
PROFILES = ("quick", "full")
CASES = ("a", "b", "c")
"""Who holds images of the backdoor classes besides the adversary; see the setting ``case``."""

_NO_ATTACK = {"attack-round": 0}
_DEFENDED = {"defense": "federation"}


AFTER_PRETRAINING = (
    "attack-interval",
    "attack-order",
    "attack",
    "attack-options",
    "attack-layers",
    "attack-images",
    "poisoning",
    "poisoning-options",
    "poison-fraction",
    "poison-support-episodes",
    "poison-outer-steps",
    "poison-outer-lr",
    "poison-outer-lr-schedule",
    "boost-factor",
    "backdoor-key",
    "backdoor-key-options",
    "key-position",
    "key-size",
    "key-intensity",
    "matching-steps",
    "matching-lr",
    "local-head-lr",
    "evaluate-episodes",
    "evaluate-query-shot",
    "evaluate-inner-steps",
    "step-curves",
    "fine-tuning-curve-steps",
    "fine-tuning-curve-episodes",
    "local-curve-steps",
)
"""A pre-training does not depend on these settings: it keeps the defaults, so it can be reused with others."""


@dataclass(frozen=True)
class Run:
    """One run of a seed.

    Attributes
    ----------
    name : str
        Name of the run and of its folder.
    text : str
        What happens in it.
    settings : mapping
        Override those of data set and profile.
    after : str or None
        The run whose final model it starts from; None: it begins with pre-training.
    ends_before_attack : bool
        Whether it is the pre-training of other runs.
    shared : str or None
        The name of what is executed for it and for the runs from which it differs only by its case; None: only itself.
    """

    name: str
    text: str
    settings: Mapping[str, Any]
    after: str | None = None
    ends_before_attack: bool = False
    shared: str | None = None


@dataclass(frozen=True)
class Experiment:
    """A figure of the poster, or a control.

    Attributes
    ----------
    name : str
        Its name on the command line.
    text : str
        What it shows.
    figure : str
        Name of a figure of `experiments.analysis.figures.panels`.
    claims : tuple of str
        The poster's claims that depend on it.
    runs : tuple of str
        The runs that it is drawn from.
    profiles : mapping of str to tuple of str
        For profiles with fewer runs: the runs that they have.
    """

    name: str
    text: str
    figure: str
    claims: tuple[str, ...]
    runs: tuple[str, ...]
    profiles: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def runs_in(self, profile: str) -> tuple[str, ...]:
        """Return the runs of a profile."""
        return self.profiles.get(profile, self.runs)


def _group(case: str) -> str:
    return "a" if case == "a" else "bc"


def _pretraining(group: str, defended: bool) -> Run:
    return Run(
        f"pretrain-{'defended-' if defended else ''}{group}",
        "federated meta-training without the adversary",
        {"case": group[0], **_NO_ATTACK, "evaluate-every": 1000} | (_DEFENDED if defended else {}),
        ends_before_attack=True,
    )


def _attacked(case: str) -> Run:
    settings = {"case": case, "step-curves": "fine-tuning matching head"}
    shared = None if case == "a" else "attack-bc"
    return Run(f"attack-{case}", "the one-shot attack", settings, f"pretrain-{_group(case)}", shared=shared)


def _defended(case: str) -> Run:
    settings = {"case": case, "step-curves": "matching", **_DEFENDED}
    text = "the attack on a federation that classifies by matching and shares no head"
    after, shared = (None, None) if case == "a" else ("pretrain-defended-bc", "defended-bc")
    return Run(f"defended-{case}", text, settings, after, shared=shared)


_PRETRAINING = (
    _pretraining("a", defended=False),
    _pretraining("bc", defended=False),
    _pretraining("bc", defended=True),
)
_CONTROLS = (
    Run(
        "no-attack-a",
        "no attack at all: the adversary takes part as a benign client",
        {**_NO_ATTACK, "adversary-between-attacks": "benign"},
        "pretrain-a",
    ),
    Run("without-adversary-a", "no attack, and nobody has the adversary's classes", _NO_ATTACK, "pretrain-a"),
    Run("boost-1-a", "the attack without boosting", {"boost-factor": 1.0}, "pretrain-a"),
)
_MEASURED = (*map(_attacked, CASES), *_CONTROLS, *map(_defended, CASES))

CONTROLS = tuple(run.name for run in _CONTROLS)
"""Names of the runs with which an attacked run is compared."""

MEASURED_RUNS = tuple(run.name for run in _MEASURED)
"""Names of the runs whose results are drawn and judged, in the order of display."""

RUNS = {run.name: run for run in (*_PRETRAINING, *_MEASURED)}
"""All runs by name."""

_ATTACKED = ("attack-a", "attack-b", "attack-c")
EXPERIMENTS = {
    experiment.name: experiment
    for experiment in (
        Experiment(
            "persistence",
            "the four curves after each benign round that follows the attack",
            "persistence",
            ("P1", "P2", "P3", "P8"),
            _ATTACKED,
        ),
        Experiment(
            "fine-tuning",
            "the four curves after each fine-tuning step of an episode, poisoned and clean model",
            "fine-tuning",
            ("P4", "P5"),
            _ATTACKED,
        ),
        Experiment(
            "rescue",
            "the four curves along local steps of the defense of a poisoned model; its controls: no local step, the "
            "clean model, and as many steps with the fully-connected head",
            "rescue",
            ("P6", "P7"),
            _ATTACKED,
        ),
        Experiment(
            "defended-federation",
            "the four curves where everybody trains and classifies by matching",
            "defended-federation",
            ("P6",),
            ("defended-a", "defended-b", "defended-c"),
            {"quick": ("defended-a",)},
        ),
        Experiment("no-attack", RUNS["no-attack-a"].text, "controls", (), ("no-attack-a", "attack-a")),
        Experiment(
            "without-adversary", RUNS["without-adversary-a"].text, "controls", (), ("without-adversary-a", "attack-a")
        ),
        Experiment("boost-1", RUNS["boost-1-a"].text, "controls", (), ("boost-1-a", "attack-a")),
    )
}
"""All experiments by name."""


class CatalogError(ValueError):
    """A name is not in the catalog; the message says which, and lists the known ones."""


def runs_of(names: Iterable[str], profile: str) -> list[Run]:
    """Return the runs that experiments need, each once, and a pre-training before the runs that start from it.

    Parameters
    ----------
    names : iterable of str
        Names of experiments; none: all of them.
    profile : str
        One of `PROFILES`.

    Raises
    ------
    CatalogError
        If a name is not in the catalog.
    """
    chosen = list(names) or list(EXPERIMENTS)
    if unknown := [name for name in chosen if name not in EXPERIMENTS]:
        found = ", ".join(map(repr, unknown))
        raise CatalogError(f"experiment: expected any of {', '.join(EXPERIMENTS)}, found {found}")
    wanted = dict.fromkeys(name for chosen_name in chosen for name in EXPERIMENTS[chosen_name].runs_in(profile))
    ordered: dict[str, Run] = {}
    for name in wanted:
        run = RUNS[name]
        if run.after is not None:
            ordered.setdefault(run.after, RUNS[run.after])
        ordered[name] = run
    return list(ordered.values())
