"""A custom defense in a package outside the app, from its run to claims, figures and report."""

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from unit.small_federation import SMALL

from experiments.analysis import bootstrap
from experiments.analysis.claims.judging import judge_collection
from experiments.analysis.claims.table import claims_markdown
from experiments.analysis.collection import Collection, collect
from experiments.analysis.figures.panels import draw_collection
from experiments.analysis.report import write_report
from experiments.analysis.report.material import gather
from experiments.analysis.report.run_view import run_view
from experiments.analysis.report.witness import scenario_of
from experiments.engines.inline import run_inline
from experiments.settings import APP_DIR, merge_settings, read_defaults
from fedmeta_flwr.records.entries import ClientEvaluation
from fedmeta_flwr.records.results import ResultsError, read_results

pytestmark = pytest.mark.usefixtures("task_identity")

CODE = '''
"""Answers with another label than the model."""

from fedmeta_flwr.defenses import Defense, LocalSteps, StepCurve
from fedmeta_flwr.learning.evaluation import by_fine_tuning


class Contrary(Defense):
    label = "contrary answers"
    curve = StepCurve("contrary", "contrary\\nanswers", "local steps in vain")

    def __init__(self, *, shift: int) -> None:
        self.shift = shift

    def network(self, model, context):
        return __import__("copy").deepcopy(model)

    def local_steps(self, context):
        return LocalSteps(context.for_local_steps(context.training, "contrary"), 0, context.head_lr)

    def adapt(self, network, context):
        plain = by_fine_tuning(network, context.inner, [context.inner.steps])

        def adapt(support):
            for predict in plain(support):
                yield lambda images: predict(images).roll(self.shift, dims=1)

        return adapt
'''
ATTACK = SMALL["attack_round"]
RUN = Path("strokes", "own", "seed-0", "attack-a")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the name of a defense in a package that can be imported."""
    folder = tmp_path_factory.mktemp("elsewhere")
    (folder / "contrary_package").mkdir()
    (folder / "contrary_package" / "__init__.py").touch()
    (folder / "contrary_package" / "defense.py").write_text(CODE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield "contrary_package.defense:Contrary"


@pytest.fixture(scope="module")
def finished(package: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int | None], Path]:
    """Run the app with the defense and a shift, once for each; None: without a defense. Return the results root."""
    roots: dict[int | None, Path] = {}

    def run_once(shift: int | None) -> Path:
        if shift not in roots:
            roots[shift] = tmp_path_factory.mktemp("R")
            overrides: dict[str, Any] = {key.replace("_", "-"): value for key, value in SMALL.items()}
            overrides |= {"evaluate-every": 1, "num-server-rounds": 4, "checkpoint-every": 0, "tensorboard": True}
            overrides |= {"results-dir": str(roots[shift] / "strokes" / "own" / "seed-0" / "attack-a")}
            overrides |= {"cache-dir": str(tmp_path_factory.getbasetemp() / "strokes"), "step-curves": "fine-tuning"}
            if shift is not None:
                overrides |= {"defense": package, "defense-options": f'{{"shift": {shift}}}'}
                overrides |= {"step-curves": "fine-tuning contrary"}
            run_inline(merge_settings(read_defaults(APP_DIR), overrides))
        return roots[shift]

    return run_once


def collection_of(root: Path) -> Collection:
    (collection,) = collect(root)
    return collection


def evaluation(root: Path) -> list[ClientEvaluation]:
    found = read_results(root / "strokes" / "own" / "seed-0" / "attack-a").at_round(int(ATTACK)).evaluation
    assert found is not None
    return found


def test_its_clients_train_as_they_do_without_and_answer_as_it_says(finished: Callable[[int | None], Path]) -> None:
    plain, neutral, contrary = (evaluation(finished(shift)) for shift in (None, 0, 1))
    assert [client.counts for client in neutral] == [client.counts for client in plain]
    assert [client.counts for client in contrary] != [client.counts for client in plain]
    for client in contrary:
        assert list(client.step_curves["contrary"]) == [0, 1, 3]
        assert client.step_curves["contrary"][0] == client.counts
    fine_tuned = [client.step_curves["fine_tuning"] for client in contrary]
    assert fine_tuned == [client.step_curves["fine_tuning"] for client in plain]


def test_claims_are_judged_under_its_label(
    finished: Callable[[int | None], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1_000)
    judged = judge_collection(collection_of(finished(1)))
    answered = {answer.name for answer in judged.answers if answer.judgements}
    assert {"P1, contrary answers", "P8, contrary answers"} <= answered
    assert not {"P1", "P6", "P8"} & answered
    page = claims_markdown(judged)
    assert "0 local steps in vain" in page
    assert "contrary without local training: excess" in page


def test_figures_name_it(finished: Callable[[int | None], Path], tmp_path: Path) -> None:
    drawn = {file.name for file in draw_collection(collection_of(finished(1)), tmp_path)}
    assert {"strokes-own-persistence.svg", "strokes-own-rescue.svg"} <= drawn


def test_the_report_shows_it_and_says_what_does_not_apply(finished: Callable[[int | None], Path]) -> None:
    folder = finished(1) / "strokes" / "own" / "seed-0" / "attack-a"
    shown = gather(folder)[0].runs[0]
    view = run_view(shown, scenario_of(shown, None))
    assert [heading for heading, _ in view.headings] == [
        "before the attack",
        "right after it",
        "under the defense (contrary answers), 0 local steps",
    ]
    assert view.left_out["compared"] == "the defense (contrary answers) compares no features"
    assert len(view.projections) == 1
    client = next(one for one in evaluation(finished(1)) if one.partition_id == view.client)
    for tally in view.episodes[0].tallies[:1]:
        assert tally.hits[2] == client.counts["main_task"].hits[0]
    page = write_report(folder, None, None).read_text(encoding="utf-8")
    assert "defense: contrary answers" in page
    assert "No view of the defended model: the defense (contrary answers) compares no features" in page


def test_results_are_read_where_its_code_is_gone(
    finished: Callable[[int | None], Path], package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = finished(1)
    module = package.partition(":")[0]
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1_000)
    judged = judge_collection(collection_of(root))
    assert "P1, contrary answers" in {answer.name for answer in judged.answers if answer.judgements}
    assert "0 local steps in vain" in claims_markdown(judged)
    page = write_report(root / "strokes" / "own" / "seed-0" / "attack-a", None, None).read_text(encoding="utf-8")
    assert "No episodes: defense: expected a module that can be imported" in page


def test_a_defense_that_the_run_does_not_describe_is_known_by_its_name(
    finished: Callable[[int | None], Path], package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "R"
    shutil.copytree(finished(1), root)
    rewrite_first_record(root, lambda record: record.pop("defense"))
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1_000)
    judged = judge_collection(collection_of(root))
    assert f"P1, {package}" in {answer.name for answer in judged.answers if answer.judgements}
    assert "right after (0 steps of contrary)" in claims_markdown(judged)


def test_only_a_custom_defense_is_in_the_record(finished: Callable[[int | None], Path]) -> None:
    records = [read_results(finished(shift) / RUN).run for shift in (None, 1)]
    curve = {"name": "contrary", "label": "contrary\nanswers", "steps": "local steps in vain", "is_of_episode": False}
    assert "defense" not in records[0]
    assert records[1]["defense"] == {
        "label": "contrary answers",
        "has_head": True,
        "remark": "defense: contrary answers",
        "private": "",
        "curve": curve,
        "remedy_curve": curve,
    }


@pytest.mark.parametrize("is_described", [True, False])
def test_code_that_a_result_file_of_a_stranger_names_is_not_run(
    finished: Callable[[int | None], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_described: bool
) -> None:
    root, made = tmp_path / "R", tmp_path / "made"
    shutil.copytree(finished(1), root, ignore=shutil.ignore_patterns("*.safetensors"))

    def forge(record: dict[str, Any]) -> None:
        options = json.dumps({"args": ["touch", str(made)]})
        record["config"] |= {"defense": "subprocess:check_output", "defense-options": options}
        if not is_described:
            del record["defense"]

    rewrite_first_record(root, forge)
    monkeypatch.setattr(bootstrap, "RESAMPLES", 1_000)
    assert claims_markdown(judge_collection(collection_of(root)))
    assert draw_collection(collection_of(root), tmp_path / "figures")
    page = write_report(root / RUN, None, None).read_text(encoding="utf-8")
    assert "No episodes: no before-attack.safetensors beside the result file" in page
    assert not made.exists()


@pytest.mark.parametrize("described", [None, [], {"label": 3}, {"label": "x" * 9}])
def test_a_description_in_another_form_is_refused(
    finished: Callable[[int | None], Path], tmp_path: Path, described: object
) -> None:
    root = tmp_path / "R"
    shutil.copytree(finished(1), root)
    rewrite_first_record(root, lambda record: record.update(defense=described))
    with pytest.raises(ResultsError, match=r"defense: expected (label of type str|has_head of type bool), found"):
        judge_collection(collection_of(root))


def rewrite_first_record(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = root / RUN / "results.jsonl"
    first, *others = file.read_text(encoding="utf-8").splitlines(keepends=True)
    record = json.loads(first)
    change(record)
    file.write_text(json.dumps(record) + "\n" + "".join(others), encoding="utf-8")
