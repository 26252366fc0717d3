"""The published results: as `reproduce` would leave them today, and with the verdicts and numbers that they give."""

import re
from pathlib import Path

import pytest

from experiments.analysis.claims.files import write_claims
from experiments.analysis.claims.judging import judge_collection
from experiments.analysis.collection import Collection, collect
from experiments.plan import plan_runs
from experiments.settings import APP_DIR
from fedmeta_flwr.config import RunConfig

PUBLISHED = APP_DIR / "docs" / "results"
CLAIMS = PUBLISHED / "claims.md"
VERDICT = re.compile(r"\| P\d[^|]*\| [^|]*\| (holds|does not hold|undecided) \|")
INTERVALS = re.compile(r"\| [^|]* (\|(?: [-+.\d]+ \[[^]|]*\] \|)+)")
COLLECTIONS = collect(PUBLISHED)
SECOND_RUNS = collect(PUBLISHED / "another-machine")


@pytest.mark.parametrize("collection", COLLECTIONS, ids=lambda collection: f"{collection.dataset}-{collection.profile}")
def test_published_runs_are_of_the_settings_that_reproduce_has_today(collection: Collection) -> None:
    planned = plan_runs(
        [],
        dataset=collection.dataset,
        profile=collection.profile,
        seeds=sorted({seed for run in collection.runs for seed in collection.seeds(run)}),
        root=PUBLISHED,
        data_dir=None,
        overrides=[],
        app_dir=APP_DIR,
    )
    finished = {(one.run.name, one.config.seed) for one in planned if one.seconds()}
    assert finished == {(run, seed) for run in collection.runs for seed in collection.seeds(run)}


def test_published_runs_hold_no_path() -> None:
    configs = [
        one.run["config"]
        for found in [*COLLECTIONS, *SECOND_RUNS]
        for seeds in found.runs.values()
        for one in seeds.values()
    ]
    assert {config[key] for config in configs for key in RunConfig.paths()} == {""}


def test_the_published_claims_are_those_that_the_published_runs_give(tmp_path: Path) -> None:
    write_claims([judge_collection(collection) for collection in COLLECTIONS], tmp_path)
    assert (tmp_path / "claims.md").read_text(encoding="utf-8") == CLAIMS.read_text(encoding="utf-8")


def verdicts(file: Path) -> list[list[str]]:
    """Return the rows of verdicts of each section that has some: one data set in one profile."""
    sections = file.read_text(encoding="utf-8").split("\n## ")
    found = [[line for line in section.splitlines() if VERDICT.match(line)] for section in sections]
    return sorted(rows for rows in found if rows)


def test_the_results_page_has_the_verdicts_of_the_published_claims() -> None:
    published = verdicts(CLAIMS)
    assert len(published) == len(COLLECTIONS)
    assert verdicts(PUBLISHED.parent / "results.md") == published


def test_the_results_page_has_its_tables_of_intervals_from_the_published_claims() -> None:
    published = set(INTERVALS.findall(CLAIMS.read_text(encoding="utf-8")))
    on_page = INTERVALS.findall((PUBLISHED.parent / "results.md").read_text(encoding="utf-8"))
    assert on_page
    assert set(on_page) <= published
