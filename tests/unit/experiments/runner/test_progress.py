import io
import json
import time
from pathlib import Path

import pytest
from rich.console import Console
from unit.experiments.conftest import MakeConfig, MakeResults

from experiments.benchmarks.progress import show_turns
from experiments.benchmarks.race import Turn
from experiments.runner.activity import Activity, clock, runner_activity
from experiments.runner.display import Timer, _LiveDisplay, show_progress
from experiments.runner.estimate import remaining_seconds
from experiments.runner.progress import ResultFollower, standing
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.entries import ClientEvaluation, Counts
from fedmeta_flwr.records.results import CURVES, RoundRecord, RunResults
from fedmeta_flwr.records.writer import ResultsWriter, remove_results


def finished(config: RunConfig, seconds: list[float]) -> tuple[RoundRecord, ...]:
    evaluation = [ClientEvaluation(1, {curve: Counts([1], [4]) for curve in CURVES})]
    return tuple(
        RoundRecord(number, config.phase(number), [], [], evaluation if config.is_evaluated(number) else None, cost)
        for number, cost in enumerate(seconds, start=1)
    )


def test_before_the_first_round_has_ended_a_run_is_starting(make_config: MakeConfig) -> None:
    now = standing(make_config(), None, 3.0, 3.0)
    assert (now.headline, now.accuracies, now.times) == ("starting", "", "0:03 elapsed")


def test_rounds_of_a_kind_seen_before_cost_what_they_cost_then(make_config: MakeConfig) -> None:
    config = make_config(attack_round=0, evaluate_every=0)
    seconds = [20.0, 20.0, 20.0, 3.0, 5.0]
    assert remaining_seconds(config, finished(config, seconds)) == pytest.approx(3 * 4.0)


def test_a_phase_to_come_is_priced_by_its_outer_steps(make_config: MakeConfig) -> None:
    # 10 s for 20 steps: 0.5 s a step; the attack's 100 steps cost 50 s, four benign rounds of 2 steps 1 s each.
    config = make_config(evaluate_every=0, pretrain_outer_steps=20, outer_steps=2, poison_outer_steps=100)
    assert remaining_seconds(config, finished(config, [10.0, 10.0, 10.0])) == pytest.approx(50 + 4 * 1.0)


def test_an_evaluation_to_come_costs_what_it_added_so_far(make_config: MakeConfig) -> None:
    # Of the three rounds only the last is evaluated, and took 4 s more; 10 steps cost 10 s.
    config = make_config(pretrain_evaluate_every=3, pretrain_outer_steps=10, outer_steps=10, attack_round=0)
    assert remaining_seconds(config, finished(config, [10.0, 10.0, 14.0])) == pytest.approx(5 * 14.0)


def test_only_recent_rounds_count(make_config: MakeConfig) -> None:
    config = make_config(attack_round=0, evaluate_every=0, num_server_rounds=21, pretrain_rounds=21)
    assert remaining_seconds(config, finished(config, [100.0] * 10 + [1.0] * 10)) == pytest.approx(1.0)


def test_the_pace_is_that_of_the_last_ten_rounds(make_config: MakeConfig) -> None:
    config = make_config(attack_round=0, evaluate_every=0, num_server_rounds=21, pretrain_rounds=21)
    results = RunResults({}, finished(config, [100.0] * 10 + [1.5] * 10), None)
    assert standing(config, results, 1015.0, 0.0).times == "16:55 elapsed, 1.5 s a round, 0:02 left"


def test_nothing_is_left_after_the_last_round(make_config: MakeConfig, make_results: MakeResults) -> None:
    now = standing(make_config(), make_results(), 80.0, 5.0)
    assert now.remaining_seconds == 0
    assert now.headline == "round 8/8, benign"


