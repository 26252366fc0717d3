"""Aggregate as soon as a quorum of clients has answered, with any Flower strategy, a custom one, or a server rule.

The strategy selects clients and aggregates as usual. Only the loop of rounds is different: it passes the first arrivals
to the strategy instead of all replies, and records each round.
"""

import logging
import time
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fedmeta_flwr.protocol import messages
from strategies import round_log
from strategies.errors import DeadActorError, StrategyError
from strategies.evaluation_round import EvaluateFn, EvaluationRound, evaluate_on_server
from strategies.federation import Federation
from strategies.hooks import Hooks, RoundSchedule
from strategies.learned_key import NewestKey
from strategies.quorum_round import QuorumRound
from strategies.received_update import ReceivedUpdate
from strategies.round_progress import RoundProgress
from strategies.rules.base import ServerRule, ServerUpdate
from strategies.rules.feasibility import require_feasible, require_float_arrays
from strategies.rules.rule_strategy import make_inner
from strategies.transport.arrivals import ArrivalModel, SeededLatency
from strategies.transport.grid import ArrivalGrid, TransportSettings
from strategies.transport.pending import Clock, PendingRequest, make_clock, save_pending, send_again
from strategies.transport.registration import register_nodes
from strategies.update_guard import UpdateGuard

_LOG = logging.getLogger("flwr.first_arrivals")


