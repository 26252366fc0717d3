"""A federation small enough for unit tests: its configuration, scenario and clients."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from clients import BenignClient
from fedmeta_flwr.apps.assembly import make_client
from fedmeta_flwr.apps.scenario import Scenario, load_scenario
from fedmeta_flwr.config import RunConfig, Value

SMALL: dict[str, Value] = {
    "image_size": 16,
    "filters": 8,
    "strokes_classes": 60,  # 10 for each client
    "pretrain_rounds": 1,
    "attack_round": 3,
    "num_server_rounds": 6,
    "poison_outer_steps": 2,
    "pretrain_outer_steps": 4,
    "outer_steps": 3,
    "meta_batch_size": 1,
    "evaluate_episodes": 2,
    "matching_way": 6,
    "matching_steps": 2,
    "local_curve_steps": "0 1 3",
    "fine_tuning_curve_steps": "0 2 5",
    "fine_tuning_curve_episodes": 1,
    "device": "cpu",
}

RunConfigs = Callable[..., RunConfig]


def strokes_cache(tmp_path: Path) -> str:
    """Return a folder beside a test's own, where all tests of a process find the strokes that the first has drawn."""
    return str(tmp_path.parent / "strokes")


@cache
def scenario_of(config: RunConfig) -> Scenario:
    return load_scenario(config)


def client_of(config: RunConfig, folder: Path, partition_id: int = 1) -> BenignClient:
    """Return a new object of a client, as after a restart; `folder` holds its memory."""
    client = make_client(config, scenario_of(config), partition_id, torch.device("cpu"), folder)
    assert isinstance(client, BenignClient)
    return client


def same(found: list[np.ndarray], expected: list[np.ndarray]) -> bool:
    """Return whether two models are equal to the bit."""
    return [array.tobytes() for array in found] == [array.tobytes() for array in expected]


def bits(arrays: dict[str, Any]) -> dict[str, bytes]:
    return {name: np.asarray(array).tobytes() for name, array in arrays.items()}
