import re
from pathlib import Path

import numpy as np
import pytest

from clients.memory import ClientMemory
from fedmeta_flwr.records.checkpoint import CheckpointError, load_checkpoint, save_checkpoint

KEPT = {"weight": np.array([1.5, -2.0, 0.25], np.float32), "log_temperature": np.array(-2.3, np.float32)}


def test_what_a_client_kept_is_recalled_after_a_restart(tmp_path: Path) -> None:
    ClientMemory.of(tmp_path / "clients", 1).keep(KEPT, 3, 3)
    recalled = ClientMemory.of(tmp_path / "clients", 1).recall(KEPT, before_round=4)
    assert recalled is not None
    assert list(recalled) == list(KEPT)
    for name, array in KEPT.items():
        assert (recalled[name].dtype, recalled[name].shape) == (array.dtype, array.shape)
        assert recalled[name].tobytes() == array.tobytes()


def test_the_last_round_replaces_the_one_before(tmp_path: Path) -> None:
    memory = ClientMemory.of(tmp_path, 1)
    for server_round in (1, 2):
        memory.keep({"weight": np.full(3, server_round, np.float32)}, server_round, 1)
    recalled = memory.recall({"weight": np.zeros(3, np.float32)}, before_round=9)
    assert recalled is not None
    assert recalled["weight"].tolist() == [2, 2, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["client-1.safetensors"]


def test_a_client_that_kept_nothing_recalls_nothing_and_makes_no_file(tmp_path: Path) -> None:
    assert ClientMemory.of(tmp_path / "clients", 1).recall(KEPT, before_round=1) is None
    assert list(tmp_path.iterdir()) == []


def test_clients_do_not_share_a_memory(tmp_path: Path) -> None:
    ClientMemory.of(tmp_path, 1).keep(KEPT, 1, 1)
    assert ClientMemory.of(tmp_path, 11).recall(KEPT, before_round=2) is None
    assert ClientMemory.of(tmp_path, 2).recall(KEPT, before_round=2) is None


def after(server_round: int) -> dict[str, np.ndarray]:
    return {"weight": np.full(3, server_round, np.float32)}


def recalled(memory: ClientMemory, before_round: int) -> float | None:
    kept = memory.recall(after(0), before_round)
    return None if kept is None else float(kept["weight"][0])


def test_a_run_that_resumes_after_an_earlier_round_finds_the_state_of_that_round(tmp_path: Path) -> None:
    memory = ClientMemory.of(tmp_path, 1)
    for server_round in (2, 3, 5, 6):
        memory.keep(after(server_round), server_round, oldest_round=4)
    assert [recalled(memory, before) for before in (4, 5, 6, 7)] == [3, 3, 5, 6]
    memory.keep(after(-5), 5, oldest_round=4)  # the run has gone back to round 4, and asks for round 5 again
    assert [recalled(memory, before) for before in (5, 6, 7)] == [3, -5, -5]


def test_what_no_round_can_ask_for_any_more_is_forgotten(tmp_path: Path) -> None:
    memory = ClientMemory.of(tmp_path, 1)
    for server_round in range(1, 41):
        memory.keep(after(server_round), server_round, oldest_round=max(1, server_round - 3))
    assert [recalled(memory, before) for before in (36, 37, 41)] == [None, 36, 40]
    assert len(load_checkpoint(memory.file).arrays) == 5


@pytest.mark.parametrize("name", ["weight", "/weight", "-1/weight", "one/weight"])
def test_a_file_without_rounds_is_refused(tmp_path: Path, name: str) -> None:
    memory = ClientMemory.of(tmp_path, 1)
    save_checkpoint(memory.file, {name: KEPT["weight"]}, {})
    with pytest.raises(CheckpointError, match="ROUND/NAME"):
        memory.recall(KEPT, before_round=4)


@pytest.mark.parametrize(
    "expected",
    [
        {**KEPT, "weight": np.zeros(4, np.float32)},
        {"weight": KEPT["weight"]},
        {**KEPT, "b": KEPT["weight"]},
    ],
)
def test_a_file_of_another_architecture_is_refused(tmp_path: Path, expected: dict[str, np.ndarray]) -> None:
    memory = ClientMemory.of(tmp_path, 1)
    memory.keep(KEPT, 1, 1)
    with pytest.raises(CheckpointError, match=re.escape(str(memory.file))):
        memory.recall(expected, before_round=2)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    memory = ClientMemory.of(tmp_path, 1)
    memory.keep(KEPT, 1, 1)
    memory.file.write_bytes(memory.file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=re.escape(str(memory.file))):
        memory.recall(KEPT, before_round=2)