class FirstArrivals(Strategy):
    """Run rounds that aggregate the first `quorum` updates; start it like a Flower strategy.

    Parameters
    ----------
    inner : Strategy or ServerRule
        Selects clients and aggregates: any Flower strategy except those for trees, or a custom one. A server rule only
        aggregates; all clients are asked.
    federation : Federation
        Its size and quorum, and how updates count.
    arrivals : LatencyModel or WallClock, optional
        Which updates come first. With a latency model the run is a pure function of its seed. None: log-normal
        latencies, drawn from `seed`, with a median of 1 s and a sigma of 0.5.
    seed : int
        Seed of the inner strategy's draws: its selection of clients, its noise.
    first_round : int
        Number of the first round, for a federation that continues from an earlier model. The inner strategy counts only
        its own rounds, from 1 as in Flower, because its state begins with them.
    schedule : RoundSchedule
        The phase of each round, and which rounds have an evaluation or a checkpoint.
    hooks : Hooks
        Called during the run.
    guard : UpdateGuard
        Reads the replies. It rejects malformed ones, and those without the metrics that the inner strategy needs.
    transport : TransportSettings
        Waiting times, and the number of messages in flight.
    server_update : callable, optional
        Trains the global arrays on the server's clean data; for server rules that need it.

    Raises
    ------
    StrategyError
        If the combination can never aggregate; see `strategies.rules.feasibility`.
    """

    def __init__(
        self,
        inner: Strategy | ServerRule,
        federation: Federation,
        *,
        arrivals: ArrivalModel | None = None,
        seed: int = 0,
        first_round: int = 1,
        schedule: RoundSchedule | None = None,
        hooks: Hooks | None = None,
        guard: UpdateGuard | None = None,
        transport: TransportSettings | None = None,
        server_update: ServerUpdate | None = None,
    ) -> None:
        require_feasible(inner, federation)
        self.inner = inner
        self.federation = federation
        self.arrivals = arrivals or SeededLatency(seed, median_seconds=1.0, sigma=0.5)
        self.first_round = first_round
        self.schedule = schedule or RoundSchedule()
        self.hooks = hooks or Hooks()
        self.transport = transport or TransportSettings()
        self._inner = make_inner(inner, federation, seed, first_round, server_update)
        guard = guard or UpdateGuard()
        self.guard = replace(guard, least_metrics={**self._inner.required_metrics(), **guard.least_metrics})
        self._resumed: dict[str, Any] | None = None
        # Set by `start`. A checkpoint has the pending requests, the clock, the oldest rounds, and the run.
        self._grid: ArrivalGrid
        self._clock: Clock
        self._pending: dict[int, PendingRequest]
        self._timeout: float
        self._arrays: ArrayRecord  # these two of the current round
        self._received: Sequence[ReceivedUpdate]
        self._oldest_rounds: list[int]  # of the last two checkpoints
        self._run: str

    def resume(self, state: dict[str, Any]) -> ArrayRecord:
        """Make the next `start` resume from the state given to `on_checkpoint`; return the global arrays to start with.

        Raises
        ------
        StrategyError
            If another inner strategy was saved.
        """
        self._inner.set_state(state["strategy"])
        self._resumed = state
        self.first_round = state["server_round"] + 1
        arrays: ArrayRecord = state["arrays"]
        return arrays

    def start(  # noqa: PLR0917 (Flower's signature)
        self,
        grid: Grid,
        initial_arrays: ArrayRecord,
        num_rounds: int = 3,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: EvaluateFn | None = None,
    ) -> Result:
        """Register the nodes, run the rounds, and wait for pending replies.

        A second start counts again from `first_round`, and resumes nothing.

        Parameters
        ----------
        grid, initial_arrays, num_rounds, train_config, evaluate_config, evaluate_fn
            As in Flower's `Strategy.start`.
        timeout : float
            Longest wait in seconds for each of: the answers at registration; a client's reply, from when it is asked;
            dropped updates before a checkpoint; pending replies at the end.

        Returns
        -------
        Result
            As Flower's loop returns it: rounds are counted from 1 in each start.

        Raises
        ------
        StrategyError
            If the initial arrays are not floats, or the inner strategy returns anything but new global arrays.
        RegistrationError
            If the clients are not the expected ones.
        QuorumError
            If a round does not reach its quorum.
        DeadActorError
            If a process of the simulation has died; raised after the round in which this was noticed.
        """
        require_float_arrays(initial_arrays)
        if self.hooks.on_checkpoint is not None:
            self._inner.get_state()  # raises now if the state cannot be saved
        self._register(grid, timeout)
        configs = (train_config or ConfigRecord(), evaluate_config or ConfigRecord())
        round_log.log_start(type(self).__name__, num_rounds, initial_arrays, *configs)
        self.summary()
        round_log.log_blank()
        result = self._run_rounds(initial_arrays, num_rounds, *configs, evaluate_fn)
        self.hooks.observer.begin("ending", clients=self._grid.awaited())
        if silent := self._grid.drain(time.monotonic() + timeout):
            _LOG.warning("%d clients have not replied after %s seconds", len(silent), timeout)
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the inner strategy select clients for training; rounds are the federation's."""
        return self._inner.configure_train(server_round, arrays, config, self._started(grid))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Let the inner strategy aggregate the round's first arrivals."""
        counted = {id(reply) for reply in replies}
        received = [update for update in self._received if id(update.reply) in counted]
        return self._inner.aggregate_train(server_round, received, self._arrays)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the inner strategy select clients for evaluation."""
        return self._inner.configure_evaluate(server_round, arrays, config, self._started(grid))

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Let the inner strategy aggregate the evaluation."""
        return self._inner.aggregate_evaluate(server_round, replies)

    def _started(self, grid: Grid) -> ArrivalGrid:
        """Return the Grid of the rounds under way; raises `StrategyError` where another loop runs the rounds."""
        if not isinstance(grid, ArrivalGrid):
            raise StrategyError(
                f"{type(self).__name__}: expected rounds of its own `start`, found those of a strategy that wraps it; "
                "let it wrap that strategy instead"
            )
        return grid

    def summary(self) -> None:
        """Log the strategy and the federation."""
        federation = self.federation
        _LOG.info("\t├──> First %d of %d arrivals (%s)", federation.quorum, federation.num_clients, self.arrivals)
        _LOG.info("\t│\t└── Late updates: %s | weighting: %s", federation.late_updates, federation.weighting)
        _LOG.info("\t├──> Strategy: %s", self._inner.name)
        self._inner.summary()

    def _register(self, grid: Grid, timeout: float) -> None:
        """Find out which node is which client, and repeat the requests that were pending at a checkpoint."""
        observer, longest = self.hooks.observer, self.transport.registration_seconds
        self._grid = ArrivalGrid(grid, self.transport, observer)
        observer.begin("registering", clients=range(self.federation.num_clients))
        self._grid.roster = register_nodes(
            self._grid,
            self.federation.num_clients,
            registered_by=time.monotonic() + min(timeout, longest),
            deadline=time.monotonic() + max(timeout, longest),
        )
        self._clock = make_clock(self.arrivals, self._grid)
        self._pending = {}
        self._timeout = timeout
        self._oldest_rounds = [self.first_round] * 2
        self._run = uuid.uuid4().hex
        resumed, self._resumed = self._resumed, None
        self._key = NewestKey((resumed or {}).get("key"))
        if resumed is not None:
            observer.begin("preparing")
            self._pending = send_again(resumed["pending"], self._grid, timeout)
            self._clock.restore(resumed["clock"], self._pending.values())
            self._oldest_rounds = resumed["oldest_rounds"]
            self._run = resumed["run"]

    def _run_rounds(
        self,
        arrays: ArrayRecord,
        num_rounds: int,
        train_config: ConfigRecord,
        evaluate_config: ConfigRecord,
        evaluate_fn: EvaluateFn | None,
    ) -> Result:
        result, began = Result(), time.monotonic()
        evaluate_on_server(0, arrays, evaluate_fn, result)
        for number in range(1, num_rounds + 1):
            round_log.log_round(number, num_rounds)
            progress = RoundProgress(number + self.first_round - 1, time.monotonic(), arrays)
            if (metrics := self._train(progress, train_config)) is not None:
                round_log.log_metrics(metrics)
                result.train_metrics_clientapp[number] = metrics
            result.arrays = arrays = progress.arrays
            metrics = self._evaluate(progress, evaluate_config)
            self._save(progress)
            if metrics is not None:
                round_log.log_metrics(metrics)
                result.evaluate_metrics_clientapp[number] = metrics
            evaluate_on_server(number, arrays, evaluate_fn, result)
        round_log.log_result(result, time.monotonic() - began)
        return result

    def _train(self, progress: RoundProgress, config: ConfigRecord) -> MetricRecord | None:
        """Gather the quorum and aggregate it."""
        number, self._arrays = progress.server_round, progress.arrays
        instructions = self.configure_train(number, progress.arrays, config, self._grid)
        self._received = self._gather(progress, self._by_partition(number, instructions))
        self.hooks.observer.begin("aggregating", number)
        arrays, metrics = self.aggregate_train(number, [update.reply for update in self._received])
        progress.arrays = arrays if arrays is not None else progress.arrays
        return metrics

    def _gather(self, progress: RoundProgress, instructions: dict[int, Message]) -> Sequence[ReceivedUpdate]:
        asked = sorted(instructions)
        self.hooks.observer.begin("training", progress.server_round, asked)
        quorum_round = QuorumRound(
            grid=self._grid,
            clock=self._clock,
            pending=self._pending,
            federation=self.federation,
            server_round=progress.server_round,
            held=instructions,
            timeout_seconds=self._timeout,
            guard=self.guard,
        )
        quorum_round.run()
        progress.arrivals = [update.arrival for update in quorum_round.received.values()]
        progress.dropped = [*self.schedule.unasked(progress.server_round, asked), *quorum_round.dropped]
        return self._key.take(list(quorum_round.received.values()))

    def _evaluate(self, progress: RoundProgress, config: ConfigRecord) -> MetricRecord | None:
        """Let clients evaluate the new global arrays, if the schedule says so."""
        number = progress.server_round
        if not self.schedule.is_evaluated(number):
            return None
        instructions = self._by_partition(number, self.configure_evaluate(number, progress.arrays, config, self._grid))
        if not instructions:
            return None
        progress.key_round = self._key.send_with(instructions)
        self.hooks.observer.begin("evaluating", number, sorted(instructions))
        evaluation_round = EvaluationRound(self._grid, instructions, self._timeout, self.guard)
        evaluation_round.run()
        progress.evaluation = evaluation_round.evaluations
        progress.dropped += evaluation_round.dropped
        return self.aggregate_evaluate(number, evaluation_round.replies)

    def _by_partition(self, server_round: int, instructions: Iterable[Message]) -> dict[int, Message]:
        """Return instructions by client, each stamped with its round, the oldest round still needed, and the run."""
        oldest_round = server_round if self.hooks.on_checkpoint is None else min(self._oldest_rounds)
        by_partition = {}
        for instruction in instructions:
            messages.stamp_round(instruction, server_round, oldest_round, self._run)
            by_partition[self._grid.roster[instruction.metadata.dst_node_id]] = instruction
        return by_partition

    def _save(self, progress: RoundProgress) -> None:
        """Report the round, and take a checkpoint where one is due."""
        number, hooks = progress.server_round, self.hooks
        hooks.observer.begin("saving", number)
        self._key.report(hooks.on_key)
        if hooks.on_round is not None:
            hooks.on_round(progress.record(self.schedule.phase(number)), progress.arrays)
        if self._grid.dead_actor is not None:
            raise DeadActorError(number, self._grid.dead_actor)
        if hooks.on_checkpoint is not None and self.schedule.is_checkpointed(number):
            hooks.observer.begin("saving", number, self._grid.awaited(only_unwanted=True))
            # A dropped update is not asked for again after a resume, so its client must have saved its state by now.
            self._grid.settle(time.monotonic() + self._timeout)
            hooks.on_checkpoint(number, self._state(progress))

    def _state(self, progress: RoundProgress) -> dict[str, Any]:
        """Return everything that the next rounds depend on."""
        oldest_round = min([progress.server_round + 1, *(one.sent_in_round for one in self._pending.values())])
        self._oldest_rounds = [self._oldest_rounds[-1], oldest_round]
        return {
            "server_round": progress.server_round,
            "arrays": progress.arrays,
            "strategy": self._inner.get_state(),
            "pending": save_pending(self._pending),
            "clock": self._clock.state(),
            "oldest_rounds": self._oldest_rounds,
            "run": self._run,
            "key": self._key.state(),
        }
