"""Jobs side by side: which begins when, what a failure costs, and what is shown of them."""

import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from conftest import ROOT
from rich.console import Console
from unit.experiments.conftest import MakeResults

from experiments.plan import plan_runs
from experiments.runner.jobs import Job, jobs_of
from experiments.runner.pace import Pace
from experiments.runner.pool import Settings
from experiments.runner.progress import Standing
from experiments.runner.sweep import Sweep, in_order
from experiments.runner.sweep_display import PlainSweep, SweepStanding, show_sweep
from fedmeta_flwr.records.cases import case_folder
from fedmeta_flwr.records.results import FILE_NAME


class MadeUpPool:
    """Ends one job at each look, the first one; those in `failing` fail."""

    def __init__(self, slots: int, failing: Mapping[str, str]) -> None:
        self.slots = slots
        self._failing = failing
        self.running: list[Settings] = []
        self.log: list[str] = []
        self.most_at_once = 0

    def start(self, settings: Settings, git_revision: str) -> None:
        folder = Path(str(settings["results-dir"]))
        assert not settings["initial-model"] or Path(str(settings["initial-model"])).parent.is_dir()
        self.log.append(f"{git_revision} {folder.stem}")
        self.running.append(settings)
        self.most_at_once = max(self.most_at_once, len(self.running))

    def ended(self, seconds: float) -> dict[str, str | None]:
        settings = self.running.pop(0)
        folder, cases = Path(str(settings["results-dir"])), str(settings["case"])
        if folder.stem in self._failing:
            return {str(folder): self._failing[folder.stem]}
        for case in cases:
            case_folder(folder, case, cases).mkdir(parents=True, exist_ok=True)
            (case_folder(folder, case, cases) / FILE_NAME).touch()
        return {str(folder): None}


def jobs(root: Path, *names: str, seeds: tuple[int, ...] = (0,)) -> list[Job]:
    planned = plan_runs(
        names,
        dataset="strokes",
        profile="full",
        seeds=seeds,
        root=root,
        data_dir=None,
        overrides=(),
        app_dir=ROOT,
    )
    return in_order(jobs_of(planned))


Sweeps = Callable[..., tuple[Sweep, MadeUpPool, str]]


@pytest.fixture
def swept(tmp_path: Path) -> Sweeps:
    def run(
        *names: str, slots: int, failing: Mapping[str, str] | None = None, seeds: tuple[int, ...] = (0,)
    ) -> tuple[Sweep, MadeUpPool, str]:
        pool, output = MadeUpPool(slots, failing or {}), io.StringIO()
        console = Console(file=output, soft_wrap=True)
        with show_sweep(console, quiet=True) as show:
            sweep = Sweep(jobs(tmp_path, *names, seeds=seeds), pool, Pace(), lambda: "r", console, show)
            sweep.run()
        return sweep, pool, output.getvalue()

    return run


def test_a_job_begins_after_its_pre_training_and_leaves_the_folders_of_its_runs(swept: Sweeps, tmp_path: Path) -> None:
    _, pool, _ = swept(slots=8)
    begun = [entry.removeprefix("r ") for entry in pool.log]
    assert begun.index("pretrain-bc") < begun.index("attack-bc")
    names = {path.name for path in (tmp_path / "strokes" / "full" / "seed-0").iterdir()}
    assert {"attack-a", "attack-b", "attack-c", "defended-b", "defended-c", "boost-1-a"} <= names
    assert not names & {"attack-bc", "attack-bc.partial", "defended-bc", "defended-bc.partial"}


@pytest.mark.parametrize("slots", [1, 3])
def test_as_many_jobs_run_at_once_as_there_are_slots(swept: Sweeps, slots: int) -> None:
    sweep, pool, _ = swept(slots=slots, seeds=(0, 1))
    assert pool.most_at_once == slots
    assert len(pool.log) == len(sweep.jobs)


