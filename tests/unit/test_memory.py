import re
from pathlib import Path

import numpy as np
import pytest

from clients.memory import ClientMemory
from fedmeta_flwr.checkpoint import CheckpointError, save_checkpoint

OWN = {"weight": np.array([1.5, -2.0, 0.25], np.float32), "log_temperature": np.array(-2.3, np.float32)}


def test_what_a_client_kept_is_recalled_after_a_restart(tmp_path: Path) -> None:
    ClientMemory.of(tmp_path / "clients", 1).keep(OWN, 3)
    recalled = ClientMemory.of(tmp_path / "clients", 1).recall(OWN, before_round=4)
    assert recalled is not None
    assert list(recalled) == list(OWN)
    for name, array in OWN.items():
        assert (recalled[name].dtype, recalled[name].shape) == (array.dtype, array.shape)
        assert recalled[name].tobytes() == array.tobytes()


def test_the_last_round_replaces_the_one_before(tmp_path: Path) -> None:
    memory = ClientMemory.of(tmp_path, 1)
    for server_round in (1, 2):
        memory.keep({"weight": np.full(3, server_round, np.float32)}, server_round)
    recalled = memory.recall({"weight": np.zeros(3, np.float32)}, before_round=9)
    assert recalled is not None
    assert recalled["weight"].tolist() == [2, 2, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["client-1.safetensors"]


def test_a_client_that_kept_nothing_recalls_nothing_and_makes_no_file(tmp_path: Path) -> None:
    assert ClientMemory.of(tmp_path / "clients", 1).recall(OWN, before_round=1) is None
    assert list(tmp_path.iterdir()) == []


def test_clients_do_not_share_a_memory(tmp_path: Path) -> None:
    ClientMemory.of(tmp_path, 1).keep(OWN, 1)
    assert ClientMemory.of(tmp_path, 11).recall(OWN, before_round=2) is None
    assert ClientMemory.of(tmp_path, 2).recall(OWN, before_round=2) is None


@pytest.mark.parametrize("kept", [4, 5, 12])
def test_a_file_of_the_same_or_a_later_round_is_of_another_run(tmp_path: Path, kept: int) -> None:
    memory = ClientMemory.of(tmp_path, 1)
    memory.keep(OWN, kept)
    reason = f"{memory.file}: expected what the client kept before round 4 of this run, found that of round {kept}"
    with pytest.raises(CheckpointError, match=re.escape(reason)):
        memory.recall(OWN, before_round=4)


@pytest.mark.parametrize("metadata", [{}, {"server-round": ""}, {"server-round": "-1"}, {"server-round": "one"}])
def test_a_file_without_a_round_is_refused(tmp_path: Path, metadata: dict[str, str]) -> None:
    memory = ClientMemory.of(tmp_path, 1)
    save_checkpoint(memory.file, OWN, metadata)
    with pytest.raises(CheckpointError, match="before round 4 of this run, found that of round"):
        memory.recall(OWN, before_round=4)


@pytest.mark.parametrize(
    "expected", [{**OWN, "weight": np.zeros(4, np.float32)}, {"weight": OWN["weight"]}, {**OWN, "b": OWN["weight"]}]
)
def test_a_file_of_another_architecture_is_refused(tmp_path: Path, expected: dict[str, np.ndarray]) -> None:
    memory = ClientMemory.of(tmp_path, 1)
    save_checkpoint(memory.file, OWN, {"server-round": "1"})
    with pytest.raises(CheckpointError, match=re.escape(str(memory.file))):
        memory.recall(expected, before_round=2)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    memory = ClientMemory.of(tmp_path, 1)
    memory.keep(OWN, 1)
    memory.file.write_bytes(memory.file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=re.escape(str(memory.file))):
        memory.recall(OWN, before_round=2)
