"""Calls of the strategy that `FirstArrivals` wraps: with the strategy's own rounds, and with seeded draws."""

from collections.abc import Iterable, Sequence
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import DifferentialPrivacyClientSideAdaptiveClipping, QFedAvg, Strategy

from fedmeta_flwr.protocol import NORM_BIT, SERVER_ROUND
from strategies.errors import StrategyError
from strategies.federation import Federation
from strategies.global_random import seeded_global_random
from strategies.received_update import ReceivedUpdate
from strategies.rules.aggregation_input import training_input, weighted
from strategies.rules.conform import conform
from strategies.rules.feasibility import selects_evaluators
from strategies.rules.server_side_clipping import ServerSideAdaptiveClipping
from strategies.rules.state import get_state, set_state, wrapped_strategies
from strategies.transport.grid import ArrivalGrid


class InnerStrategy:
    """A strategy, called with the number of rounds that it has taken part in, from 1 as in Flower.

    FedAdam corrects the bias of its moments by this number: they are 0 at the start of the strategy's first round, even
    if the federation continues from an earlier model. Clients and records use the federation's rounds.

    Parameters
    ----------
    strategy : Strategy
        Any.
    federation : Federation
        The federation whose updates it aggregates.
    seed : int
        Seed of its draws from the global random states of Python, NumPy and PyTorch.
    began : int
        The federation's round that is the strategy's first one.
    """

    def __init__(self, strategy: Strategy, federation: Federation, seed: int, began: int) -> None:
        self.strategy = strategy
        self.federation = federation
        self.seed = seed
        self.began = began

    @property
    def name(self) -> str:
        """Class of the strategy that aggregates, for logs and messages."""
        return type(self.strategy).__name__

    def summary(self) -> None:
        """Log its settings."""
        self.strategy.summary()

    def required_metrics(self) -> dict[str, float]:
        """Return the metrics that it needs in every reply, with the least value of each."""
        return _required_metrics(self.strategy)

    def get_state(self) -> dict[str, Any]:
        """Return its state between rounds; raises `StrategyError` if that cannot be saved."""
        return {"began": self.began, "state": get_state(self.strategy)}

    def set_state(self, saved: dict[str, Any]) -> None:
        """Restore the result of `get_state`; raises `StrategyError` if it is of another strategy."""
        set_state(self.strategy, saved["state"])
        self.began = saved["began"]

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: ArrivalGrid
    ) -> list[Message]:
        """Return its instructions; raises `StrategyError` if they are for fewer clients than the quorum."""
        quorum = self.federation.quorum
        config[SERVER_ROUND] = server_round
        with seeded_global_random(self.seed, "select-for-training", server_round):
            instructions = list(self.strategy.configure_train(self._strategy_round(server_round), arrays, config, grid))
        nodes = self._asked(server_round, instructions, grid)
        if len(nodes) < max(quorum, len(instructions)):
            raise self._misbehaved(
                server_round,
                f"expected one instruction each to at least {quorum} clients (the quorum), found "
                f"{len(instructions)} to {len(nodes)} clients",
            )
        return instructions

    def aggregate_train(
        self, server_round: int, received: Sequence[ReceivedUpdate], arrays: ArrayRecord
    ) -> tuple[ArrayRecord, MetricRecord | None]:
        """Return new global arrays in the form of the old ones; raises `StrategyError` if it returns anything else."""
        with seeded_global_random(self.seed, "aggregate", server_round):
            try:
                aggregated, metrics = self._aggregate(server_round, received, arrays)
            except ArithmeticError as error:  # Flower's clipping divides by the norm of an update, for instance
                problem = f"expected it to aggregate {len(received)} updates, found {type(error).__name__}: {error}"
                raise self._misbehaved(server_round, problem) from error
        if not aggregated:
            raise self._misbehaved(server_round, f"expected aggregated arrays from {len(received)} updates, found none")
        try:
            return conform(aggregated, arrays), metrics
        except ValueError as error:
            raise self._misbehaved(server_round, str(error)) from error

    def _aggregate(
        self, server_round: int, received: Sequence[ReceivedUpdate], arrays: ArrayRecord
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        replies = training_input(received, arrays, self.strategy, self.federation.weighting)
        return self.strategy.aggregate_train(self._strategy_round(server_round), replies)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: ArrivalGrid
    ) -> list[Message]:
        """Return its instructions; its draws are the same in every round, so that results can be compared.

        If it selects some of the clients, it selects among those that evaluate. Raises `StrategyError` if it asks only
        clients that never evaluate.
        """
        config[SERVER_ROUND] = server_round
        abstaining = self.federation.abstainers.evaluation
        hidden = abstaining if selects_evaluators(self.strategy) else ()
        with seeded_global_random(self.seed, "select-for-evaluation"), grid.hiding(hidden):
            instructions = list(
                self.strategy.configure_evaluate(self._strategy_round(server_round), arrays, config, grid)
            )
        asked = self._asked(server_round, instructions, grid)
        if asked and asked.issubset(abstaining):
            raise self._misbehaved(
                server_round, f"expected it to ask clients that evaluate, found {sorted(asked)}, which never do"
            )
        return instructions

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return the aggregated metrics of an evaluation; None if nobody has taken part."""
        counted = weighted(list(replies), self.federation.weighting)
        with seeded_global_random(self.seed, "aggregate-evaluation", server_round):
            return self.strategy.aggregate_evaluate(self._strategy_round(server_round), counted) if counted else None

    def _asked(self, server_round: int, instructions: Iterable[Message], grid: ArrivalGrid) -> set[int]:
        """Return the partitions that are asked; raises `StrategyError` for a node outside the federation."""
        nodes = {instruction.metadata.dst_node_id for instruction in instructions}
        if unknown := sorted(nodes - set(grid.roster)):
            raise self._misbehaved(server_round, f"expected nodes of the federation, found {unknown[0]}")
        return {grid.roster[node_id] for node_id in nodes}

    def _strategy_round(self, server_round: int) -> int:
        return server_round - self.began + 1

    def _misbehaved(self, server_round: int, problem: str) -> StrategyError:
        return StrategyError(f"round {server_round}: strategy {self.name}: {problem}")


def _required_metrics(strategy: Strategy) -> dict[str, float]:
    """Return the metrics that a strategy, or one that it wraps, needs in every reply, with the least value of each."""
    found = {strategy.train_loss_key: 0.0} if isinstance(strategy, QFedAvg) else {}
    if isinstance(strategy, DifferentialPrivacyClientSideAdaptiveClipping) and not isinstance(
        strategy, ServerSideAdaptiveClipping
    ):
        found[NORM_BIT] = 0.0
    for wrapped in wrapped_strategies(strategy):
        found |= _required_metrics(wrapped)
    return found
