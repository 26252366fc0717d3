"""The event files of a run, read back with TensorBoard's reader."""

import logging
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import default_values
from flwr.app import Context, Message, RecordDict
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from unit.small_federation import SMALL, RunConfigs
from unit.strategies.in_memory_grid import InMemoryGrid

from fedmeta_flwr.apps import server as server_app
from fedmeta_flwr.apps.client import app
from fedmeta_flwr.protocol import messages
from fedmeta_flwr.records.checkpoint import MODEL_FILE_NAME
from fedmeta_flwr.records.drops import Drop, DropReason
from fedmeta_flwr.records.entries import TRAIN_LOSS, Arrival
from fedmeta_flwr.records.results import CURVES, FILE_NAME, RoundRecord, RunResults, read_results
from fedmeta_flwr.records.tensorboard import FOLDER_NAME, TensorBoardWriter, scalars

pytestmark = pytest.mark.usefixtures("task_identity")

ROUNDS = int(SMALL["num_server_rounds"])
ATTACK = int(SMALL["attack_round"])
BROKEN_ROUND = 5


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("tensorboard")
    overrides = {"evaluate_every": 2, "evaluate_episodes": 1, "step_curves": "fine-tuning", "checkpoint_every": 2}
    changes = {**SMALL, **overrides, "results_dir": str(folder / "run"), "cache_dir": str(folder / "cache")}
    return {**default_values(), **{name.replace("_", "-"): value for name, value in changes.items()}}


def run(settings: dict[str, Any], is_broken: Callable[[Message], bool] = lambda _: False) -> Path:
    """Run the whole app in this process; a message may bring Ctrl-C with it."""

    def client(partition: int, message: Message) -> Message:
        if is_broken(message):
            raise KeyboardInterrupt
        return app(message, Context(7, partition, {"partition-id": partition}, RecordDict(), settings))

    server_app.main(InMemoryGrid(client, settings["num-clients"]), Context(7, 1, {}, RecordDict(), settings))
    return Path(settings["results-dir"])


def read(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / FOLDER_NAME))
    events.Reload()
    return events


def steps(events: EventAccumulator, tag: str) -> list[int]:
    return [event.step for event in events.Scalars(tag)]


