"""The server's rule as an attacker knows it: a function that it can try on updates that it simulates."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from flwr.app import ConfigRecord, Message, RecordDict

from fedmeta_flwr.attacks.knowledge import Aggregate, Arrays
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.protocol import messages
from fedmeta_flwr.protocol.flower_private import as_server_task
from fedmeta_flwr.records import TRAIN_LOSS, Arrival

_SEED = 2**40
"""Of the rule's own draws, such as noise. It is not the run's seed: an attacker does not know what the server draws."""

_RUN_ID = 0


def rule_of(config: RunConfig) -> Aggregate:
    """Return the rule of a run; it is made anew for each call, and so has no state from earlier rounds.

    All updates have the same weight, and report a training loss of 1. A rule that needs data of the server, and one
    that cannot aggregate the updates, raise a `StrategyError`.
    """
    return partial(_aggregate, config)


@dataclass(frozen=True)
class _Nodes:
    """The part of a Flower grid with which a strategy selects clients: node i + 1 holds partition i."""

    num_clients: int

    @property
    def roster(self) -> dict[int, int]:
        return {partition_id + 1: partition_id for partition_id in range(self.num_clients)}

    def get_node_ids(self) -> list[int]:
        return list(self.roster)


def _aggregate(config: RunConfig, models: Sequence[Arrays], global_arrays: Arrays) -> Arrays:
    from strategies import Federation, make_strategy
    from strategies.received_update import ReceivedUpdate
    from strategies.rules.rule_strategy import make_inner

    rule = make_strategy(config.strategy, config.strategy_options, config.quorum, config.num_clients)
    federation = Federation(
        num_clients=config.num_clients, quorum=config.quorum, tolerated_adversaries=config.num_adversaries
    )
    inner = make_inner(rule, federation, _SEED, 1, None)
    metrics = {**inner.required_metrics(), TRAIN_LOSS: 1.0}
    sent = dict(global_arrays)
    with as_server_task(_RUN_ID), _silent(logging.getLogger("flwr")):
        nodes = cast(Any, _Nodes(config.num_clients))
        inner.configure_train(1, messages.to_record(sent), ConfigRecord(), nodes)
        received = []
        for partition_id, model in enumerate(models):
            instruction = Message(RecordDict(), dst_node_id=partition_id + 1, message_type="train")
            reply = messages.train_reply(instruction, model, 1, metrics)
            arrival = Arrival(partition_id, 1, 0.0, 0.0, {messages.NUM_EXAMPLES: 1, **metrics})
            received.append(ReceivedUpdate(arrival, reply, sent, is_late=False))
        aggregated, _ = inner.aggregate_train(1, received, messages.to_record(sent))
    return messages.from_record(aggregated)


@contextmanager
def _silent(logger: logging.Logger) -> Iterator[None]:
    """Drop what is logged in a block: Flower's strategies log each call."""
    was_disabled, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was_disabled
