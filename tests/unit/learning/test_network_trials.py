"""Custom embeddings, attentions and clients: modes, draws, and what depends on what, each tried before a run."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from unit.custom_objects import Watched
from unit.small_federation import SMALL, client_of, same, scenario_of

from fedmeta_flwr.apps.assembly import initial_arrays, require_custom_clients
from fedmeta_flwr.apps.client import app
from fedmeta_flwr.apps.preflight import preflight
from fedmeta_flwr.config import RunConfig, Value
from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.protocol.messages import ARRAYS, CONFIG, message_arrays, to_record

CUSTOM = "unit.custom_objects"
Metrics = dict[str, Any]


@pytest.fixture
def configured(run_config: Callable[..., RunConfig], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Any]:
    def small(**changes: Any) -> RunConfig:
        cache = str(tmp_path_factory.getbasetemp() / "strokes")
        return run_config(**{**SMALL, "outer_steps": 1, "cache_dir": cache, **changes})

    return small


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"embedding": "AlwaysDropping"},
            "embedding: expected .*Dropping' to return the same twice in evaluation mode",
        ),
        ({"embedding": "UnseededDropping"}, "embedding: expected .* to draw from PyTorch's global generator only"),
        ({"embedding": "BatchNormed"}, "embedding: expected .* batch-norm = 'support' .* other queries change"),
        ({"embedding": "BatchNormedInTraining"}, "embedding: .* other queries change the result"),
        (
            {"embedding": "RunningStatistics"},
            "embedding: expected .* to exchange only parameters .* found 'norm.running_mean'",
        ),
        ({"embedding": "HiddenStatistics"}, "embedding: .* a pass in training mode changes 'norm.running_mean'"),
        ({"attention": "AlwaysDroppingAttention"}, "attention: expected .* the same twice in evaluation mode"),
        (
            {"attention": "RunningAttention", "batch_norm": "transductive"},
            "attention: .* a pass in training mode changes 'norm.running_mean'",
        ),
        ({"attention": "MeanAttention"}, "attention: expected .* batch-norm = 'support' .* other queries change"),
    ],
)
def test_a_network_that_would_spoil_results_is_refused(
    configured: Callable[..., RunConfig], changes: dict[str, str], message: str
) -> None:
    config = configured(**{key: name if key == "batch_norm" else f"{CUSTOM}:{name}" for key, name in changes.items()})
    with pytest.raises(RegistryError, match=message):
        require_custom_clients(config, scenario_of(config))


@pytest.mark.parametrize(
    ("embedding", "at_once", "message"),
    [
        (f"{CUSTOM}:Dropping", 8, "episodes-at-once: the GPU takes one episode after the other, .* random operation"),
        (f"{CUSTOM}:Dropping", 1, "^$"),
        (f"{CUSTOM}:Linear", 8, "^$"),
        ("conv4", 8, "^$"),
    ],
)
def test_a_run_on_a_gpu_says_beforehand_if_its_network_learns_from_one_episode_at_a_time(
    configured: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch, embedding: str, at_once: int, message: str
) -> None:
    config = configured(embedding=embedding, episodes_at_once=at_once, device="auto")
    assert not preflight(config).warning
    monkeypatch.setattr("fedmeta_flwr.apps.slow_ways.choose_device", lambda _: torch.device("cuda"))
    assert re.search(message, preflight(config).warning)


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding": f"{CUSTOM}:Linear"},
        {"embedding": f"{CUSTOM}:Dropping"},
        {"embedding": "examples.custom_embedding:SmallResNet"},
        {"embedding": f"{CUSTOM}:BatchNormed", "batch_norm": "transductive"},
        {"attention": f"{CUSTOM}:DroppingAttention"},
        {"attention": "examples.custom_attention:Mahalanobis"},
        {"attention": f"{CUSTOM}:MeanAttention", "batch_norm": "transductive"},
    ],
)
def test_a_sound_network_is_accepted_and_the_global_state_stays(
    configured: Callable[..., RunConfig], changes: dict[str, str]
) -> None:
    state = torch.get_rng_state()
    config = configured(**changes)
    require_custom_clients(config, scenario_of(config))
    assert torch.equal(state, torch.get_rng_state())


@pytest.fixture
def passes() -> Iterator[list[tuple[bool, bool]]]:
    Watched.passes.clear()
    yield Watched.passes
    Watched.passes.clear()


@pytest.mark.parametrize("defense", ["none", "rescue", "federation"])
def test_training_is_in_training_mode_and_every_prediction_in_evaluation_mode(
    configured: Callable[..., RunConfig], tmp_path: Path, passes: list[tuple[bool, bool]], defense: str
) -> None:
    curves = "matching" if defense == "federation" else "fine-tuning matching head"
    client = client_of(configured(embedding=f"{CUSTOM}:Watched", defense=defense, step_curves=curves), tmp_path)
    parameters = client.get_parameters({})
    passes.clear()
    client.fit(parameters, {"server-round": 3})
    assert set(passes) == {(True, True)}
    passes.clear()
    client.evaluate(parameters, {"server-round": 3})
    assert set(passes) == {(True, True), (False, False)}


@pytest.mark.parametrize("algorithm", ["maml", "reptile"])
def test_a_client_that_has_evaluated_trains_in_training_mode_again(
    configured: Callable[..., RunConfig], tmp_path: Path, passes: list[tuple[bool, bool]], algorithm: str
) -> None:
    client = client_of(configured(embedding=f"{CUSTOM}:Watched", algorithm=algorithm), tmp_path)
    client.model.eval()
    passes.clear()
    client.fit(client.get_parameters({}), {"server-round": 3})
    assert {is_training for is_training, _ in passes} == {True}


def answers(config: RunConfig, folder: Path, state: int, rounds: tuple[int, ...]) -> tuple[list[np.ndarray], Metrics]:
    """Train in some rounds and evaluate, with PyTorch's global state left at `state` by earlier code."""
    torch.manual_seed(state)
    client = client_of(config, folder)
    parameters = client.get_parameters({})
    for server_round in rounds:
        trained = client.fit(parameters, {"server-round": server_round})[0]
    return trained, client.evaluate(trained, {"server-round": rounds[-1]})[2]


