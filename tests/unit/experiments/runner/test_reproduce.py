import io
from contextlib import nullcontext
from pathlib import Path

import pytest
from conftest import ROOT
from rich.console import Console

from experiments.plan import PlannedRun, plan_runs
from experiments.runner.jobs import jobs_of
from experiments.runner.pace import Pace
from experiments.runner.reproduce import ReproduceRequest, reproduce
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.cases import case_folder
from fedmeta_flwr.records.results import ResultsError
from fedmeta_flwr.records.writer import ResultsWriter


def planned(root: Path, *names: str) -> dict[str, PlannedRun]:
    runs = plan_runs(
        names,
        dataset="strokes",
        profile="full",
        seeds=(0,),
        root=root,
        data_dir=None,
        overrides=(),
        app_dir=ROOT,
    )
    return {one.run.name: one for one in runs}


def request(root: Path, seed: int, *overrides: str) -> ReproduceRequest:
    return ReproduceRequest(
        names=("persistence",),
        dataset="strokes",
        profile="full",
        seeds=(seed,),
        results_root=root,
        data_dir=None,
        overrides=overrides,
        engine="flower",
        jobs=None,
        ray_address=None,
        actors=1,
        quiet=True,
        app_dir=ROOT,
    )


def test_time_left_is_that_of_runs_of_the_same_name_or_the_mean_of_all(tmp_path: Path) -> None:
    runs = planned(tmp_path, "boost-1")
    jobs = {job.runs[0].run.name: job for job in jobs_of(list(runs.values()))}
    pace = Pace()
    assert pace.expected(list(jobs.values())) is None
    for seconds in (90.0, 110.0):
        pace.add(runs["pretrain-a"], seconds)
    pace.add(runs["attack-a"], 200.0)
    assert pace.expected([jobs["pretrain-a"]]) == pytest.approx(100)
    assert pace.expected([jobs["boost-1-a"]]) == pytest.approx(150)
    assert pace.expected(list(jobs.values())) == pytest.approx(100 + 150 + 200)
    assert pace.expected([]) == 0


def test_a_left_over_folder_of_any_run_of_a_job_is_refused_before_the_first_run(tmp_path: Path) -> None:
    left_over = planned(tmp_path, "persistence")["attack-c"].folder
    left_over.mkdir(parents=True)
    with pytest.raises(ResultsError, match=f"found one to remove: {left_over}"):
        reproduce(request(tmp_path, 0), Console(file=io.StringIO()))


def test_a_run_records_the_revision_that_it_began_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = iter(["first", "first", *["second"] * 6])  # the checkout moves on once the first run has ended
    recorded: dict[str, str] = {}

    def run_on(superlink: str, config: RunConfig, *_: object, **__: object) -> None:
        folder = Path(config.results_dir)
        for case in config.case:
            case_folder(folder, case, config.case).mkdir(parents=True)
        recorded[folder.stem] = superlink

    monkeypatch.setattr("experiments.runner.reproduce.read_git_revision", lambda _: next(seen))
    monkeypatch.setattr("experiments.runner.reproduce.LocalSuperLink", nullcontext)
    monkeypatch.setattr("experiments.runner.reproduce.run_on", run_on)
    reproduce(request(tmp_path, 0, "strokes-classes=120", "image-size=16"), Console(quiet=True))
    later = dict.fromkeys(("attack-a", "pretrain-bc", "attack-bc"), "second")
    assert recorded == {"pretrain-a": "first", **later}


def test_a_warning_about_several_runs_is_shown_once_before_the_first_starts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(_: str) -> None:
        raise InterruptedError

    monkeypatch.setattr("experiments.runner.reproduce.LocalSuperLink", start)
    output = io.StringIO()
    with pytest.raises(InterruptedError):
        reproduce(
            request(tmp_path, 0, "strokes-classes=120", "image-size=16", "key-intensity=0.02"),
            Console(file=output, soft_wrap=True),
        )
    assert output.getvalue().count("Warning: backdoor-key: 40 of 40 attack images are changed by the key") == 1


def test_seeds_that_would_not_fit_those_that_are_there_are_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_: str) -> None:
        raise AssertionError("a SuperLink was started")

    monkeypatch.setattr("experiments.runner.reproduce.LocalSuperLink", forbidden)
    there = planned(tmp_path, "persistence")["attack-b"]
    with ResultsWriter(there.folder) as writer:
        writer.write_run({"config": there.config.to_run_config()})
        writer.write_end("completed", 1.0)
    with pytest.raises(ResultsError, match=r"seed-0/attack-b/.*boost-factor: expected 2.0, found 3.0"):
        reproduce(request(tmp_path, 1, "boost-factor=2.0"), Console(quiet=True))
