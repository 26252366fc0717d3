"""Checkpoints of a run, and the result file that goes with them."""

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from unit.small_federation import RunConfigs

from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.checkpoint import CheckpointError
from fedmeta_flwr.records.packing import PackingError, pack, unpack
from fedmeta_flwr.records.results import FILE_NAME, TIMES_FILE_NAME, ResultsError, RoundRecord, read_results
from fedmeta_flwr.records.run_checkpoints import FOLDER_NAME, RunCheckpoints, finished
from fedmeta_flwr.records.writer import ResultsWriter, locked


def state_of(server_round: int) -> dict[str, Any]:
    return {"server_round": server_round, "weights": np.full(3, server_round, np.float32), "bytes": b"\x00\xff"}


def save(folder: Path, run_config: RunConfigs, *rounds: int) -> RunCheckpoints:
    checkpoints = RunCheckpoints(folder)
    for server_round in rounds:
        checkpoints.save(server_round, state_of(server_round), run_config())
    return checkpoints


def newest_round(checkpoints: RunCheckpoints, config: RunConfig) -> int:
    state = checkpoints.newest(config)
    assert state is not None
    return int(state["server_round"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / FOLDER_NAME).iterdir())


def test_the_newest_two_are_kept_and_the_newest_is_read(run_config: RunConfigs, tmp_path: Path) -> None:
    checkpoints = save(tmp_path, run_config, 5, 9, 10, 100)
    assert names(tmp_path) == ["round-00000010.safetensors", "round-00000100.safetensors"]
    found = checkpoints.newest(run_config())
    assert found is not None
    assert found["server_round"] == 100
    assert found["weights"].tolist() == [100, 100, 100]
    assert found["bytes"] == b"\x00\xff"
    checkpoints.remove_all()
    assert checkpoints.newest(run_config()) is None
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_newest_one_costs_the_rounds_since_the_one_before(run_config: RunConfigs, tmp_path: Path) -> None:
    checkpoints = save(tmp_path, run_config, 4, 8)
    newest = tmp_path / FOLDER_NAME / "round-00000008.safetensors"
    newest.write_bytes(newest.read_bytes()[:-5])
    assert newest_round(checkpoints, run_config()) == 4
    (tmp_path / FOLDER_NAME / "round-00000004.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"only damaged ones.*00000008.*00000004"):
        checkpoints.newest(run_config())


def test_one_of_another_configuration_is_refused_by_setting(run_config: RunConfigs, tmp_path: Path) -> None:
    checkpoints = save(tmp_path, run_config, 4)
    with pytest.raises(CheckpointError, match=r"seed: expected 3, found 0"):
        checkpoints.newest(run_config(seed=3))
    moved = run_config(cache_dir="/elsewhere", messages_in_flight=7, checkpoint_every=1, round_timeout_seconds=9)
    assert newest_round(checkpoints, moved) == 4


def test_a_mangled_checkpoint_is_read_or_refused_and_nothing_else(run_config: RunConfigs, tmp_path: Path) -> None:
    checkpoints = save(tmp_path, run_config, 4)
    file = tmp_path / FOLDER_NAME / "round-00000004.safetensors"
    whole, rng, refused = file.read_bytes(), random.Random(0), 0
    for _ in range(1000):
        content = bytearray(whole)
        for _ in range(rng.choice([1, 1, 3, 30])):
            content[rng.randrange(len(content))] = rng.randrange(256)
        file.write_bytes(content[: rng.choice([len(content), rng.randrange(len(content))])])
        try:
            checkpoints.newest(run_config())
        except CheckpointError:
            refused += 1
    assert 500 < refused <= 1000


@pytest.mark.parametrize(
    "tree",
    [
        {"kind": "nothing"}, {"no": "kind"}, {"kind": "array", "name": "missing"}, {"kind": "shared", "number": 0},
        {"kind": "dict", "items": 3}, {"kind": "bytes", "hex": "xy"}, {"kind": "list"},
        {"kind": "MetricRecord", "items": [["a", "text"]]}, {"kind": "ArrayRecord", "items": [["a", 1]]},
    ],
)  # fmt: skip
def test_a_tree_that_was_never_packed_is_refused(tree: Any) -> None:
    with pytest.raises(PackingError):
        unpack(tree, {})


@pytest.mark.parametrize("value", [object(), {1, 2}, lambda: 0, [{"a": Path()}], np.array(["text"]), np.array([None])])
def test_what_cannot_be_packed_is_refused_with_its_place(value: object) -> None:
    with pytest.raises(PackingError, match=r"^outer\[0\]"):
        pack({"outer": [value]})


def written(folder: Path, rounds: int, **options: Any) -> None:
    with ResultsWriter(folder, **options) as writer:
        if not options:
            writer.write_run({"config": {}})
        first = options.get("after_round", 0) + 1
        for server_round in range(first, rounds + 1):
            writer.write_round(RoundRecord(server_round, "benign", seconds=0.5))


def test_a_resumed_run_cuts_its_files_back_to_the_checkpoint(tmp_path: Path) -> None:
    written(tmp_path / "whole", 6)
    written(tmp_path / "cut", 5)
    for name, unfinished in ((FILE_NAME, b"\0" * 100), (TIMES_FILE_NAME, b'{"kind": "round", "server_rou')):
        with (tmp_path / "cut" / name).open("ab") as file:
            file.write(unfinished)  # as a power cut leaves it, or a killed process
    assert len(read_results(tmp_path / "cut").rounds) == 5
    with ResultsWriter(tmp_path / "cut", after_round=3) as writer:
        assert writer.earlier_seconds == 1.5
        for server_round in (4, 5, 6):
            writer.write_round(RoundRecord(server_round, "benign", seconds=0.1))
    assert (tmp_path / "cut" / FILE_NAME).read_bytes() == (tmp_path / "whole" / FILE_NAME).read_bytes()
    assert [record.seconds for record in read_results(tmp_path / "cut").rounds] == [0.5, 0.5, 0.5, 0.1, 0.1, 0.1]


def test_results_without_the_round_to_go_on_from_are_refused(tmp_path: Path) -> None:
    written(tmp_path, 2)
    with pytest.raises(ResultsError, match="expected the results of round 3"):
        ResultsWriter(tmp_path, after_round=3)


def test_a_line_that_does_not_fit_on_the_disk_leaves_no_half_line(tmp_path: Path) -> None:
    written(tmp_path, 1)
    before = (tmp_path / FILE_NAME).read_bytes()
    with ResultsWriter(tmp_path, after_round=1) as writer:
        full = open("/dev/full", "wb", buffering=0)  # noqa: SIM115, PTH123 (a disk that is full)
        writer._file.close()
        writer._file = full
        with pytest.raises(ResultsError, match="No space left on device"):
            writer.write_round(RoundRecord(2, "benign"))
    assert (tmp_path / FILE_NAME).read_bytes() == before
    assert [record.server_round for record in read_results(tmp_path).rounds] == [1]


def test_only_one_process_at_a_time_writes_into_a_folder(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "run"),
        pytest.raises(ResultsError, match="that no other run uses"),
        locked(tmp_path / "run"),
    ):
        pass
    with locked(tmp_path / "run"):
        pass
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match="cannot write"), locked(tmp_path / "file" / "run"):
        pass


def test_a_run_that_has_completed_is_known_and_one_of_another_configuration_refused(
    run_config: RunConfigs, tmp_path: Path
) -> None:
    config = run_config()
    assert finished(config, tmp_path) is None
    with ResultsWriter(tmp_path) as writer:
        writer.write_run({"config": config.to_run_config()})
        assert finished(config, tmp_path) is None
        writer.write_end("completed", 1.0)
    assert finished(config, tmp_path) is not None
    with pytest.raises(ResultsError, match="seed: expected 1, found 0"):
        finished(run_config(seed=1), tmp_path)
    lines = (tmp_path / FILE_NAME).read_text().splitlines()
    failed = {**json.loads(lines[-1]), "status": "failed: x"}
    (tmp_path / FILE_NAME).write_text("\n".join([*lines[:-1], json.dumps(failed)]) + "\n")
    assert finished(config, tmp_path) is None
