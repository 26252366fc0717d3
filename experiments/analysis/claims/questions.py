"""The inputs of claims and controls: which case, attack set and run they are taken from."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from experiments.analysis.claims.inputs import AtStep, InRound, SharedEnd, Source
from experiments.analysis.collection import Collection
from experiments.analysis.defended import defense_of_run
from experiments.catalog import CASES
from fedmeta_flwr.defenses import Defense
from fedmeta_flwr.records import CURVES, LABELS

ATTACK_SETS = ("attack_training", "attack_validation")
_LOCAL_ONLY = "local_only"
CLEAN_CURVES = ("meta_testing", "main_task")


@dataclass(frozen=True)
class Question:
    """One claim in one place.

    Attributes
    ----------
    claim : str
        A key of `claims.poster.CLAIMS`.
    case : str
        ``"a"``, ``"b"`` or ``"c"``; empty if the claim compares them.
    measured : str
        What is measured, in words.
    sources : mapping of str to Source
        Name of an input to its place; `Claim.needs` without the curves.
    curves : mapping of str to (str, str)
        Name of an input to run and curve.
    variant : str
        The `Defense.label` of the runs if they were measured under their defense: such a claim is judged separately.
        Empty if the runs have none.
    """

    claim: str
    case: str
    measured: str
    sources: Mapping[str, Source]
    curves: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    variant: str = ""


@dataclass(frozen=True)
class Control:
    """A weighted sum of accuracies that is shown but not judged; case and measured as in `Question`."""

    text: str
    case: str
    measured: str
    terms: tuple[tuple[float, Source], ...]


@dataclass(frozen=True)
class Asked:
    """A collection from the claims' point of view: which of its numbers belong to an attacked or defended model.

    Attributes
    ----------
    collection : Collection
        The runs; any may be missing.
    """

    collection: Collection

    def defense(self, run: str) -> Defense:
        """Return the defense of a run; if the run is missing, that of the first case that has one."""
        kind = run.rpartition("-")[0]
        there = [name for case in CASES if (name := f"{kind}-{case}") in self.collection.runs]
        return defense_of_run(self.collection, run if run in there or not there else there[0])

    def label(self, case: str) -> str:
        """Return the label of the defense under which the rounds of the attack's runs were measured."""
        return self.defense(f"attack-{case}").label

    def along(self, run: str) -> str:
        """Return the step curve of the remedy that clients of a run have; empty if there is none."""
        curve = self.defense(run).remedy().curve
        return curve.key if curve is not None else ""

    def undefended(self, case: str, curve: str) -> InRound | AtStep:
        """Return the attacked model without any defense: with its head, fine-tuned as in any evaluation."""
        run = f"attack-{case}"
        if self.label(case):
            return AtStep(run, "attack", "fine_tuning", "ordinary", curve)
        return InRound(run, "attack", curve)

    def defended(self, case: str, curve: str) -> InRound | AtStep:
        """Return the attacked model under the defense of its run, or else after local steps of the rescue."""
        run = f"attack-{case}"
        if self.label(case):
            return InRound(run, "attack", curve)
        return AtStep(run, "attack", self.along(run), "few", curve)


def questions(collection: Collection) -> Iterator[Question]:
    """Yield the eight claims in all their places, claim by claim."""
    asked = Asked(collection)
    yield from (_p1(asked, case, curve) for case in CASES for curve in ATTACK_SETS)
    yield from (_p2(asked, case) for case in CASES)
    yield from (_p3(asked, curve) for curve in ATTACK_SETS)
    yield from (_fine_tuned("P4", case, curve) for case in "ab" for curve in ATTACK_SETS)
    yield from (_fine_tuned("P5", "c", curve) for curve in ATTACK_SETS)
    yield from (_p6(asked, case, curve) for case in CASES for curve in ATTACK_SETS)
    yield from (_p6_without_head(asked, case, curve) for case in CASES for curve in ATTACK_SETS)
    yield from (_p7(asked, case, curve) for case in CASES for curve in CLEAN_CURVES)
    yield from (_p8(asked, case) for case in CASES)


def _p1(asked: Asked, case: str, curve: str) -> Question:
    run = f"attack-{case}"
    sources = _with_clean({"attacked": _attacked(case, curve)}) | {"last": InRound(run, "last", curve)}
    return Question("P1", case, LABELS[curve], sources, {"after": (run, curve)}, variant=asked.label(case))


def _p2(asked: Asked, case: str) -> Question:
    sets = zip(("training", "validation"), ATTACK_SETS, strict=True)
    points = {name: _attacked(case, curve) for name, curve in sets}
    return Question("P2", case, "backdoor, both attack sets", _with_clean(points), variant=asked.label(case))


def _p3(asked: Asked, curve: str) -> Question:
    points = {f"case_{case}": _attacked(case, curve) for case in CASES}
    return Question("P3", "", LABELS[curve], _with_clean(points), variant=asked.label(CASES[0]))


def _fine_tuned(claim: str, case: str, curve: str) -> Question:
    run = f"attack-{case}"
    ordinary = AtStep(run, "attack", "fine_tuning", "ordinary", curve)
    return Question(
        claim, case, LABELS[curve], _with_clean({"ordinary": ordinary, "tuned": replace(ordinary, which="all")})
    )


def _p6(asked: Asked, case: str, curve: str) -> Question:
    points = {"undefended": asked.undefended(case, curve), "defended": asked.defended(case, curve)}
    return Question("P6", case, LABELS[curve], _with_clean(points), variant=asked.label(case))


