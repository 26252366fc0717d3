"""The claims and their data, as tables for the page."""

from collections.abc import Iterator
from dataclasses import dataclass

from experiments.analysis.claims.judging import Judged, judge_collection
from experiments.analysis.claims.table import Sheet, sheets
from experiments.analysis.collection import Collection
from experiments.analysis.statistics import CountsError
from fedmeta_flwr.records import CURVES, ResultsError


@dataclass(frozen=True)
class Summary:
    """The poster's claims, judged on a collection.

    Attributes
    ----------
    sheets : tuple of Sheet
        Verdicts, statements with intervals, controls, and what is missing; as `claims` prints them.
    runs : tuple of tuple of str
        Run, seeds, number of evaluations, and episodes behind a point, in words.
    single_seed : bool
        Whether all runs have only one seed.
    """

    sheets: tuple[Sheet, ...]
    runs: tuple[tuple[str, ...], ...]
    single_seed: bool


def summary_of(collection: Collection) -> Summary:
    """Judge the claims on a collection, and count the evaluations and episodes that they are based on."""
    judged = judge_collection(collection)
    single = all(len(origin.seeds) == 1 for origin in judged.origins.values())
    return Summary(tuple(sheets(judged)), tuple(_runs(collection, judged)), single)


def _runs(collection: Collection, judged: Judged) -> Iterator[tuple[str, ...]]:
    for run, origin in judged.origins.items():
        yield run, ", ".join(map(str, origin.seeds)), *_evaluations(collection, run)


def _evaluations(collection: Collection, run: str) -> tuple[str, str]:
    try:
        points = collection.by_server_round(run, CURVES[0])
    except (ResultsError, CountsError) as error:
        return "not in all seeds", str(error)
    episodes = sorted({point.sizes[1] for point in points.values()})
    return str(len(points)), " to ".join(str(size) for size in dict.fromkeys(episodes[:1] + episodes[-1:])) or "none"