def test_the_time_left_shrinks_during_a_round(make_config: MakeConfig) -> None:
    config = make_config(attack_round=0, evaluate_every=0)
    results = RunResults({}, finished(config, [20.0] * 3 + [6.0]), None)
    assert standing(config, results, 66.0, 0.0).remaining_seconds == pytest.approx(24)
    assert standing(config, results, 70.0, 4.0).remaining_seconds == pytest.approx(20)
    assert standing(config, results, 99.0, 99.0).remaining_seconds == pytest.approx(18), "those after it take as long"


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (3661, "1:01:01")])
def test_durations_read_like_a_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_the_follower_reads_what_has_been_written_so_far(tmp_path: Path) -> None:
    follower = ResultFollower(tmp_path)
    assert follower.read() is None
    with ResultsWriter(tmp_path) as writer:
        assert follower.read() is None
        writer.write_run({"config": {}})
        first = follower.read()
        assert first is not None
        assert first.rounds == ()
        writer.write_round(RoundRecord(1, "pretrain"))
        second = follower.read()
        assert second is not None
        assert [record.server_round for record in second.rounds] == [1]


def test_the_follower_waits_for_the_end_of_a_line(tmp_path: Path) -> None:
    file = tmp_path / "results.jsonl"
    line = json.dumps({"kind": "run", "format": 1, "config": {}})
    file.write_text(line[:10], encoding="utf-8")
    follower = ResultFollower(tmp_path)
    assert follower.read() is None
    file.write_text(f"{line}\n", encoding="utf-8")
    assert follower.read() is not None


def test_a_file_that_disappears_between_two_looks_is_no_error(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path) as writer:
        writer.write_run({"config": {}})
    follower = ResultFollower(tmp_path)
    first = follower.read()
    remove_results(tmp_path)
    assert follower.read() is first
    with ResultsWriter(tmp_path) as writer:
        writer.write_run({"config": {"seed": 1}})
    found = follower.read()
    assert found is not None
    assert found.run["config"] == {"seed": 1}


def test_rounds_that_a_resumed_run_will_cut_off_are_left_out(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path) as writer:
        writer.write_run({"config": {}})
        for number in (1, 2, 3):
            writer.write_round(RoundRecord(number, "pretrain"))
        writer.write_end("failed", 3.0)
    follower = ResultFollower(tmp_path, after_round=2)
    found = follower.read()
    assert found is not None
    assert ([record.server_round for record in found.rounds], found.end, follower.has_changed) == ([1, 2], None, False)
    with ResultsWriter(tmp_path, after_round=2) as writer:
        writer.write_round(RoundRecord(3, "benign"))
    found = follower.read()
    assert found is not None
    assert ([record.phase for record in found.rounds], follower.has_changed) == (
        ["pretrain", "pretrain", "benign"],
        True,
    )


def test_earlier_evaluations_of_a_resumed_run_are_not_shown_again(
    make_config: MakeConfig, make_results: MakeResults
) -> None:
    written, results = io.StringIO(), make_results()
    earlier = RunResults(results.run, results.rounds[:5], None)
    with show_progress(make_config(resume=True), Console(file=written)) as show:
        show(None, runner_activity("starting Flower's SuperLink"))
        show(earlier, runner_activity("submitting the app"))
        show(results)
    headlines = [line.partition(" |")[0] for line in written.getvalue().splitlines()]
    assert headlines == ["starting Flower's SuperLink, 0 s", *(f"round {number}/8, benign" for number in (6, 7, 8))]


