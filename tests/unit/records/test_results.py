import codecs
import json
from pathlib import Path

import pytest

from fedmeta_flwr.records.entries import Arrival, ClientEvaluation, Counts
from fedmeta_flwr.records.results import (
    CURVES,
    FILE_NAME,
    TIMES_FILE_NAME,
    ResultsError,
    RoundRecord,
    at_steps,
    read_results,
)
from fedmeta_flwr.records.writer import ResultsWriter

RUN = {"kind": "run", "format": 1, "config": {}}
ROUND = {"kind": "round", "server_round": 1, "phase": "benign"}


def counts(hits: int, trials: int) -> dict[str, Counts]:
    return {curve: Counts([hits, 0], [trials, trials]) for curve in CURVES}


def evaluated_round(server_round: int) -> RoundRecord:
    evaluation = [ClientEvaluation(1, counts(3, 5)), ClientEvaluation(2, counts(1, 5))]
    return RoundRecord(
        server_round, "benign", [Arrival(1, server_round, 0.5, 2.0, {"num-examples": 3})], [], evaluation, 0.5
    )


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    rounds = (RoundRecord(1, "pretrain"), evaluated_round(2))
    with ResultsWriter(tmp_path / "run") as writer:
        writer.write_run({"config": {"seed": 3}})
        for record in rounds:
            writer.write_round(record)
        writer.write_end("completed", 1.5, model_digest="ab")
    results = read_results(tmp_path / "run")
    assert results.run["config"] == {"seed": 3}
    assert results.rounds == rounds
    assert results.evaluated() == [rounds[1]]
    assert results.at_round(2) == rounds[1]
    assert results.end == {"kind": "end", "status": "completed", "seconds": 1.5, "model_digest": "ab"}


def test_accuracies_sum_counts_over_clients_and_episodes() -> None:
    assert evaluated_round(1).accuracies() == dict.fromkeys(CURVES, (3 + 1) / 20)
    assert RoundRecord(1, "benign").accuracies() is None


def test_a_file_that_is_being_written_is_read_up_to_its_last_whole_line(tmp_path: Path) -> None:
    with ResultsWriter(tmp_path) as writer:
        writer.write_run({"config": {}})
        writer.write_round(RoundRecord(1, "pretrain"))
    with (tmp_path / FILE_NAME).open("a") as file:
        file.write('{"kind": "rou')
    results = read_results(tmp_path)
    assert [record.server_round for record in results.rounds] == [1]
    assert results.end is None


def test_an_existing_result_file_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_text("precious")
    with pytest.raises(ResultsError, match="expected a folder without"):
        ResultsWriter(tmp_path)
    assert (tmp_path / FILE_NAME).read_text() == "precious"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResultsError, match="file"):
        ResultsWriter(tmp_path / "file" / "run")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([], "first line of kind 'run'"),
        ([{"kind": "round"}], "first line of kind 'run'"),
        ([{"kind": "run", "format": 99}], "format 1"),
        (["not json"], "line 1: expected JSON"),
        ([{"kind": "run", "format": 1}], "expected the settings of the run"),
        ([RUN, {"kind": "guess"}], "line 2: expected a record"),
        ([RUN, {"kind": "round"}], "round unknown: expected the record of a round, .*server_round"),
        ([RUN, {**ROUND, "weather": "fine"}], "round 1: expected the record of a round, .*weather"),
        ([RUN, {**ROUND, "evaluation": [{"partition_id": 1}]}], "round 1: expected the record of a round, .*counts"),
        ([RUN, {**ROUND, "evaluation": [{"partition_id": 1, "counts": 3}]}], "round 1: expected the record of a round"),
        ([RUN, {**ROUND, "arrivals": [{"partition_id": 1}]}], "round 1: expected the record of a round, .*update_norm"),
        ([RUN, "[" * 100_000], "line 2: expected JSON"),
    ],
)
def test_a_file_that_is_no_result_file_is_refused(
    tmp_path: Path, lines: list[str | dict[str, object]], message: str
) -> None:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    (tmp_path / FILE_NAME).write_text(text)
    with pytest.raises(ResultsError, match=message):
        read_results(tmp_path)


def test_bytes_that_are_no_text_and_times_without_seconds_are_refused_by_file(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b'{"kind": "run", \xff\n')
    with pytest.raises(ResultsError, match=f"{FILE_NAME}: expected text"):
        read_results(tmp_path)
    (tmp_path / FILE_NAME).write_text(f"{json.dumps(RUN)}\n")
    (tmp_path / TIMES_FILE_NAME).write_text('{"kind": "round"}\n')
    with pytest.raises(ResultsError, match=f"{TIMES_FILE_NAME}: expected the seconds of every round"):
        read_results(tmp_path)


def test_a_missing_file_or_round_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=FILE_NAME):
        read_results(tmp_path)
    with ResultsWriter(tmp_path) as writer:
        writer.write_run({"config": {}})
    with pytest.raises(ResultsError, match="round 7"):
        read_results(tmp_path).at_round(7)


def test_step_curves_become_an_evaluation_per_step_in_ascending_order() -> None:
    def of_ten(hits: int) -> dict[str, Counts]:
        return {curve: Counts([hits], [10]) for curve in CURVES}

    evaluation = [
        ClientEvaluation(1, of_ten(0), {"matching": {10: of_ten(1), 2: of_ten(2)}}),
        ClientEvaluation(2, of_ten(0), {"matching": {10: of_ten(3), 2: of_ten(4)}}),
    ]
    steps = at_steps(evaluation, "matching")
    assert list(steps) == [2, 10]
    assert steps[10] == [ClientEvaluation(1, of_ten(1)), ClientEvaluation(2, of_ten(3))]
    assert at_steps(evaluation, "head") == {}


def test_a_file_that_an_editor_has_marked_is_read_and_one_in_another_encoding_is_named(tmp_path: Path) -> None:
    line = json.dumps({"kind": "run", "format": 1, "config": {}}) + "\r\n"
    (tmp_path / FILE_NAME).write_bytes(codecs.BOM_UTF8 + line.encode())
    assert read_results(tmp_path).run["config"] == {}
    (tmp_path / FILE_NAME).write_bytes(line.encode("utf-16"))
    with pytest.raises(ResultsError, match=r"results\.jsonl: expected text in UTF-8, found UTF-16"):
        read_results(tmp_path)
