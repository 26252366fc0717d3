import json
from collections.abc import Iterator

import pytest
from flwr.supercore.task_identity import TaskIdentity
from golden.golden_run import FILE, golden_run

NORM_TOLERANCE = 0.002  # relative; sums of floats differ between processors. Another seed gives some 0.02
ACCURACY_TOLERANCE = 0.03  # of some 240 to 300 queries


@pytest.fixture(autouse=True)
def identity() -> Iterator[None]:
    known = vars(TaskIdentity).copy()
    yield
    for name in ("_task_id", "_run_id", "_node_id"):
        setattr(TaskIdentity, name, known[name])


def test_a_few_rounds_give_the_numbers_that_were_kept() -> None:
    expected, found = json.loads(FILE.read_text(encoding="utf-8")), golden_run()
    assert len(found) == len(expected) == 6
    for one, kept in zip(found, expected, strict=True):
        assert one["arrived"] == kept["arrived"]
        assert one["norms"] == pytest.approx(kept["norms"], rel=NORM_TOLERANCE)
        assert one["accuracies"] == pytest.approx(kept["accuracies"], abs=ACCURACY_TOLERANCE)
