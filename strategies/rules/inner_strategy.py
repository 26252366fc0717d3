"""The strategy that `FirstArrivals` wraps, as it is called: with its own rounds, and draws that a seed decides."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp.strategy import DifferentialPrivacyClientSideAdaptiveClipping, QFedAvg, Strategy

from fedmeta_flwr.protocol.messages import NORM_BIT, SERVER_ROUND
from strategies.errors import StrategyError
from strategies.global_random import seeded_global_random
from strategies.rules.conform import conform
from strategies.rules.feasibility import selects_evaluators
from strategies.rules.server_side_clipping import ServerSideAdaptiveClipping
from strategies.rules.state import wrapped_strategies
from strategies.transport.grid import ArrivalGrid


def required_metrics(strategy: Strategy) -> dict[str, float]:
    """Return the metrics that a strategy, or one that it wraps, needs of every reply, with the least value of each."""
    found = {strategy.train_loss_key: 0.0} if isinstance(strategy, QFedAvg) else {}
    if isinstance(strategy, DifferentialPrivacyClientSideAdaptiveClipping) and not isinstance(
        strategy, ServerSideAdaptiveClipping
    ):
        found[NORM_BIT] = 0.0
    for wrapped in wrapped_strategies(strategy):
        found |= required_metrics(wrapped)
    return found


@dataclass
class InnerStrategy:
    """A strategy that is told the rounds in which it has taken part, from 1, as Flower does.

    FedAdam's correction of the bias of its moments goes by this number: they begin at 0 in the strategy's first round,
    whatever the round of the model that it starts with. Clients and records have the federation's rounds.

    Attributes
    ----------
    strategy : Strategy
        Any.
    seed : int
        Of what it draws from the global random states of Python, NumPy and PyTorch.
    began : int
        The federation's round that is the strategy's first.
    """

    strategy: Strategy
    seed: int
    began: int

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: ArrivalGrid, quorum: int
    ) -> list[Message]:
        """Return its instructions; raises `StrategyError` where they are to fewer clients than the quorum."""
        config[SERVER_ROUND] = server_round
        with seeded_global_random(self.seed, "select-for-training", server_round):
            instructions = list(self.strategy.configure_train(self._own(server_round), arrays, config, grid))
        nodes = self._asked(server_round, instructions, grid)
        if len(nodes) < max(quorum, len(instructions)):
            raise self._misbehaved(
                server_round,
                f"expected one instruction each to at least {quorum} clients (the quorum), found "
                f"{len(instructions)} to {len(nodes)} clients",
            )
        return instructions

    def aggregate_train(
        self, server_round: int, replies: list[Message], arrays: ArrayRecord
    ) -> tuple[ArrayRecord, MetricRecord | None]:
        """Return new global arrays in the form of the old ones; raises `StrategyError` where there are none such."""
        with seeded_global_random(self.seed, "aggregate", server_round):
            try:
                aggregated, metrics = self.strategy.aggregate_train(self._own(server_round), replies)
            except ArithmeticError as error:  # Flower's clipping divides by the norm of an update, for instance
                problem = f"expected it to aggregate {len(replies)} updates, found {type(error).__name__}: {error}"
                raise self._misbehaved(server_round, problem) from error
        if not aggregated:
            raise self._misbehaved(server_round, f"expected aggregated arrays from {len(replies)} updates, found none")
        try:
            return conform(aggregated, arrays), metrics
        except ValueError as error:
            raise self._misbehaved(server_round, str(error)) from error

    def configure_evaluate(
        self,
        server_round: int,
        arrays: ArrayRecord,
        config: ConfigRecord,
        grid: ArrivalGrid,
        abstaining: Collection[int],
    ) -> list[Message]:
        """Return its instructions: what it draws for them is the same in every round, so that results compare.

        Where it selects some of the clients, it does so among those that evaluate. Raises `StrategyError` where it asks
        nobody but those that never do.
        """
        config[SERVER_ROUND] = server_round
        hidden = abstaining if selects_evaluators(self.strategy) else ()
        with seeded_global_random(self.seed, "select-for-evaluation"), grid.hiding(hidden):
            instructions = list(self.strategy.configure_evaluate(self._own(server_round), arrays, config, grid))
        asked = self._asked(server_round, instructions, grid)
        if asked and asked.issubset(abstaining):
            raise self._misbehaved(
                server_round, f"expected it to ask clients that evaluate, found {sorted(asked)}, which never do"
            )
        return instructions

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Return what it makes of the evaluation; None where nobody has taken part."""
        counted = list(replies)
        with seeded_global_random(self.seed, "aggregate-evaluation", server_round):
            return self.strategy.aggregate_evaluate(self._own(server_round), counted) if counted else None

    def _asked(self, server_round: int, instructions: Iterable[Message], grid: ArrivalGrid) -> set[int]:
        """Return the partitions that are asked; raises `StrategyError` where a node is none of the federation's."""
        nodes = {instruction.metadata.dst_node_id for instruction in instructions}
        if unknown := sorted(nodes - set(grid.roster)):
            raise self._misbehaved(server_round, f"expected nodes of the federation, found {unknown[0]}")
        return {grid.roster[node_id] for node_id in nodes}

    def _own(self, server_round: int) -> int:
        return server_round - self.began + 1

    def _misbehaved(self, server_round: int, problem: str) -> StrategyError:
        return StrategyError(f"round {server_round}: strategy {type(self.strategy).__name__}: {problem}")