@pytest.mark.parametrize(
    "changes",
    [
        {"embedding": f"{CUSTOM}:Dropping"},
        {"embedding": f"{CUSTOM}:Dropping", "defense": "rescue", "attention": f"{CUSTOM}:DroppingAttention"},
    ],
)
def test_dropout_is_the_same_in_two_runs_of_a_seed_and_in_a_resumed_one(
    configured: Callable[..., RunConfig], tmp_path: Path, changes: dict[str, str]
) -> None:
    config = configured(**changes, step_curves="fine-tuning matching head")
    unbroken, found = answers(config, tmp_path, 1, (2, 3))
    resumed, again = answers(config, tmp_path, 2, (3,))
    assert same(unbroken, resumed)
    assert found == again
    other, _ = answers(config, tmp_path, 1, (2,))
    assert not same(unbroken, other)


def test_the_counts_of_a_network_with_dropout_do_not_change_when_step_curves_are_measured(
    configured: Callable[..., RunConfig], tmp_path: Path
) -> None:
    plain, curves = (
        answers(configured(embedding=f"{CUSTOM}:Dropping", step_curves=names), tmp_path, 1, (3,))[1]
        for names in ("", "fine-tuning head")
    )
    assert plain == {key: curves[key] for key in plain}


@pytest.mark.usefixtures("task_identity")
def test_a_client_that_draws_noise_draws_the_same_in_two_runs_of_a_seed(
    configured: Callable[..., RunConfig],
) -> None:
    config = configured(client=f"{CUSTOM}:NoisyClient")
    arrays = to_record(initial_arrays(config, scenario_of(config)))

    def fit(server_round: int, state: int) -> list[bytes]:
        torch.manual_seed(state)
        content = RecordDict({ARRAYS: arrays, CONFIG: ConfigRecord({"server-round": server_round})})
        node: dict[str, Value] = {"partition-id": 1, "num-partitions": 4}
        context = Context(7, 1, node, RecordDict(), config.to_run_config())
        reply = app(Message(content, dst_node_id=1, message_type=MessageType.TRAIN), context)
        return [array.tobytes() for array in message_arrays(reply).values()]

    assert fit(3, state=1) == fit(3, state=2)
    state = torch.get_rng_state()
    assert fit(4, state=1) != fit(3, state=1)
    torch.manual_seed(2)
    assert torch.equal(state, torch.get_rng_state())
