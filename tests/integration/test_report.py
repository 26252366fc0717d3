"""The report of a real run: what its parts are computed from, and that the page is self-contained."""

from collections.abc import Iterator
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import Result
from integration.report_page import REAL, SETTINGS, make_root
from typer.testing import CliRunner
from unit.experiments.analysis.test_collection import write_run

from experiments.analysis.report import write_report
from experiments.analysis.report.episodes import STAMPED
from experiments.analysis.report.material import ShownRun, gather
from experiments.analysis.report.pictures import galleries
from experiments.analysis.report.run_view import RunView, run_view
from experiments.analysis.report.witness import AbsentError, scenario_of, witness_of
from experiments.cli.commands import app
from fedmeta_flwr.records.checkpoint import BEFORE_ATTACK_FILE_NAME
from fedmeta_flwr.records.persistence import LABELS
from fedmeta_flwr.records.results import at_steps

MOST_BYTES = 8_000_000


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    make_root(folder / "R", folder / "cache")
    return folder / "R"


@pytest.fixture(scope="module")
def written(root: Path) -> Path:
    return write_report(root, None, None)


@pytest.fixture(scope="module")
def html(written: Path) -> str:
    return written.read_text(encoding="utf-8")


def shown_run(path: Path) -> ShownRun:
    return gather(path)[-1].runs[0]


@pytest.fixture(scope="module")
def view(root: Path) -> RunView:
    run = shown_run(root / REAL)
    return run_view(run, scenario_of(run, None))