@pytest.mark.parametrize("is_terminal", [False, True])
def test_time_passes_on_the_display_while_the_runner_is_busy(
    is_terminal: bool, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.runner.display._LOOK_SECONDS", 0.01)
    monkeypatch.setattr("experiments.runner.display._PLAIN_SECONDS", 0.3)
    written = io.StringIO()
    with show_progress(make_config(), Console(file=written, force_terminal=is_terminal, width=120)) as show:
        show(None, runner_activity("submitting the app"))
        time.sleep(1.2)
    assert "submitting the app, 0 s" in written.getvalue()
    assert "submitting the app, 1 s" in written.getvalue()


def test_the_display_stays_one_line_each_however_much_is_being_done(make_config: MakeConfig) -> None:
    written = io.StringIO()
    console = Console(file=written, width=80)
    display = _LiveDisplay(Timer(make_config()))
    display(None, Activity(f"training; waiting for {', '.join(map(str, range(99)))}", time.time(), 4, time.time()))
    console.print(display.render())
    lines = [line.strip() for line in written.getvalue().splitlines()]
    assert len(lines) == 3, "the round, what is being done, and no accuracies yet"
    assert lines[0].startswith("round 4/8, attack  ")
    assert lines[1].startswith("training; waiting for 0, 1, ")
    assert lines[1].endswith("…")


class BrokenPipe(io.StringIO):
    """Standard output whose reader has gone after the first line."""

    def write(self, text: str) -> int:
        if self.tell():
            raise BrokenPipeError
        return super().write(text)


@pytest.mark.parametrize("is_told_again", [False, True])
def test_an_error_of_the_thread_that_prints_ends_the_run(
    is_told_again: bool, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.runner.display._LOOK_SECONDS", 0.01)
    monkeypatch.setattr("experiments.runner.display._PLAIN_SECONDS", 0.02)
    ends = []

    def follow() -> None:
        with show_progress(make_config(), Console(file=BrokenPipe())) as show:
            show(None)
            time.sleep(0.3)
            if is_told_again:
                monkeypatch.setattr("experiments.runner.display._PLAIN_SECONDS", 99.0)  # nothing to print
                show(None)
                ends.append("the run goes on")

    with pytest.raises((SystemExit, BrokenPipeError)):
        follow()
    assert ends == []


def test_plain_lines_show_every_evaluated_round_once(make_config: MakeConfig, make_results: MakeResults) -> None:
    written = io.StringIO()
    results = make_results()
    with show_progress(make_config(), Console(file=written)) as show:
        show(None)
        show(results)
        show(results)
    lines = written.getvalue().splitlines()
    assert lines[0] == "starting | 0:00 elapsed"
    assert [line.partition(",")[0] for line in lines[1:]] == [f"round {number}/8" for number in range(2, 9)]
    assert "attack | meta-testing 8.0 %; main task 28.0 %; backdoor, attack training 48.0 %" in lines[3]


def test_plain_lines_show_a_sign_of_life_without_evaluations(
    make_config: MakeConfig, make_results: MakeResults, monkeypatch: pytest.MonkeyPatch
) -> None:
    moments = iter(range(0, 1000, 6))
    monkeypatch.setattr("experiments.runner.display.time.monotonic", lambda: next(moments))
    written = io.StringIO()
    results = make_results(evaluated_from=99)
    with show_progress(make_config(), Console(file=written)) as show:
        for _ in range(4):
            show(results)
    assert written.getvalue().count("round 8/8, benign | ") >= 2


def test_a_terminal_shows_the_last_round_and_quiet_shows_nothing(
    make_config: MakeConfig, make_results: MakeResults
) -> None:
    written = {quiet: io.StringIO() for quiet in (False, True)}
    for quiet, file in written.items():
        console = Console(file=file, force_terminal=True, width=120)
        with show_progress(make_config(), console, quiet=quiet) as show:
            show(make_results(num_server_rounds=9) if not quiet else None)
    assert "round 9/8, benign" in written[False].getvalue()
    assert written[True].getvalue() == ""


def test_a_terminal_shows_case_and_turn_of_a_benchmark_and_quiet_shows_nothing() -> None:
    written = {quiet: io.StringIO() for quiet in (False, True)}
    for quiet, file in written.items():
        with show_turns(Console(file=file, force_terminal=True, width=120), quiet=quiet) as tell:
            tell(Turn("drawings, maml", 3, 9))
    assert "drawings, maml" in written[False].getvalue()
    assert "turn 3/9" in written[False].getvalue()
    assert written[True].getvalue() == ""
