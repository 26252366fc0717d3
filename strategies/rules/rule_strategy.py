"""Calls of a server rule by `FirstArrivals`: all clients are asked, as FedAvg asks them, and the rule aggregates."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from flwr.app import ArrayRecord, MetricRecord
from flwr.serverapp.strategy import FedAvg, Strategy

from fedmeta_flwr import seeding
from fedmeta_flwr.protocol import Arrays, messages
from strategies.errors import StrategyError
from strategies.federation import Federation
from strategies.received_update import ReceivedUpdate
from strategies.rules.aggregation_input import weighted
from strategies.rules.base import ClientUpdate, RuleContext, ServerRule, ServerUpdate
from strategies.rules.inner_strategy import InnerStrategy
from strategies.rules.state import get_state, set_state

_LOG = logging.getLogger("flwr.server_rule")


class RuleStrategy(InnerStrategy):
    """A server rule in place of a strategy: the rule aggregates the arrays, and metrics are averaged as in FedAvg.

    Parameters
    ----------
    rule : ServerRule
        Aggregates.
    federation, seed, began
        As in `InnerStrategy`.
    server_update : callable, optional
        As in `RuleContext`.
    """

    def __init__(
        self, rule: ServerRule, federation: Federation, seed: int, began: int, server_update: ServerUpdate | None = None
    ) -> None:
        everyone = federation.num_clients
        selection = FedAvg(min_train_nodes=everyone, min_evaluate_nodes=everyone, min_available_nodes=everyone)
        super().__init__(selection, federation, seed, began)
        self._selection = selection
        self._rule = rule
        self._server_update = server_update

    @property
    def name(self) -> str:
        """Class of the rule, for logs and messages."""
        return type(self._rule).__name__

    def summary(self) -> None:
        """Log that all clients are asked."""
        _LOG.info("\t└──> Server rule: all clients are asked")

    def get_state(self) -> dict[str, Any]:
        """Return the rule's state; as in `InnerStrategy`."""
        return {"began": self.began, "state": get_state(self._rule)}

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore the rule's state; as in `InnerStrategy`."""
        set_state(self._rule, saved["state"])
        self.began = saved["began"]

    def _aggregate(
        self, server_round: int, received: Sequence[ReceivedUpdate], arrays: ArrayRecord
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        in_order = sorted(received, key=lambda one: one.arrival.partition_id)
        updates = [self._update(one, list(arrays)) for one in in_order]
        context = self._context(server_round, messages.from_record(arrays))
        try:
            aggregated = self._rule.aggregate(updates, context)
        except Exception as error:
            problem = f"round {server_round}: rule {self.name}: {type(error).__name__}: {error}"
            raise StrategyError(problem) from error
        contents = [reply.content for reply in weighted([one.reply for one in in_order], self.federation.weighting)]
        metrics = self._selection.train_metrics_aggr_fn(contents, messages.NUM_EXAMPLES)
        return self._record(server_round, aggregated), metrics

    def _update(self, received: ReceivedUpdate, names: Sequence[str]) -> ClientUpdate:
        arrival, found = received.arrival, messages.message_arrays(received.reply)
        is_uniform = self.federation.weighting == "uniform"
        return ClientUpdate(
            partition_id=arrival.partition_id,
            arrays=_read_only({name: found[name] for name in names}),
            sent=_read_only({name: received.sent[name] for name in names}),
            weight=1.0 if is_uniform else float(arrival.metrics[messages.NUM_EXAMPLES]),
            metrics=arrival.metrics,
            sent_in_round=arrival.sent_in_round,
            is_late=received.is_late,
        )

    def _context(self, server_round: int, arrays: Arrays) -> RuleContext:
        return RuleContext(
            server_round=server_round,
            arrays=_read_only(arrays),
            quorum=self.federation.quorum,
            num_clients=self.federation.num_clients,
            tolerated_adversaries=self.federation.tolerated_adversaries,
            rng=seeding.generator(self.seed, "server-rule", server_round),
            server_update=self._server_update,
        )

    def _record(self, server_round: int, aggregated: object) -> ArrayRecord:
        if not isinstance(aggregated, Mapping) or not all(isinstance(name, str) for name in aggregated):
            raise self._misbehaved(
                server_round, f"expected the new global arrays by name, found {type(aggregated).__name__}"
            )
        arrays = {name: np.asarray(array) for name, array in aggregated.items()}
        for name, array in arrays.items():
            if array.dtype.kind not in "fiub":
                raise self._misbehaved(server_round, f"array {name!r}: expected real numbers, found {array.dtype}")
        return messages.to_record(arrays)


def make_inner(
    rule: Strategy | ServerRule, federation: Federation, seed: int, began: int, server_update: ServerUpdate | None
) -> InnerStrategy:
    """Return the object through which `FirstArrivals` calls a Flower strategy or a server rule."""
    if isinstance(rule, ServerRule):
        return RuleStrategy(rule, federation, seed, began, server_update)
    return InnerStrategy(rule, federation, seed, began)


def _read_only(arrays: Arrays) -> Arrays:
    """Return views that cannot be written to: updates share the arrays that they started from."""
    views = {name: array.view() for name, array in arrays.items()}
    for view in views.values():
        view.flags.writeable = False
    return views
