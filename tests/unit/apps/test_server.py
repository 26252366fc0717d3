"""What the server does before the first message."""

from pathlib import Path
from typing import Any

import pytest
from conftest import default_values
from flwr.app import Context, Message, RecordDict
from unit.small_federation import SMALL
from unit.strategies.in_memory_grid import InMemoryGrid

from fedmeta_flwr.apps import server as server_app
from fedmeta_flwr.records.results import FILE_NAME

pytestmark = pytest.mark.usefixtures("task_identity")


def unasked(partition: int, message: Message) -> Message:
    raise AssertionError(f"client {partition} was sent {message}")


@pytest.mark.parametrize(
    ("own", "reason"),
    [
        ({"strategy": "fedavgg"}, "expected one of"),
        ({"arrival-model": "builtins:dict"}, "arrival-model"),
        ({"strategy": "krum", "strategy-options": '{"num_malicious_nodes": 3}'}, "krum"),
        ({"strategy-options": '{"fraction_evaluate": 1.25}'}, "fraction_evaluate: expected 0 to 1, found 1.25"),
        ({"strategy-options": '{"fraction_evaluate": 7}'}, "fraction_evaluate: expected 0 to 1, found 7"),
        ({"strategy-options": '{"fraction_evaluate": -1}'}, "fraction_evaluate: expected 0 to 1, found -1"),
        ({"strategy-options": '{"fraction_evaluate": 0}'}, "fraction_evaluate: .*set evaluate-every to 0"),
        ({"strategy-options": '{"fraction_train": 0.75}'}, "of whom 1 may abstain, for a quorum of 3, found 3"),
    ],
)
@pytest.mark.parametrize("resume", [False, True])
def test_what_cannot_be_used_is_refused_and_results_stay_as_they_are(
    own: dict[str, str], reason: str, resume: bool, tmp_path: Path
) -> None:
    folders = {"results-dir": str(tmp_path / "run"), "cache-dir": str(tmp_path / "cache"), "resume": resume}
    small = {name.replace("_", "-"): value for name, value in SMALL.items()}
    settings: dict[str, Any] = {**default_values(), **small, **folders, **own}
    results = tmp_path / "run" / FILE_NAME
    if resume:
        results.parent.mkdir()
        results.write_bytes(b"what an earlier run has left\n")
    with pytest.raises(ValueError, match=f"(?i){reason}"):
        server_app.main(InMemoryGrid(unasked, settings["num-clients"]), Context(7, 1, {}, RecordDict(), settings))
    assert results.is_file() == resume
    assert not resume or results.read_bytes() == b"what an earlier run has left\n"
