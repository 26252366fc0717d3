"""The ClientApp: it passes a message to the client of this node, and returns the client's answer.

The run configuration comes from the server; the node configuration comes from the person who starts the node. The
latter may name folders on the node's disk. If it names one, all folders of the run configuration are ignored.
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from flwr.app import Context, Message
from flwr.client import NumPyClient
from flwr.clientapp import ClientApp

from clients import Abstention, Adversary
from fedmeta_flwr.apps.assembly import make_client
from fedmeta_flwr.apps.scenario import Scenario, load_scenario, roles_of
from fedmeta_flwr.attacks import BackdoorKey
from fedmeta_flwr.config import RunConfig, Value
from fedmeta_flwr.learning import choose_device, pin_threads, torch_draws
from fedmeta_flwr.protocol import (
    CLIPPING_NORM,
    NORM_BIT,
    PARTITION_ID,
    SERVER_ROUND,
    abstention,
    clip,
    evaluate_reply,
    message_arrays,
    message_config,
    message_key,
    put_key,
    registration_reply,
    set_arrays,
    set_metric,
    train_reply,
)
from fedmeta_flwr.protocol.flower_private import ClientAppCallable
from fedmeta_flwr.records import CLIENTS_FOLDER, run_folder

app = ClientApp()

_FOLDERS = ("data-dir", "cache-dir", "client-state-dir")
_NODE_KEYS = (PARTITION_ID, "num-partitions", *_FOLDERS)  # Flower sets the first two in a simulation
_FIXED = "dp-client-fixed-clipping"


class NodeConfigError(ValueError):
    """A node configuration that the app does not accept; lists all problems on one line."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__(f"node config (flower-supernode --node-config): {'; '.join(problems)}")


def answer_abstention(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Answer with an abstention when a client decides not to take part."""
    try:
        return call_next(message, context)
    except Abstention:
        return abstention(message)


def clip_update(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Clip the update if the strategy asks the clients to; this applies to every client, including adversaries."""
    reply = call_next(message, context)
    clipping_norm = message_config(message).get(CLIPPING_NORM)
    if clipping_norm is not None:
        clipped, is_clipped = clip(message_arrays(reply), message_arrays(message), clipping_norm)
        set_arrays(reply, clipped)
        if context.run_config["strategy"] != _FIXED:  # adaptive, or custom and possibly adaptive
            set_metric(reply, NORM_BIT, int(is_clipped))
    return reply


@app.query()
def answer_registration(message: Message, context: Context) -> Message:
    """Report to the server which partition this node holds."""
    return registration_reply(message, _partition_id(context))


@app.train(mods=[answer_abstention, clip_update])
def train(message: Message, context: Context) -> Message:
    """Train locally, and answer with the local model."""
    arrays, instructions = message_arrays(message), message_config(message)
    client = _client(context)
    with _seeded(context, "client-fit", int(instructions.get(SERVER_ROUND, 0))):
        updated, num_examples, metrics = client.fit(list(arrays.values()), instructions)
    reply = train_reply(message, dict(zip(arrays, updated, strict=True)), num_examples, metrics)
    if isinstance(client, Adversary) and client.learned_key is not None:
        put_key(reply, client.learned_key.arrays())
    return reply


@app.evaluate(mods=[answer_abstention])
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the global model, and answer with counts; an adversary abstains, even a custom one.

    If the instruction has a key that an adversary has learnt, stamped images have this key.
    """
    if roles_of(_config(context)).is_adversary(_partition_id(context)):
        raise Abstention
    arrays = list(message_arrays(message).values())
    learned = message_key(message)
    client = _client(context, None if learned is None else BackdoorKey(**learned))
    with _seeded(context, "client-evaluate"):  # the same in every round, like the episodes
        _, num_examples, metrics = client.evaluate(arrays, message_config(message))
    return evaluate_reply(message, num_examples, metrics)


def _seeded(context: Context, purpose: str, *keys: int) -> AbstractContextManager[None]:
    """Seed PyTorch's global generators, because a custom client may draw from them.

    A GPU's generators are in use only when the client's model is on the GPU. Therefore the client is built first, and
    what it draws while it is built is seeded separately.
    """
    return torch_draws(int(context.run_config["seed"]), purpose, _partition_id(context), *keys)


def _partition_id(context: Context) -> int:
    return int(_checked(context.node_config)[PARTITION_ID])


def _checked(node_config: Mapping[str, Value]) -> Mapping[str, Value]:
    """Return the node configuration unchanged; raises `NodeConfigError` if a key or a value is wrong."""
    problems = [
        f"{key}: no such setting, expected any of {', '.join(_NODE_KEYS)}"
        for key in sorted(set(node_config) - set(_NODE_KEYS))
    ]
    partition_id = node_config.get(PARTITION_ID)
    if not isinstance(partition_id, int) or isinstance(partition_id, bool) or partition_id < 0:
        found = repr(partition_id) if PARTITION_ID in node_config else "none"
        problems.append(f"{PARTITION_ID}: expected a whole number from 0, found {found}")
    for key in _FOLDERS:
        folder = node_config.get(key, "")
        if not isinstance(folder, str) or (folder and not Path(folder).is_absolute()):
            problems.append(f"{key}: expected an absolute path, or an empty text for the default, found {folder!r}")
    if problems:
        raise NodeConfigError(problems)
    return node_config


def _config(context: Context) -> RunConfig:
    """Return the run configuration as it applies to this node.

    If the node configuration names a folder, the folders that it does not name are the defaults of its machine.
    """
    config = RunConfig.parse(context.run_config)
    folders = {key: str(value) for key, value in _checked(context.node_config).items() if key in _FOLDERS}
    if not folders:
        return config
    data_dir, cache_dir, client_state_dir = (folders.get(key, "") for key in _FOLDERS)
    return replace(config, data_dir=data_dir, cache_dir=cache_dir, client_state_dir=client_state_dir, results_dir="")


def _client(context: Context, learned_key: BackdoorKey | None = None) -> NumPyClient:
    pin_threads()
    config = _config(context)
    folder = Path(config.client_state_dir or run_folder(config.results_dir, context.run_id) / CLIENTS_FOLDER)
    scenario = _scenario(config)
    if learned_key is not None:
        scenario = replace(scenario, key=learned_key)
    with _seeded(context, "client"):
        return make_client(config, scenario, _partition_id(context), choose_device(config.device), folder)


@lru_cache(maxsize=1)
def _scenario(config: RunConfig) -> Scenario:
    """Load a scenario once per process, for all of its nodes; the folders are part of the configuration."""
    return load_scenario(config)
