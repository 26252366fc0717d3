"""What the server does before the first message."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from conftest import default_values
from flwr.app import Context, Error, Message, MessageType, RecordDict
from unit.small_federation import SMALL
from unit.strategies.in_memory_grid import InMemoryGrid

from fedmeta_flwr.apps import server as server_app
from fedmeta_flwr.apps.client import app as client_app
from fedmeta_flwr.config import ConfigError
from fedmeta_flwr.records.failure import read_failure
from fedmeta_flwr.records.results import FILE_NAME, ResultsError
from fedmeta_flwr.records.writer import LOCK_FILE_NAME, locked

pytestmark = pytest.mark.usefixtures("task_identity")


Client = Callable[[int, Message], Message]


def run(clients: Client, settings: Mapping[str, Any]) -> None:
    grid = InMemoryGrid(clients, settings["num-clients"])
    server_app.main(grid, Context(7, 1, {}, RecordDict(), dict(settings)))


def unasked(partition: int, message: Message) -> Message:
    raise AssertionError(f"client {partition} was sent {message}")


@pytest.mark.parametrize(
    ("overrides", "reason"),
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
    overrides: dict[str, str], reason: str, resume: bool, tmp_path: Path
) -> None:
    folders = {"results-dir": str(tmp_path / "run"), "cache-dir": str(tmp_path / "cache"), "resume": resume}
    small = {name.replace("_", "-"): value for name, value in SMALL.items()}
    settings: dict[str, Any] = {**default_values(), **small, **folders, **overrides}
    results = tmp_path / "run" / FILE_NAME
    if resume:
        results.parent.mkdir()
        results.write_bytes(b"what an earlier run has left\n")
    with pytest.raises(ValueError, match=f"(?i){reason}"):
        run(unasked, settings)
    assert results.is_file() == resume
    assert not resume or results.read_bytes() == b"what an earlier run has left\n"


def test_a_configuration_that_only_the_server_sees_is_refused_with_all_its_problems(tmp_path: Path) -> None:
    settings = default_values() | {"results-dir": str(tmp_path / "run"), "way": 1, "shots": 3}
    with pytest.raises(ConfigError) as raised:
        run(unasked, settings)
    failure = read_failure(tmp_path / "run", 7)
    assert failure is not None
    assert failure.message == str(raised.value)
    assert [text in failure.message for text in ("way: ", "shots: no such setting")] == [True, True]
    assert failure.traceback == ()


def refusing(partition: int, message: Message) -> Message:
    """Answer the registration, and fail at everything else."""
    if message.metadata.message_type == MessageType.QUERY:
        return client_app(message, Context(7, partition, {"partition-id": partition}, RecordDict(), {}))
    return Message(Error(0, "out of memory"), reply_to=message)


class CrashingGrid(InMemoryGrid):
    """A Grid that has a defect."""

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        raise ZeroDivisionError("division by zero")


@pytest.mark.parametrize(
    ("grid", "overrides", "error", "message"),
    [
        (
            InMemoryGrid(unasked, 4),
            {"strategy": "krum", "strategy-options": '{"num_malicious_nodes": 3}'},
            "strategies.errors.StrategyError",
            "expected a quorum of at least",
        ),
        (InMemoryGrid(refusing, 4), {}, "strategies.errors.QuorumError", "out of memory"),
        (CrashingGrid(refusing, 4), {}, "builtins.ZeroDivisionError", "division by zero"),
    ],
)
def test_why_a_run_fails_stands_in_its_folder(
    grid: InMemoryGrid, overrides: dict[str, str], error: str, message: str, tmp_path: Path
) -> None:
    small = {name.replace("_", "-"): value for name, value in SMALL.items()}
    folders = {"results-dir": str(tmp_path / "run"), "cache-dir": str(tmp_path / "cache")}
    with pytest.raises((RuntimeError, ValueError, ZeroDivisionError)):
        server_app.main(grid, Context(7, 1, {}, RecordDict(), {**default_values(), **small, **folders, **overrides}))
    failure = read_failure(tmp_path / "run", 7)
    assert failure is not None
    assert (failure.error, bool(failure.traceback)) == (error, error.startswith("builtins"))
    assert message in failure.message


@pytest.mark.parametrize("in_use", [False, True])
def test_a_second_start_leaves_the_folder_of_another_run_as_it_is(in_use: bool, tmp_path: Path) -> None:
    small = {name.replace("_", "-"): value for name, value in SMALL.items()}
    folders = {"results-dir": str(tmp_path / "run"), "cache-dir": str(tmp_path / "cache")}
    with locked(tmp_path / "run") if in_use else nullcontext():
        (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run" / FILE_NAME).write_bytes(b"good results\n")
        with pytest.raises(ResultsError, match="in use" if in_use else "expected a folder without"):
            run(unasked, {**default_values(), **small, **folders})
        left = {path.name for path in (tmp_path / "run").iterdir() if path.name != LOCK_FILE_NAME}
        assert left == {FILE_NAME}
        assert (tmp_path / "run" / FILE_NAME).read_bytes() == b"good results\n"


def test_a_resumed_run_removes_the_file_of_a_failure(tmp_path: Path) -> None:
    small = {name.replace("_", "-"): value for name, value in SMALL.items()}
    folders = {"results-dir": str(tmp_path / "run"), "cache-dir": str(tmp_path / "cache"), "resume": True}
    settings = {**default_values(), **small, **folders}
    with pytest.raises(ValueError, match="fedavgg"):
        run(unasked, {**settings, "strategy": "fedavgg"})
    seen = []

    def looking(partition: int, message: Message) -> Message:
        seen.append(read_failure(tmp_path / "run", 7))
        return refusing(partition, message)

    with pytest.raises(RuntimeError):
        run(looking, settings)
    assert set(seen) == {None}