def test_while_a_seed_waits_for_its_pre_training_the_next_seed_begins(swept: Sweeps) -> None:
    _, pool, _ = swept("boost-1", slots=2, seeds=(0, 1))
    assert [entry.removeprefix("r ") for entry in pool.log[:2]] == ["pretrain-a", "pretrain-a"]


def test_a_failed_job_is_reported_and_only_those_that_start_from_it_do_not_run(swept: Sweeps) -> None:
    sweep, pool, output = swept(slots=2, failing={"pretrain-bc": "no quorum"})
    assert sweep.failures == {
        "seed 0, pretrain-bc": "no quorum",
        "seed 0, attack-bc": "not run, because its pre-training failed",
    }
    assert "seed 0, pretrain-bc: failed: no quorum" in output
    assert "r attack-bc" not in pool.log
    assert {"r attack-a", "r defended-bc", "r defended-a"} <= set(pool.log)


def test_a_left_over_folder_without_results_is_no_pre_training_and_fails_only_its_jobs(
    swept: Sweeps, tmp_path: Path
) -> None:
    left_over = tmp_path / "strokes" / "full" / "seed-0" / "pretrain-bc" / "left-over"
    left_over.mkdir(parents=True)
    sweep, pool, _ = swept(slots=2)
    assert "cannot move its results" in sweep.failures["seed 0, pretrain-bc"]
    assert set(sweep.failures) == {"seed 0, pretrain-bc", "seed 0, attack-bc"}
    assert "r attack-bc" not in pool.log
    assert "r attack-a" in pool.log


def test_a_job_whose_pre_training_is_gone_fails_instead_of_waiting_forever(tmp_path: Path) -> None:
    waiting = [job for job in jobs(tmp_path, "boost-1") if job.pretraining]
    sweep = Sweep(waiting, MadeUpPool(1, {}), Pace(), lambda: "r", Console(file=io.StringIO()), lambda sweep: None)
    sweep.run()
    assert all("not run: expected results" in reason for reason in sweep.failures.values())
    assert len(sweep.failures) == len(waiting) > 0


def test_what_others_wait_for_and_what_takes_long_comes_first(tmp_path: Path) -> None:
    titles = [job.title.removeprefix("seed 0, ") for job in jobs(tmp_path)]
    assert set(titles[:4]) == {"pretrain-a", "pretrain-bc", "pretrain-defended-bc", "defended-a"}
    assert titles[4:6] == ["attack-bc", "defended-bc"]


def test_the_headline_counts_jobs_and_times() -> None:
    one = Standing(3, 10, "pretrain", None, 5.0, None)
    sweep = SweepStanding(5, 1, 1, {"seed 0, attack-a": one}, 61.0, 122.0)
    assert sweep.headline == "1 of 5 finished, 1 running, 2 waiting, 1 failed | 1:01 elapsed, about 2:02 left"


def test_lines_show_each_evaluated_round_once_and_not_those_before_a_resume(make_results: MakeResults) -> None:
    output = io.StringIO()
    show = PlainSweep(Console(file=output, soft_wrap=True))
    results = make_results()
    for record in (results.at_round(number) for number in (4, 4, 5)):
        one = Standing(record.server_round, 10, "benign", record, 5.0, None)
        show(SweepStanding(1, 0, 0, {"seed 0, attack-a": one}, 1.0, None))
    assert output.getvalue().count("seed 0, attack-a: after round") == 1
    assert "seed 0, attack-a: after round 5: meta-testing 10.0 %" in output.getvalue()


def test_a_terminal_shows_a_line_about_all_jobs_and_one_for_each_that_is_running() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, width=160)
    running = {f"seed {seed}, attack-a": Standing(3, 10, "pretrain", None, 5.0, None) for seed in (0, 1)}
    with show_sweep(console) as show:
        show(SweepStanding(5, 1, 0, running, 61.0, None))
        time.sleep(0.4)  # it is drawn four times a second
    for text in ("1 of 5 finished, 2 running, 2 waiting", "seed 0, attack-a", "seed 1, attack-a", "round 3/10"):
        assert text in output.getvalue()