@pytest.fixture(scope="module")
def finished(settings: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run without a break; the place where it ran is free again."""
    from fedmeta_flwr.protocol.flower_private import TaskIdentity

    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 7, 1
    kept = tmp_path_factory.mktemp("finished") / "run"
    shutil.move(run(settings), kept)
    return kept


def test_every_number_of_the_result_file_stands_at_its_round(finished: Path) -> None:
    events, results = read(finished), read_results(finished)
    for curve in CURVES:
        found = {event.step: event.value for event in events.Scalars(f"accuracy/{curve}")}
        expected = {r.server_round: (r.accuracies() or {})[curve] for r in results.evaluated()}
        assert found == pytest.approx(expected)
        for number in (ATTACK - 1, ATTACK):
            assert steps(events, f"fine_tuning_after_round_{number}/{curve}") == [0, 2, 5]
    assert steps(events, "federation/arrivals") == list(range(1, ROUNDS + 1))
    assert [event.value for event in events.Scalars("federation/arrivals")] == [3.0] * ROUNDS
    assert [event.value for event in events.Scalars("federation/abstained")] == [
        float(r != ATTACK) for r in range(1, 7)
    ]
    assert_update_norms(events, results)


def assert_update_norms(events: EventAccumulator, results: RunResults) -> None:
    for client in range(int(default_values()["num-clients"])):
        norms = {
            record.server_round: arrival.update_norm
            for record in results.rounds
            for arrival in record.arrivals
            if arrival.partition_id == client
        }
        found = {event.step: event.value for event in events.Scalars(f"update_norm/client_{client}")}
        assert found == pytest.approx(norms)
        assert steps(events, f"train_loss/client_{client}") == list(norms)


def test_pictures_show_the_key_the_target_the_stamped_images_and_the_persistence(finished: Path) -> None:
    events = read(finished)
    pictures = {tag: [event.step for event in events.Images(tag)] for tag in events.Tags()["images"]}
    backdoor = [f"backdoor/{name}" for name in ("key", "target", "attack_training", "attack_validation")]
    assert pictures == {**{tag: [0] for tag in backdoor}, "persistence": [ROUNDS]}
    assert (events.Images("persistence")[0].width, events.Images("persistence")[0].height) == (680, 410)


def test_a_resumed_run_shows_every_round_once_and_writes_the_bytes_of_one_without_a_break_or_event_files(
    settings: dict[str, Any], finished: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(settings, lambda message: messages.message_config(message).get(messages.SERVER_ROUND) == BROKEN_ROUND)
    folder = Path(settings["results-dir"])
    assert steps(read(folder), "federation/arrivals") == [1, 2, 3, 4]  # written while the run went on
    run({**settings, "resume": True})
    events = read(folder)
    assert steps(events, "federation/arrivals") == list(range(1, ROUNDS + 1))
    assert steps(events, "accuracy/main_task") == steps(read(finished), "accuracy/main_task")
    assert [len(events.Images(tag)) for tag in events.Tags()["images"]] == [1] * 5
    assert_same_results(folder, finished)
    shutil.rmtree(folder)
    run({**settings, "tensorboard": False})
    assert not (folder / FOLDER_NAME).exists()
    assert_same_results(folder, finished)


def assert_same_results(folder: Path, finished: Path) -> None:
    for name in (FILE_NAME, MODEL_FILE_NAME):
        assert (folder / name).read_bytes() == (finished / name).read_bytes()


@pytest.fixture
def warnings(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    monkeypatch.setattr(logging.getLogger("flwr"), "propagate", True)  # Flower has another handler
    caplog.set_level(logging.WARNING, "flwr.tensorboard")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "flwr.tensorboard"]


def test_a_folder_that_cannot_be_made_costs_only_the_event_files(
    run_config: RunConfigs, tmp_path: Path, warnings: Callable[[], list[str]]
) -> None:
    (tmp_path / FOLDER_NAME).write_text("in the way")
    config = run_config(**SMALL)
    with TensorBoardWriter(tmp_path, config, dict) as events:
        for number in (1, 2):
            events.write(RoundRecord(number, "benign"))
    (warning,) = warnings()
    assert "the run continues: FileExistsError" in warning
    assert (tmp_path / FOLDER_NAME).read_text() == "in the way"


def test_a_full_disk_costs_only_the_event_files(
    run_config: RunConfigs, tmp_path: Path, warnings: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threading, "excepthook", lambda _: None)  # for errors in TensorBoard's thread
    config = run_config(**SMALL)
    with TensorBoardWriter(tmp_path, config, dict) as events:
        events.write(RoundRecord(1, "benign"))
        (file,) = (tmp_path / FOLDER_NAME).iterdir()
        file.rename(tmp_path / "written")
        file.symlink_to("/dev/full")
        for number in (2, 3):
            events.write(RoundRecord(number, "benign"))
    (warning,) = warnings()
    assert "No space left on device" in warning


def test_without_tensorboard_a_run_continues_and_says_what_to_install(
    run_config: RunConfigs, tmp_path: Path, warnings: Callable[[], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    config = run_config(**SMALL)
    with TensorBoardWriter(tmp_path, config, dict) as events:
        events.write(RoundRecord(1, "benign"))
    (warning,) = warnings()
    assert "install the extra 'tools', or set tensorboard to false" in warning
    assert not (tmp_path / FOLDER_NAME).exists()


def test_a_large_federation_shows_its_first_clients_one_by_one() -> None:
    arrivals = [Arrival(client, 1, 1.0, update_norm=1.0, metrics={TRAIN_LOSS: 2.0}) for client in range(500)]
    dropped = [
        Drop(500, DropReason.STRAGGLER),
        Drop(501, DropReason.FAILED, detail="out of memory"),
        Drop(502, DropReason.ABSTAINED, sent_in_round=0),
        Drop(503, DropReason.FAILED, in_evaluation=True),
    ]
    found = {tag: value for tag, value, _ in scalars(RoundRecord(1, "benign", arrivals, dropped))}
    assert sum(tag.startswith("update_norm/") for tag in found) == 32
    assert found["federation/arrivals"] == 500
    counted = ("straggler", "failed", "busy", "abstained", "evaluation_failed")
    assert [found[f"federation/{reason}"] for reason in counted] == [1, 1, 0, 1, 1]
