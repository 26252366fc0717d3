"""What the claims and controls are asked of: which case, attack set and run fill their inputs."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from experiments.analysis.claims.inputs import AtStep, InRound, SharedEnd, Source
from experiments.catalog import CASES
from fedmeta_flwr.records.persistence import LABELS
from fedmeta_flwr.records.results import CURVES

ATTACK_SETS = ("attack_training", "attack_validation")
CLEAN_CURVES = ("meta_testing", "main_task")
DEFENDED_FEDERATION = "defended federation"


@dataclass(frozen=True)
class Question:
    """One claim in one place.

    Attributes
    ----------
    claim : str
        A key of `poster_claims.CLAIMS`.
    case : str
        ``"a"``, ``"b"`` or ``"c"``; empty where the claim compares them.
    measured : str
        What is measured, in words.
    sources : mapping of str to Source
        Name of an input to its place; `Claim.needs` without the curves.
    curves : mapping of str to (str, str)
        Name of an input to run and curve.
    variant : str
        Empty, or `DEFENDED_FEDERATION`: the claim about the other form of the defense, judged by itself.
    """

    claim: str
    case: str
    measured: str
    sources: Mapping[str, Source]
    curves: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    variant: str = ""


@dataclass(frozen=True)
class Control:
    """A weighted sum of accuracies that is shown and not judged; case and measured as in `Question`."""

    text: str
    case: str
    measured: str
    terms: tuple[tuple[float, Source], ...]


def questions() -> Iterator[Question]:
    """Yield the eight claims in all their places, claim by claim."""
    yield from (_p1(case, curve) for case in CASES for curve in ATTACK_SETS)
    yield from map(_p2, CASES)
    yield from map(_p3, ATTACK_SETS)
    yield from (_fine_tuned("P4", case, curve) for case in "ab" for curve in ATTACK_SETS)
    yield from (_fine_tuned("P5", "c", curve) for curve in ATTACK_SETS)
    yield from (_p6(case, curve) for case in CASES for curve in ATTACK_SETS)
    yield from (_p6_defended_federation(case, curve) for case in CASES for curve in ATTACK_SETS)
    yield from (_p7(case, curve) for case in CASES for curve in CLEAN_CURVES)
    yield from map(_p8, CASES)


def _p1(case: str, curve: str) -> Question:
    run = f"attack-{case}"
    sources = _with_clean({"attacked": _attacked(case, curve)}) | {"last": InRound(run, "last", curve)}
    return Question("P1", case, LABELS[curve], sources, {"after": (run, curve)})


def _p2(case: str) -> Question:
    sets = zip(("training", "validation"), ATTACK_SETS, strict=True)
    points = {name: _attacked(case, curve) for name, curve in sets}
    return Question("P2", case, "backdoor, both attack sets", _with_clean(points))


def _p3(curve: str) -> Question:
    points = {f"case_{case}": _attacked(case, curve) for case in CASES}
    return Question("P3", "", LABELS[curve], _with_clean(points))


def _fine_tuned(claim: str, case: str, curve: str) -> Question:
    run = f"attack-{case}"
    ordinary = AtStep(run, "attack", "fine_tuning", "ordinary", curve)
    return Question(
        claim, case, LABELS[curve], _with_clean({"ordinary": ordinary, "tuned": replace(ordinary, which="all")})
    )


def _p6(case: str, curve: str) -> Question:
    points: dict[str, InRound | AtStep] = {"undefended": _attacked(case, curve), "defended": _matching(case, curve)}
    return Question("P6", case, LABELS[curve], _with_clean(points))


def _p6_defended_federation(case: str, curve: str) -> Question:
    """Ask whether local training removes what the same federation shows without it: it has no head to compare with."""
    run = f"defended-{case}"
    points: dict[str, InRound | AtStep] = {
        "undefended": AtStep(run, "attack", "matching", "none", curve),
        "defended": InRound(run, "attack", curve),
    }
    return Question("P6", case, LABELS[curve], _with_clean(points), variant=DEFENDED_FEDERATION)


def _p7(case: str, curve: str) -> Question:
    return Question(
        "P7", case, LABELS[curve], {"defended": _matching(case, curve), "undefended": _attacked(case, curve)}
    )


def _p8(case: str) -> Question:
    points = {name: _attacked(case, name) for name in CLEAN_CURVES} | {"attacked": _attacked(case, ATTACK_SETS[0])}
    return Question("P8", case, "clean queries", _with_clean(points))


def _attacked(case: str, curve: str) -> InRound:
    return InRound(f"attack-{case}", "attack", curve)


def _matching(case: str, curve: str) -> AtStep:
    return AtStep(f"attack-{case}", "attack", "matching", "few", curve)


def _before(source: InRound | AtStep) -> Source:
    return replace(source, when="before")


def _with_clean(points: Mapping[str, InRound | AtStep]) -> dict[str, Source]:
    """Add the clean baseline of every point: the same before the attack."""
    return {**points, **{f"{name}_clean": _before(source) for name, source in points.items()}}


def controls() -> Iterator[Control]:
    """Yield the comparisons that tell what a claim's effect is due to."""
    for case in CASES:
        yield from _without_local_training(case)
    for case in CASES:
        yield from _on_the_clean_model(case)
    for curve in ATTACK_SETS:
        yield Control("excess with boost factor 1", "a", LABELS[curve], _excess(InRound("boost-1-a", "attack", curve)))
    yield from _drift("no-attack-a", "no attack")
    yield from _drift("without-adversary-a", "without adversary")
    for case in CASES:
        yield from _defended_federation(case)