def _p6_without_head(asked: Asked, case: str, curve: str) -> Question:
    """Ask whether local training removes the backdoor, compared with no training: there is no head to compare with."""
    run = f"defended-{case}"
    points: dict[str, InRound | AtStep] = {
        "undefended": AtStep(run, "attack", asked.along(run), "none", curve),
        "defended": InRound(run, "attack", curve),
    }
    return Question("P6", case, LABELS[curve], _with_clean(points), variant=asked.defense(run).label)


def _p7(asked: Asked, case: str, curve: str) -> Question:
    sources: dict[str, Source] = {
        "defended": asked.defended(case, curve),
        "undefended": asked.undefended(case, curve),
    }
    return Question("P7", case, LABELS[curve], sources, variant=asked.label(case))


def _p8(asked: Asked, case: str) -> Question:
    points = {name: _attacked(case, name) for name in CLEAN_CURVES} | {"attacked": _attacked(case, ATTACK_SETS[0])}
    return Question("P8", case, "clean queries", _with_clean(points), variant=asked.label(case))


def _attacked(case: str, curve: str) -> InRound:
    """Return the attacked model as its clients use it, possibly with a defense."""
    return InRound(f"attack-{case}", "attack", curve)


def _before(source: InRound | AtStep) -> Source:
    return replace(source, when="before")


def _with_clean(points: Mapping[str, InRound | AtStep]) -> dict[str, Source]:
    """Add the clean baseline of every point: the same before the attack."""
    return {**points, **{f"{name}_clean": _before(source) for name, source in points.items()}}


def controls(collection: Collection) -> Iterator[Control]:
    """Yield the comparisons that show what a claim's effect is due to."""
    asked = Asked(collection)
    for case in CASES:
        yield from _without_local_training(asked, case)
    for case in CASES:
        yield from _benefit_kept(asked, case)
    for case in CASES:
        yield from _on_the_clean_model(asked, case)
    for curve in ATTACK_SETS:
        yield Control("excess with boost factor 1", "a", LABELS[curve], _excess(InRound("boost-1-a", "attack", curve)))
    yield from _drift("no-attack-a", "no attack")
    yield from _drift("without-adversary-a", "without adversary")
    for case in CASES:
        yield from _without_head(asked, case)


def _without_local_training(asked: Asked, case: str) -> Iterator[Control]:
    """Yield the effects on all four curves of the defense without training, and of training without the defense."""
    run = f"attack-{case}"
    along = asked.along(run)
    for text, source in (
        (f"{along} without local training", AtStep(run, "attack", along, "none", "")),
        ("as many local steps with the head", AtStep(run, "attack", "head", "few", "")),
    ):
        if not source.along:
            continue
        for curve in ATTACK_SETS:
            yield Control(f"{text}: excess", case, LABELS[curve], _excess(replace(source, curve=curve)))
        for curve in CLEAN_CURVES:
            terms = _minus(replace(source, curve=curve), asked.undefended(case, curve))
            yield Control(f"{text}: accuracy minus undefended", case, LABELS[curve], terms)


def _benefit_kept(asked: Asked, case: str) -> Iterator[Control]:
    """Yield what the defended model keeps of the federation: its accuracy minus that of local training only."""
    for run in (f"attack-{case}", f"defended-{case}"):
        if not asked.collection.has_steps(run, _LOCAL_ONLY):  # older results
            continue
        label = asked.defense(run).label or asked.defense(run).remedy().label
        for curve in CLEAN_CURVES:
            defended = AtStep(run, "attack", asked.along(run), "few", curve)
            terms = _minus(defended, replace(defended, along=_LOCAL_ONLY))
            yield Control(f"benefit kept: accuracy with {label} minus local training only", case, LABELS[curve], terms)


def _on_the_clean_model(asked: Asked, case: str) -> Iterator[Control]:
    name = asked.label(case) or asked.along(f"attack-{case}")
    for curve in CLEAN_CURVES:
        defended = _before(asked.defended(case, curve))
        text = f"clean model: accuracy with {name} minus "
        ordinary = _before(asked.undefended(case, curve))
        yield Control(text + "the head's", case, LABELS[curve], _minus(defended, ordinary))
        trained = AtStep(f"attack-{case}", "before", "head", "few", curve)
        yield Control(text + "the head's after as many steps", case, LABELS[curve], _minus(defended, trained))


def _drift(run: str, name: str) -> Iterator[Control]:
    for curve in CURVES:
        change = _minus(InRound(run, "last", curve), InRound(run, "first", curve))
        yield Control(f"{name}: change from the first to the last round", "a", LABELS[curve], change)
    for curve in CURVES:
        at_the_end = _minus(SharedEnd("attack-a", run, curve), SharedEnd(run, "attack-a", curve))
        yield Control(f"attacked minus {name}, at the end", "a", LABELS[curve], at_the_end)


def _without_head(asked: Asked, case: str) -> Iterator[Control]:
    run = f"defended-{case}"
    text = f"{asked.defense(run).label}: accuracy minus undefended"
    for curve in CLEAN_CURVES:
        terms = _minus(InRound(run, "attack", curve), asked.undefended(case, curve))
        yield Control(text, case, LABELS[curve], terms)


def _excess(source: InRound | AtStep) -> tuple[tuple[float, Source], ...]:
    return _minus(source, _before(source))


def _minus(first: Source, second: Source) -> tuple[tuple[float, Source], ...]:
    return ((1.0, first), (-1.0, second))
