"""Strategies that compare updates do so exactly, also where updates are tiny against the model."""

from collections.abc import Callable

import numpy as np
import pytest
from flwr.app import Message, MessageType
from unit.strategies.in_memory_grid import Latencies, federate, honest_client

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.records.entries import TRAIN_LOSS
from strategies import make_strategy

SIZE, UPDATE = 1000, 1e-4  # squared distances of some 2e-5, of a model whose squared norm is 1e5
CLIENTS = 7
START = {"weight": np.random.default_rng(5).normal(0, 10, SIZE).astype(np.float32)}


def updated(seed: int) -> np.ndarray:
    """Return the clients' models; each update is longer than the one before, and all point to one side."""
    rng = np.random.default_rng(seed)
    updates = UPDATE * (rng.normal(size=(CLIENTS, SIZE)) * rng.uniform(0.9, 1.1, (CLIENTS, 1)) + rng.normal(size=SIZE))
    models: np.ndarray = (START["weight"] + updates).astype(np.float32)
    return models


def krum_order(models: np.ndarray, malicious: int) -> np.ndarray:
    """Return the clients by their score, from distances of updates in float64 (Blanchard et al. 2017)."""
    updates = models.astype(np.float64) - START["weight"]
    distances = np.square(updates[:, None] - updates[None]).sum(axis=2)
    nearest = np.sort(distances, axis=1)[:, 1 : len(models) - malicious - 1]
    return np.argsort(nearest.sum(axis=1))


def bulyan(models: np.ndarray, malicious: int) -> np.ndarray:
    """Return the mean of the numbers nearest to the median of those that Krum selects (El Mhamdi et al. 2018)."""
    theta = len(models) - 2 * malicious
    chosen = models[krum_order(models, malicious)[:theta]].astype(np.float64)
    ranks = np.argsort(np.abs(chosen - np.median(chosen, axis=0)), axis=0)[: theta - 2 * malicious]
    mean: np.ndarray = np.take_along_axis(chosen, ranks, axis=0).mean(axis=0)
    return mean


EXPECTED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "krum": lambda models: models[krum_order(models, 1)[0]],
    "multikrum": lambda models: models[krum_order(models, 1)[:3]].astype(np.float64).mean(axis=0),
    "bulyan": lambda models: bulyan(models, 1),
}
OPTIONS = {"multikrum": '{"num_malicious_nodes": 1, "num_nodes_to_select": 3}'}


@pytest.mark.parametrize("wrapper", ["", "dp-server-fixed-clipping", "dp-client-fixed-clipping"])
@pytest.mark.parametrize("name", EXPECTED)
def test_the_choice_is_that_of_float64(name: str, wrapper: str) -> None:
    inner = OPTIONS.get(name, '{"num_malicious_nodes": 1}')
    options = f'{{"noise_multiplier": 0, "strategy": "{name}", "strategy_options": {inner}}}' if wrapper else inner
    for seed in range(5):
        models = updated(seed)

        def client(partition: int, message: Message, models: np.ndarray = models) -> Message:
            if message.metadata.message_type != MessageType.TRAIN:
                return honest_client(partition, message)
            return messages.train_reply(message, {"weight": models[partition]}, 1, {TRAIN_LOSS: 0.5})

        run = federate(
            Latencies([list(range(CLIENTS))]),
            client=client,
            num_clients=CLIENTS,
            quorum=CLIENTS,
            start=START,
            inner=make_strategy(wrapper or name, options, CLIENTS, CLIENTS),
        )
        np.testing.assert_allclose(run.arrays[0]["weight"], EXPECTED[name](models), rtol=0, atol=UPDATE / 20)
