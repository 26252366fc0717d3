import json
from pathlib import Path
from typing import Any

import pytest

from fedmeta_flwr.records.drops import Drop, DropReason
from fedmeta_flwr.records.results import FILE_NAME, ResultsError, RoundRecord, read_results
from fedmeta_flwr.records.writer import ResultsWriter

IN_WORDS = {
    "straggler": Drop(1, DropReason.STRAGGLER),
    "busy": Drop(1, DropReason.BUSY),
    "abstained": Drop(1, DropReason.ABSTAINED),
    "abstained (sent in round 3)": Drop(1, DropReason.ABSTAINED, sent_in_round=3),
    "failed: no reply in time": Drop(1, DropReason.FAILED, detail="no reply in time"),
    "failed: a (b): c (sent in round 12)": Drop(1, DropReason.FAILED, detail="a (b): c", sent_in_round=12),
    "evaluation failed: x": Drop(1, DropReason.FAILED, detail="x", in_evaluation=True),
}


@pytest.mark.parametrize("text", IN_WORDS)
def test_all_details_are_said_in_words(text: str) -> None:
    assert IN_WORDS[text].describe() == text


def test_what_is_written_is_read_back_with_its_types_and_says_nothing_that_is_not_there(tmp_path: Path) -> None:
    dropped = list(IN_WORDS.values())
    with ResultsWriter(tmp_path) as writer:
        writer.write_run({"config": {}})
        writer.write_round(RoundRecord(1, "benign", dropped=dropped))
    (record,) = read_results(tmp_path).rounds
    assert record.dropped == dropped
    assert {type(drop.reason) for drop in record.dropped} == {DropReason}
    written = json.loads((tmp_path / FILE_NAME).read_text().splitlines()[1])["dropped"]
    assert written[0] == {"partition_id": 1, "reason": "straggler"}
    assert written[5] == {"partition_id": 1, "reason": "failed", "detail": "a (b): c", "sent_in_round": 12}
    assert written[6] == {"partition_id": 1, "reason": "failed", "detail": "x", "during": "evaluation"}


@pytest.mark.parametrize(
    "drop",
    [
        {"partition_id": 1},
        {"reason": "busy"},
        {"partition_id": 1, "reason": 3},
        {"partition_id": 1, "reason": "failed: no reply in time"},
        "busy",
    ],
)
def test_an_entry_that_is_none_is_refused_with_the_round(drop: Any, tmp_path: Path) -> None:
    lines = [
        {"kind": "run", "format": 1, "config": {}},
        {"kind": "round", "server_round": 4, "phase": "benign", "dropped": [drop]},
    ]
    (tmp_path / FILE_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ResultsError, match="round 4: expected the record of a round"):
        read_results(tmp_path)
