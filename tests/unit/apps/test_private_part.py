"""A defended client's private part is in no message: the bytes of real replies of the real app are searched for it."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from unit.small_federation import SMALL, RunConfigs, client_of

from clients.memory import ClientMemory
from fedmeta_flwr.apps.client import app
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.learning.matching_network import MatchingNetwork
from fedmeta_flwr.learning.models import get_arrays
from fedmeta_flwr.protocol.flower_private import message_to_proto
from fedmeta_flwr.protocol.messages import ARRAYS, CONFIG, message_arrays, message_metrics, to_record

pytestmark = pytest.mark.usefixtures("task_identity")

WINDOW = 8
ROUNDS = (1, 2, 3)  # round 2 and 3 with curves along local steps
Private = list[dict[str, np.ndarray]]


@pytest.fixture
def config(run_config: RunConfigs, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """Return a defended federation of 32 features (28 pixels, 8 filters), whose clients work in `tmp_path`."""
    cache = str(tmp_path_factory.getbasetemp() / "strokes")
    settings = {**SMALL, "image_size": 28, "step_curves": "matching", "results_dir": str(tmp_path / "run")}
    return run_config(**settings, defense="federation", cache_dir=cache)


def ask(config: RunConfig, content: RecordDict, kind: str) -> Message:
    context = Context(
        run_id=7, node_id=1, node_config={"partition-id": 1}, state=RecordDict(), run_config=config.to_run_config()
    )
    reply = app(Message(content, dst_node_id=1, message_type=kind), context)
    assert not context.state
    return reply


def drive(config: RunConfig, tmp_path: Path) -> tuple[list[Message], Private]:
    """Let the app answer a registration and go through some rounds; return its replies and what it kept in each."""
    client = client_of(config, tmp_path / "bystander")
    attention = client.model.attention
    arrays = get_arrays(client.shared)
    replies, private = [ask(config, RecordDict(), MessageType.QUERY)], []
    for server_round in ROUNDS:
        content = RecordDict({ARRAYS: to_record(arrays), CONFIG: ConfigRecord({"server-round": server_round})})
        replies.append(ask(config, content, MessageType.TRAIN))
        arrays = message_arrays(replies[-1])
        content = RecordDict({ARRAYS: to_record(arrays), CONFIG: ConfigRecord({"server-round": server_round})})
        replies.append(ask(config, content, MessageType.EVALUATE))
        kept = ClientMemory.of(tmp_path / "run" / "clients", 1).recall(get_arrays(attention), server_round + 1)
        assert kept is not None
        private.append(kept)
    return replies, private


def serialised(message: Message) -> bytes:
    """Return the bytes that Flower sends: `message_to_proto`, as its gRPC adapters and its simulation do."""
    return bytes(message_to_proto(message).SerializeToString())


def needles(array: np.ndarray) -> Iterator[bytes]:
    """Yield every window of 8 numbers (or all, if fewer), unchanged, and as the doubles of a metric."""
    flat = array.ravel()
    width = min(WINDOW, flat.size)
    for start in range(flat.size - width + 1):
        window = flat[start : start + width]
        yield window.tobytes()
        yield window.astype(np.float64).tobytes()


def is_in(array: np.ndarray, content: bytes) -> bool:
    return any(needle in content for needle in needles(array))


def test_the_private_part_is_in_no_message(config: RunConfig, tmp_path: Path) -> None:
    replies, private = drive(config, tmp_path)
    assert [reply.metadata.message_type for reply in replies] == ["query", *["train", "evaluate"] * len(ROUNDS)]
    assert not any(reply.has_error() for reply in replies)
    assert any(":" in key for key in message_metrics(replies[-1]))
    assert [set(kept) for kept in private] == [{"weight", "log_temperature"}] * len(ROUNDS)
    for kept in private:
        assert kept["weight"].shape == (32,)
        assert len(set(kept["weight"].tolist())) > WINDOW  # trained: a window cannot be found by chance
        for reply in replies:
            for array in (kept["weight"], kept["log_temperature"], np.exp(kept["log_temperature"])):
                assert not is_in(array, serialised(reply))


def test_the_same_search_finds_the_shared_embedding_and_whatever_private_is_smuggled_in(
    config: RunConfig, tmp_path: Path
) -> None:
    replies, private = drive(config, tmp_path)
    twin = client_of(config, tmp_path / "twin")  # the same round, outside of the app
    twin.fit(twin.get_parameters({}), {"server-round": 1})
    assert isinstance(twin.model, MatchingNetwork)
    for array in get_arrays(twin.model.embedding).values():
        assert is_in(array, serialised(replies[1]))
        assert array.tobytes() in serialised(replies[1])
        assert not is_in(array, serialised(replies[2]))  # an evaluation carries only counts
    for name, array in get_arrays(twin.model.attention).items():
        assert array.tobytes() == private[0][name].tobytes()
        replies[1].content[ARRAYS] = to_record({"blocks.0.conv.weight": np.concatenate([np.zeros(9), array.ravel()])})
        assert is_in(array, serialised(replies[1]))
        replies[2].content.metric_records["metrics"]["train-loss"] = array.ravel().tolist()
        assert is_in(array, serialised(replies[2]))


def test_the_private_part_is_only_in_the_clients_folder(
    run_config: RunConfigs, config: RunConfig, tmp_path: Path
) -> None:
    node_folder = tmp_path / "node"
    elsewhere = run_config(**{**vars(config), "client_state_dir": str(node_folder)})
    arrays = get_arrays(client_of(config, tmp_path / "bystander").shared)
    content = RecordDict({ARRAYS: to_record(arrays), CONFIG: ConfigRecord({"server-round": 1})})
    ask(elsewhere, content, MessageType.TRAIN)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == [
        "node/client-1.safetensors"
    ]