def _without_local_training(case: str) -> Iterator[Control]:
    """Yield what matching does without training, and training without matching, to all four curves."""
    run = f"attack-{case}"
    for text, source in (
        ("matching without local training", AtStep(run, "attack", "matching", "none", "")),
        ("as many local steps with the head", AtStep(run, "attack", "head", "few", "")),
    ):
        for curve in ATTACK_SETS:
            yield Control(f"{text}: excess", case, LABELS[curve], _excess(replace(source, curve=curve)))
        for curve in CLEAN_CURVES:
            terms = _minus(replace(source, curve=curve), _attacked(case, curve))
            yield Control(f"{text}: accuracy minus undefended", case, LABELS[curve], terms)


def _on_the_clean_model(case: str) -> Iterator[Control]:
    for curve in CLEAN_CURVES:
        matching = replace(_matching(case, curve), when="before")
        text = "clean model: accuracy with matching minus "
        ordinary = _before(_attacked(case, curve))
        yield Control(text + "the head's", case, LABELS[curve], _minus(matching, ordinary))
        trained = replace(matching, along="head")
        yield Control(text + "the head's after as many steps", case, LABELS[curve], _minus(matching, trained))


def _drift(run: str, name: str) -> Iterator[Control]:
    for curve in CURVES:
        change = _minus(InRound(run, "last", curve), InRound(run, "first", curve))
        yield Control(f"{name}: change from the first to the last round", "a", LABELS[curve], change)
    for curve in CURVES:
        at_the_end = _minus(SharedEnd("attack-a", run, curve), SharedEnd(run, "attack-a", curve))
        yield Control(f"attacked minus {name}, at the end", "a", LABELS[curve], at_the_end)


def _defended_federation(case: str) -> Iterator[Control]:
    for curve in CLEAN_CURVES:
        terms = _minus(InRound(f"defended-{case}", "attack", curve), _attacked(case, curve))
        yield Control("defended federation: accuracy minus undefended", case, LABELS[curve], terms)


def _excess(source: InRound | AtStep) -> tuple[tuple[float, Source], ...]:
    return _minus(source, _before(source))


def _minus(first: Source, second: Source) -> tuple[tuple[float, Source], ...]:
    return ((1.0, first), (-1.0, second))
