"""A federation whose clients send back the arrays they were sent, to measure the cost of a round itself."""

import time
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.records.writer import ResultsWriter
from strategies import Federation, FirstArrivals, Hooks, RoundSchedule

client = ClientApp()
server = ServerApp()


@client.query()
def answer_registration(message: Message, context: Context) -> Message:
    """Tell the server which partition this node holds."""
    return messages.registration_reply(message, int(context.node_config[messages.PARTITION_ID]))


@client.train()
def train(message: Message, context: Context) -> Message:
    """Send back the global arrays."""
    return messages.train_reply(message, messages.message_arrays(message), 1, {})


@server.main()
def main(grid: Grid, context: Context) -> None:
    """Run the rounds, and write their records."""
    config = context.run_config
    began = time.monotonic()
    with ResultsWriter(Path(str(config["results-dir"]))) as writer:
        writer.write_run({"config": dict(config)})
        strategy = FirstArrivals(
            FedAvg(),
            Federation(num_clients=int(config["num-clients"]), quorum=int(config["quorum"])),
            schedule=RoundSchedule(is_evaluated=lambda _: False),
            hooks=Hooks(on_round=lambda record, _: writer.write_round(record)),
        )
        arrays = {"numbers": np.zeros(int(config["numbers"]), np.float32)}
        strategy.start(grid, messages.to_record(arrays), num_rounds=int(config["num-server-rounds"]))
        writer.write_end("completed", time.monotonic() - began)
