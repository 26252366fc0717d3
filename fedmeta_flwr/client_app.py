"""The ClientApp: a message to the client of this node, and its answer back."""

from functools import lru_cache
from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.clientapp.mod import adaptiveclipping_mod, fixedclipping_mod
from flwr.clientapp.typing import ClientAppCallable

from clients import Abstention, BenignClient, make_client
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.device import choose_device, pin_threads
from fedmeta_flwr.messages import (
    PARTITION_ID,
    abstention,
    evaluate_reply,
    message_arrays,
    message_config,
    roll_call_reply,
    train_reply,
)
from fedmeta_flwr.results import CLIENTS_FOLDER, run_folder
from fedmeta_flwr.scenario import Scenario, load_scenario

app = ClientApp()

_CLIPPING = {"dp-client-fixed-clipping": fixedclipping_mod, "dp-client-adaptive-clipping": adaptiveclipping_mod}


def answer_abstention(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Turn a client's decision to take no part into its reply."""
    try:
        return call_next(message, context)
    except Abstention:
        return abstention(message)


def clip_update(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    """Clip the update where the strategy leaves this to the clients; it applies to every client, adversary included."""
    clipping = _CLIPPING.get(str(context.run_config["strategy"]))
    return clipping(message, context, call_next) if clipping else call_next(message, context)


@app.query()
def answer_roll_call(message: Message, context: Context) -> Message:
    """Tell the server which partition this node holds."""
    return roll_call_reply(message, _partition_id(context))


@app.train(mods=[answer_abstention, clip_update])
def train(message: Message, context: Context) -> Message:
    """Train locally, and answer with the local model."""
    arrays = message_arrays(message)
    updated, num_examples, metrics = _client(context).fit(list(arrays.values()), message_config(message))
    return train_reply(message, dict(zip(arrays, updated, strict=True)), num_examples, metrics)


@app.evaluate(mods=[answer_abstention])
def evaluate(message: Message, context: Context) -> Message:
    """Evaluate the global model, and answer with counts."""
    arrays = list(message_arrays(message).values())
    _, num_examples, metrics = _client(context).evaluate(arrays, message_config(message))
    return evaluate_reply(message, num_examples, metrics)


def _partition_id(context: Context) -> int:
    return int(context.node_config[PARTITION_ID])


def _client(context: Context) -> BenignClient:
    pin_threads()
    config = RunConfig.parse(context.run_config)
    folder = Path(config.client_state_dir or run_folder(config.results_dir, context.run_id) / CLIENTS_FOLDER)
    return make_client(config, _scenario(config), _partition_id(context), choose_device(config.device), folder)


@lru_cache(maxsize=1)
def _scenario(config: RunConfig) -> Scenario:
    """Load a run's scenario once in a process; a node may be served by any process."""
    return load_scenario(config)
