"""What a node's configuration decides: its partition and its folders, so that the server's folders do not count."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from unit.small_federation import SMALL, RunConfigs

from fedmeta_flwr.apps.assembly import initial_arrays
from fedmeta_flwr.apps.client import NodeConfigError, app
from fedmeta_flwr.apps.scenario import load_scenario
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.protocol.messages import ARRAYS, CONFIG, is_abstention, registered_partition, to_record

pytestmark = pytest.mark.usefixtures("task_identity")

MEMORY = "client-1.safetensors"


@pytest.fixture
def config(run_config: RunConfigs, tmp_path: Path) -> RunConfig:
    """Return a defended federation, whose clients keep files; all folders are below `server`."""
    server = tmp_path / "server"
    folders = {"data_dir": str(server / "data"), "cache_dir": str(server / "cache"), "results_dir": str(server / "run")}
    return run_config(**{**SMALL, "image_size": 28, "strokes_drawers": 20}, **folders, defense="federation")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let the user's folders lie in a temporary home."""
    for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, str(tmp_path / "home" / name))
    return tmp_path / "home"


def ask(config: RunConfig, node_config: dict[str, Any], content: RecordDict, kind: str) -> Message:
    context = Context(
        run_id=7, node_id=1, node_config=node_config, state=RecordDict(), run_config=config.to_run_config()
    )
    return app(Message(content, dst_node_id=1, message_type=kind), context)


def answer_registration(config: RunConfig, node_config: dict[str, Any]) -> int:
    return registered_partition(ask(config, node_config, RecordDict(), MessageType.QUERY))


def train(config: RunConfig, node_config: dict[str, Any], tmp_path: Path, kind: str = MessageType.TRAIN) -> Message:
    scenario = load_scenario(replace(config, cache_dir=str(tmp_path / "bystander")))
    arrays = to_record(initial_arrays(config, scenario))
    content = RecordDict({ARRAYS: arrays, CONFIG: ConfigRecord({"server-round": 1})})
    return ask(config, node_config, content, kind)


def files(folder: Path) -> list[str]:
    return sorted({path.name for path in folder.rglob("*") if path.is_file()})


def test_a_node_reports_the_partition_of_its_configuration(config: RunConfig) -> None:
    assert answer_registration(config, {"partition-id": 3, "num-partitions": 4}) == 3


@pytest.mark.parametrize(
    ("node_config", "problem"),
    [
        ({}, "partition-id: expected a whole number from 0, found none"),
        ({"partition-id": "2"}, "partition-id: expected a whole number from 0, found '2'"),
        ({"partition-id": True}, "partition-id: expected a whole number from 0, found True"),
        ({"partition-id": -1}, "partition-id: expected a whole number from 0, found -1"),
        (
            {"partition-id": 2, "data_dir": "/data"},
            "data_dir: no such setting, expected any of partition-id, num-partitions, data-dir, cache-dir, "
            "client-state-dir",
        ),
        ({"partition-id": 2, "seed": 1}, "seed: no such setting"),
        (
            {"partition-id": 2, "data-dir": 5},
            "data-dir: expected an absolute path, or an empty text for the default, found 5",
        ),
        ({"partition-id": 2, "cache-dir": "cache"}, "cache-dir: expected an absolute path"),
        ({"partition-id": 2, "client-state-dir": "~/state"}, "client-state-dir: expected an absolute path"),
    ],
)
def test_a_wrong_node_configuration_is_refused_at_registration(
    node_config: dict[str, Any], problem: str, config: RunConfig
) -> None:
    with pytest.raises(NodeConfigError) as error:
        answer_registration(config, node_config)
    assert str(error.value).startswith(f"node config (flower-supernode --node-config): {problem}")


def test_every_problem_of_a_node_configuration_stands_on_one_line(config: RunConfig) -> None:
    with pytest.raises(NodeConfigError) as error:
        answer_registration(config, {"partition": 1, "cache-dir": 1})
    message = str(error.value)
    assert all(f"{key}: " in message for key in ("partition", "partition-id", "cache-dir"))
    assert "\n" not in message


def test_training_refuses_a_wrong_node_configuration_too(config: RunConfig, tmp_path: Path) -> None:
    with pytest.raises(NodeConfigError, match="seed: no such setting"):
        train(config, {"partition-id": 1, "seed": 1}, tmp_path)


def test_without_folders_in_its_configuration_a_node_has_those_of_the_run(config: RunConfig, tmp_path: Path) -> None:
    train(config, {"partition-id": 1, "num-partitions": 4}, tmp_path)
    assert files(tmp_path / "server" / "cache") == ["images.npy", "index.json"]
    assert files(tmp_path / "server" / "run" / "clients") == [MEMORY]


def test_folders_of_a_node_override_those_of_the_run(config: RunConfig, tmp_path: Path) -> None:
    node = tmp_path / "node"
    folders = {"cache-dir": str(node / "cache"), "client-state-dir": str(node / "state")}
    train(config, {"partition-id": 1, **folders}, tmp_path)
    assert files(node / "cache") == ["images.npy", "index.json"]
    assert files(node / "state") == [MEMORY]
    assert not (tmp_path / "server").exists()


@pytest.mark.parametrize("named", ["data-dir", "cache-dir", "client-state-dir"])
def test_a_node_that_names_one_folder_has_none_of_the_server(
    named: str, config: RunConfig, home: Path, tmp_path: Path
) -> None:
    train(replace(config, client_state_dir=str(tmp_path / "server" / "state")), node_folders(named, tmp_path), tmp_path)
    assert not (tmp_path / "server").exists()
    assert bool(files(home / "XDG_CACHE_HOME")) == (named != "cache-dir")
    assert bool(files(home / "XDG_DATA_HOME")) == (named != "client-state-dir")


def node_folders(named: str, tmp_path: Path) -> dict[str, Any]:
    return {"partition-id": 1, named: str(tmp_path / "node")}


def test_the_data_set_is_that_in_the_nodes_folder(config: RunConfig, tmp_path: Path) -> None:
    elsewhere = replace(config, dataset="image-folder")
    nowhere = tmp_path / "node" / "photos"
    with pytest.raises(ValueError, match=str(nowhere)):
        train_blind(elsewhere, {"partition-id": 1, "data-dir": str(nowhere)})


def train_blind(config: RunConfig, node_config: dict[str, Any]) -> None:
    ask(config, node_config, RecordDict({ARRAYS: to_record({}), CONFIG: ConfigRecord()}), MessageType.TRAIN)


def test_two_nodes_in_one_process_have_separate_folders(config: RunConfig, tmp_path: Path) -> None:
    nodes = [tmp_path / "first", tmp_path / "second"]
    for partition_id, node in enumerate(nodes, start=1):
        train(config, {"partition-id": partition_id, "cache-dir": str(node), "client-state-dir": str(node)}, tmp_path)
    assert [len(files(node)) for node in nodes] == [3, 3]


def test_accuracies_are_those_of_benign_clients_also_with_a_custom_adversary(config: RunConfig, tmp_path: Path) -> None:
    eager = replace(config, adversary="unit.custom_objects:EagerAdversary")
    replies = [
        train(eager, {"partition-id": partition, "num-partitions": 4}, tmp_path, MessageType.EVALUATE)
        for partition in (0, 1)
    ]
    assert not any(reply.has_error() for reply in replies)
    assert [is_abstention(reply) for reply in replies] == [True, False]