class Elements(HTMLParser):
    """Every start tag with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def of(self, *tags: str) -> Iterator[dict[str, str | None]]:
        return (attributes for tag, attributes in self.found if tag in tags)


def counts_of(run: ShownRun, server_round: int, curve: str, number: int) -> int:
    (client,) = [one for one in run.results.at_round(server_round).evaluation or () if one.partition_id == 1]
    return int(client.counts[curve].hits[number])


def test_the_predictions_on_the_page_are_those_that_the_run_counted(view: RunView) -> None:
    run, attack = view.run, SETTINGS["attack-round"]
    matched = at_steps(run.results.at_round(attack).evaluation or [], "matching")[SETTINGS["matching-steps"]]
    (defended,) = [one.counts for one in matched if one.partition_id == 1]
    assert [episode.number for episode in view.episodes] == [0, 1]
    for episode in view.episodes:
        for curve, tally in zip(("main_task", *STAMPED), episode.tallies, strict=True):
            before, after = (counts_of(run, number, curve, episode.number) for number in (attack - 1, attack))
            assert tally.name == LABELS[curve]
            assert tally.hits == (before, after, defended[curve].hits[episode.number])
            assert tally.trials == defended[curve].trials[episode.number]


def test_an_episode_shows_every_label_and_every_backdoor_class_in_all_three_ways(view: RunView) -> None:
    for episode in view.episodes:
        assert [len(pictures) for _, pictures in episode.support] == [5] * 5
        assert sum("(target)" in name for name, _ in episode.support) == 1
        assert [len(asked) for asked in episode.asked.values()] == [5, 4, 4]
        guesses = [guess for asked in episode.asked.values() for query in asked for guess in query.guesses]
        assert len(guesses) == 3 * 13
        assert all(0.2 <= guess.share <= 1 for guess in guesses)
        clean = [guess.verdict for query in episode.asked["Clean queries"] for guess in query.guesses]
        assert set(clean) <= {"right", "wrong"}


def test_features_are_projected_before_and_after_the_local_steps(view: RunView) -> None:
    poisoned, defended = view.projections
    for plot in (poisoned, defended):
        sizes = [len(trace["x"]) for trace in plot.spec["data"]]
        assert sizes == [5] * 5 + [20, 20]
        assert "cosine similarity" in plot.label
    assert poisoned.spec["data"] != defended.spec["data"]


def test_pictures_are_of_the_adversary_and_a_fingerprint_detects_other_images(root: Path, tmp_path: Path) -> None:
    run = shown_run(root / REAL)
    found = {gallery.heading: gallery.pictures for gallery in galleries(scenario_of(run, None))}
    assert [len(pictures) for pictures in found.values()] == [10, 20, 1, 20]
    clean, stamped = found["Backdoor classes"], found["Stamped images, as the adversary saw them"]
    assert not {one.source for one in clean} & {one.source for one in stamped}
    run.results.run["dataset"]["fingerprint"] = "0" * 64
    with pytest.raises(AbsentError, match="other images than those of the run"):
        scenario_of(run, None)


def test_models_that_are_not_there_or_damaged_are_named(root: Path, tmp_path: Path) -> None:
    run = shown_run(root / REAL)
    scenario = scenario_of(run, None)
    alone = ShownRun(run.name, tmp_path, run.results)
    with pytest.raises(AbsentError, match=f"no {BEFORE_ATTACK_FILE_NAME} beside the result file"):
        witness_of(alone, scenario)
    (tmp_path / BEFORE_ATTACK_FILE_NAME).write_bytes(b"nothing")
    with pytest.raises(AbsentError, match="cannot be used"):
        witness_of(alone, scenario)


def test_a_missing_custom_client_costs_only_its_part_of_the_page(root: Path) -> None:
    run = shown_run(root / REAL)
    scenario = scenario_of(run, None)
    run.results.run["config"]["client"] = "no_such_module:Client"
    view = run_view(run, scenario)
    assert "no_such_module" in view.left_out["episodes"]
    assert (bool(view.timeline), view.episodes) == (True, ())


def test_the_page_needs_nothing_but_itself(html: str) -> None:
    elements = Elements(html)
    sources = [value for one in elements.of("img", "script", "link", "iframe", "source") for value in one.values()]
    outer = [value for value in sources if value and ":" in value and value.startswith(("http", "//", "file", "blob"))]
    assert outer == []
    assert all((one.get("href") or "").startswith("#") for one in elements.of("a"))
    assert "default-src 'none'" in html
    assert len(html.encode()) < MOST_BYTES


def test_everything_visible_has_a_text_and_headings_descend_level_by_level(html: str) -> None:
    elements = Elements(html)
    assert next(elements.of("html"))["lang"] == "en"
    plots = [one for one in elements.of("div") if "data-plot" in one]
    assert len(plots) > 10
    assert all(one["role"] == "img" and one["aria-label"] for one in plots)
    assert all(one["alt"] for one in elements.of("img"))
    assert all(one.get("aria-label") for one in elements.of("div") if one.get("tabindex") == "0")
    levels = [int(tag[1]) for tag, _ in elements.found if tag in ("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert all(later - earlier <= 1 for earlier, later in pairwise(levels))


def test_what_is_missing_is_said_in_its_place(html: str) -> None:
    for words in (
        "No pictures of Omniglot, quick: no folder with the images is known",
        f"No episodes: no {BEFORE_ATTACK_FILE_NAME} beside the result file",
        "Not drawn: no run of a defended federation in these results.",
        "Not drawn: no control run in these results.",
        "One seed (0): all numbers here are of a single seed.",
        "Seeds: 0, 1, 2 (3).",
        "The result file tells of no arrivals.",
    ):
        assert words in html, words


def test_the_page_names_data_versions_and_commands(html: str, root: Path) -> None:
    recorded = shown_run(root / REAL).results.run
    for words in (
        recorded["dataset"]["fingerprint"],
        recorded["versions"]["flwr"],
        recorded["initial_model_digest"],
        "--profile quick --seeds 3 --first-seed 0 --data-dir DIR",
        "-c strokes-classes=60",
    ):
        assert words in html, words


def test_the_same_results_give_the_same_page(html: str, root: Path, tmp_path: Path) -> None:
    assert write_report(root, tmp_path / "again.html", None).read_text(encoding="utf-8") == html


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_a_hostile_result_file_brings_no_markup_onto_the_page(tmp_path: Path) -> None:
    file = write_run(tmp_path, "attack-a", step_curves=())
    hostile = "<img src=x onerror=alert(1)></script><script>alert(1)</script>"
    dropped = '"dropped": [{"partition_id": 1, "reason": "failed", "detail": "' + hostile + '"}]'
    text = file.read_text(encoding="utf-8").replace('"dropped": []', dropped)
    file.write_text(text.replace('"strategy": "fedavg"', f'"strategy": "{hostile}"'), encoding="utf-8")
    result = invoke(file)
    assert result.exit_code == 0, result.output
    written = (file.parent / "report.html").read_text(encoding="utf-8")
    assert "onerror" in written
    assert hostile not in written
    elements = Elements(written)
    assert not [one for one in elements.of("img") if "onerror" in one]
    assert len(list(elements.of("script"))) == 3


def test_results_of_an_older_version_lose_only_what_needs_its_settings(tmp_path: Path) -> None:
    file = write_run(tmp_path, "attack-a")
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"checkpoint-every": 10, ', ""), encoding="utf-8")
    assert text != file.read_text(encoding="utf-8")
    assert invoke(file.parent, "--output", tmp_path / "page.html").exit_code == 0
    written = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert "the run was made by another version: checkpoint-every: missing" in written
    assert "A single run, and not a results root" in written


@pytest.mark.parametrize("kind", ["nothing", "empty folder", "no results", "no settings"])
def test_bad_input_is_one_clear_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "results.jsonl"
    if kind == "no results":
        path.write_text("something else\n")
    if kind == "no settings":
        path.write_text('{"kind": "run", "format": 1, "config": {"dataset": "strokes"}}\n')
    result = invoke({"empty folder": tmp_path, "nothing": tmp_path / "nowhere"}.get(kind, path))
    assert result.exit_code == 2
    assert result.output.startswith("Error: ")
    assert str(tmp_path) in result.output
    assert "Traceback" not in result.output


def test_a_page_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    file = write_run(tmp_path, "attack-a", step_curves=())
    (tmp_path / "taken").write_text("a file, not a folder")
    result = invoke(file, "--output", tmp_path / "taken" / "page.html")
    assert result.exit_code == 2
    assert "cannot write the report" in result.output
    assert invoke(file, "--output", file).exit_code == 2
    assert file.read_text(encoding="utf-8").startswith('{"kind": "run"')
