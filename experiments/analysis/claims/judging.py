"""The claims of the poster, judged on a collection of runs: `judge_collection`."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby

from experiments.analysis.claims.accuracies import Measured, measure, moments
from experiments.analysis.claims.inputs import read_inputs
from experiments.analysis.claims.origins import Origin, origin_of
from experiments.analysis.claims.poster import CLAIMS
from experiments.analysis.claims.questions import Control, Question, controls, questions
from experiments.analysis.claims.statements import Row, Verdict, overall, together
from experiments.analysis.collection import Collection
from experiments.analysis.statistics import CountsError, Estimate, contrast
from experiments.catalog import CONTROLS, MEASURED_RUNS
from fedmeta_flwr.records import ResultsError


@dataclass(frozen=True)
class Judgement:
    """One claim in one place.

    Attributes
    ----------
    question : Question
        What was asked.
    rows : tuple of Row
        Its statements with estimates. A row's verdict depends only on its interval; `verdict` does not.
    verdict : str
        By `statements.overall`: undecided if the premise is not shown, or if there is only one seed.
    notes : tuple of str
        The number of rounds or steps, and why the claim could not be decided.
    """

    question: Question
    rows: tuple[Row, ...]
    verdict: Verdict
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Compared:
    """One control with its estimate; notes as in `Judgement`."""

    control: Control
    estimate: Estimate
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Answer:
    """One claim over all places, or one variant of it.

    Attributes
    ----------
    claim, variant : str
        As in `Question`.
    judgements : tuple of Judgement
        Of the places that could be judged.
    unanswered : int
        How many could not be judged because results are missing.
    """

    claim: str
    variant: str
    judgements: tuple[Judgement, ...]
    unanswered: int

    @property
    def name(self) -> str:
        """The claim's id, and which variant of it."""
        return f"{self.claim}, {self.variant}" if self.variant else self.claim

    @property
    def verdict(self) -> Verdict:
        """Whether it holds in all places: `claims.together`, and undecided instead of holds if a place is missing."""
        found = together([judgement.verdict for judgement in self.judgements])
        return "undecided" if found == "holds" and self.unanswered else found

    @property
    def summary(self) -> str:
        """The verdict case by case, as "holds in (a), (b); undecided in (c)"; a case holds if all of its places do."""
        by_case: dict[str, list[Verdict]] = {}
        for judgement in self.judgements:
            by_case.setdefault(judgement.question.case, []).append(judgement.verdict)
        cases: dict[Verdict, list[str]] = {}
        for case, verdicts in by_case.items():
            cases.setdefault(together(verdicts), []).append(f"({case})" if case else "")
        parts = [f"{verdict} in {', '.join(names)}" if any(names) else verdict for verdict, names in cases.items()]
        lacking = "comparison lacks" if self.unanswered == 1 else "comparisons lack"
        unanswered = [f"{self.unanswered} {lacking} results"] if self.unanswered else []
        return "; ".join([*parts, *unanswered])


@dataclass(frozen=True)
class Judged:
    """The claims, judged on one collection.

    Attributes
    ----------
    dataset, profile : str
        As in the collection.
    origins : mapping of str to Origin
        The seeds of each run, and what produced it, by name.
    answers : tuple of Answer
        P1 to P8; the variant for runs without a head comes after P6.
    controls : tuple of Compared
        Those that could be estimated.
    accuracies : tuple of Measured
        The accuracies from which the differences are computed, run by run.
    missing_runs : tuple of str
        Names of runs without any results.
    missing : mapping of str to tuple of (str, str)
        What could not be judged (claim, control or run, and its place), by reason.
    """

    dataset: str
    profile: str
    origins: Mapping[str, Origin]
    answers: tuple[Answer, ...]
    controls: tuple[Compared, ...]
    accuracies: tuple[Measured, ...]
    missing_runs: tuple[str, ...]
    missing: Mapping[str, tuple[tuple[str, str], ...]]


def judge_collection(collection: Collection) -> Judged:
    """Judge all claims and estimate all controls that a collection has results for.

    Parameters
    ----------
    collection : Collection
        The runs of one data set and profile; any may be missing.

    Returns
    -------
    Judged
        It lists with reasons what could not be judged; missing results raise nothing.
    """
    missing: dict[str, list[tuple[str, str]]] = {}
    answers = [
        _answer(collection, claim, variant, list(asked), missing)
        for (claim, variant), asked in groupby(
            questions(collection), key=lambda question: (question.claim, question.variant)
        )
    ]
    compared = []
    for control in controls(collection):
        try:
            compared.append(_compare(collection, control))
        except (ResultsError, CountsError) as error:
            missing.setdefault(str(error), []).append((control.text, place(control.case, control.measured)))
    accuracies = []
    for moment in moments(collection):
        try:
            accuracies.append(measure(collection, moment))
        except (ResultsError, CountsError) as error:
            missing.setdefault(str(error), []).append((f"accuracies of {moment.run}", moment.name))
    return Judged(
        dataset=collection.dataset,
        profile=collection.profile,
        origins={run: _origin(collection, run) for run in collection.runs},
        answers=tuple(answers),
        controls=tuple(compared),
        accuracies=tuple(accuracies),
        missing_runs=tuple(run for run in MEASURED_RUNS if run not in collection.runs),
        missing={reason: tuple(names) for reason, names in missing.items()},
    )


def _origin(collection: Collection, run: str) -> Origin:
    return origin_of(collection.runs[run], collection.runs.get("attack-a") if run in CONTROLS else None)


def _answer(
    collection: Collection,
    claim: str,
    variant: str,
    asked: Iterable[Question],
    missing: dict[str, list[tuple[str, str]]],
) -> Answer:
    judgements, unanswered = [], 0
    for question in asked:
        try:
            judgements.append(_judge(collection, question))
        except (ResultsError, CountsError) as error:
            name = f"{claim}, {variant}" if variant else claim
            missing.setdefault(str(error), []).append((name, place(question.case, question.measured)))
            unanswered += 1
    return Answer(claim, variant, tuple(judgements), unanswered)


def _judge(collection: Collection, question: Question) -> Judgement:
    inputs = read_inputs(collection, question.sources, question.curves)
    rows = CLAIMS[question.claim].judge(inputs.points, inputs.curves)
    return Judgement(question, rows, overall(rows), (*inputs.notes, *_reservations(rows)))


def _reservations(rows: tuple[Row, ...]) -> list[str]:
    """Return reasons for which a claim is undecided, other than intervals that are too wide."""
    notes = [] if all(row.estimate.over_seeds for row in rows) else ["one seed cannot decide"]
    if any(row.statement.premise and row.verdict != "holds" for row in rows):
        notes.append("no backdoor was shown that the claim could be about")
    return notes


def _compare(collection: Collection, control: Control) -> Compared:
    inputs = read_inputs(collection, {str(index): source for index, (_, source) in enumerate(control.terms)})
    weights = [weight for weight, _ in control.terms]
    estimate = contrast(list(zip(weights, inputs.points.values(), strict=True)))
    notes = (
        inputs.notes if estimate.over_seeds else (*inputs.notes, "one seed: the interval is over its episodes alone")
    )
    return Compared(control, estimate, notes)


def place(case: str, measured: str) -> str:
    """Return in words the case, if any, and what is measured."""
    return f"case ({case}), {measured}" if case else measured
