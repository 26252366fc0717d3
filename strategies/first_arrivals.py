"""Aggregate as soon as a quorum of clients has answered, with any strategy of Flower's or one's own.

The wrapped strategy selects clients and aggregates as ever; Flower's own loop runs as ever. In between stands a
Grid that returns the first arrivals instead of all replies.
"""

import logging
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.records.progress import Observer
from fedmeta_flwr.records.results import RoundRecord
from strategies.errors import DeadActorError
from strategies.evaluation_round import EvaluationRound
from strategies.quorum_round import QuorumRound
from strategies.round_progress import RoundProgress
from strategies.rules import state as strategy_state
from strategies.rules.aggregation_input import training_input, weighted
from strategies.rules.feasibility import (
    NOBODY,
    Abstainers,
    require_choice,
    require_feasible,
    require_float_arrays,
)
from strategies.rules.inner_strategy import InnerStrategy, required_metrics
from strategies.transport.arrivals import ArrivalModel, SeededLatency
from strategies.transport.grid import ArrivalGrid
from strategies.transport.pending import Clock, Flight, make_clock, save_flights, send_again
from strategies.transport.registration import call_the_roll
from strategies.update_guard import UpdateGuard

_LOG = logging.getLogger("flwr.first_arrivals")

OnRound = Callable[[RoundRecord, ArrayRecord], None]
OnCheckpoint = Callable[[int, dict[str, Any]], None]


class FirstArrivals(Strategy):
    """Wrap a strategy so that it aggregates the first `quorum` updates of each round.

    Parameters
    ----------
    inner : Strategy
        Selects clients and aggregates; any of Flower's but those for trees, or one's own.
    num_clients : int
        Nodes of the federation; their partitions must be 0 to num_clients - 1.
    quorum : int
        Updates after which a round's aggregation takes place, 1 to num_clients.
    arrivals : LatencyModel or WallClock, optional
        Which updates come first. With a latency model the run is a pure function of its seed. None: log-normal
        latencies that are drawn from `seed`, with a median of 1 s and a spread of 0.5.
    late_updates : "drop" or "next-round"
        Whether an update after the quorum is thrown away, or counts as an arrival in the round in which it comes: as
        the difference to the arrays that it started from, added to the current ones.
    weighting : "uniform" or "num-examples"
        Weight of an update where the inner strategy weighs: 1, or what the client claims (which an adversary can
        inflate).
    seed : int
        Seed of what the inner strategy draws: its selection of clients, its noise.
    phase : callable
        Round to ``RoundRecord.phase``.
    is_evaluated : callable
        Round to whether the clients evaluate the aggregated model.
    on_round : callable, optional
        Called after each round with its `RoundRecord` and the global arrays that it ended with.
    on_checkpoint : callable, optional
        Called after a round in which `is_checkpointed` holds with its number and all that `resume` needs to go on after
        it, which `fedmeta_flwr.records.packing` takes.
    is_checkpointed : callable
        Round to whether a checkpoint follows it.
    observer : Observer, optional
        Is told what goes on inside a round.
    guard : UpdateGuard
        Reads the replies, and refuses those of another form, or without the metrics that the inner strategy needs.
    first_round : int
        Number of the first round, for a federation that goes on from an earlier model. The inner strategy counts the
        rounds that it has taken part in, from 1 as in Flower: what it keeps from round to round begins with them.
    abstainers : Abstainers
        Clients that may take no part: a quorum must be met without them, and they are not among those from which some
        are selected to evaluate.
    registration_seconds : float
        Longest wait for all nodes to register, and for their answers where that is longer than `timeout`: actors may
        start slowly.
    poll_seconds : float
        Pause between two looks for replies.
    messages_in_flight : int
        Messages under way at once; at least as many as nodes compute at once.

    Raises
    ------
    StrategyError
        If the combination can never aggregate; see `strategies.rules.feasibility`.
    """

    def __init__(
        self,
        inner: Strategy,
        *,
        num_clients: int,
        quorum: int,
        arrivals: ArrivalModel | None = None,
        late_updates: str = "drop",
        weighting: str = "uniform",
        seed: int = 0,
        phase: Callable[[int], str] = lambda _: "benign",
        is_evaluated: Callable[[int], bool] = lambda _: True,
        on_round: OnRound | None = None,
        on_checkpoint: OnCheckpoint | None = None,
        is_checkpointed: Callable[[int], bool] = lambda _: True,
        observer: Observer | None = None,
        guard: UpdateGuard | None = None,
        first_round: int = 1,
        abstainers: Abstainers = NOBODY,
        registration_seconds: float = 60.0,
        poll_seconds: float = 0.015,
        messages_in_flight: int = 32,
    ) -> None:
        require_feasible(inner, quorum, num_clients, abstainers)
        require_choice("late_updates", late_updates, ("drop", "next-round"))
        require_choice("weighting", weighting, ("uniform", "num-examples"))
        self.inner = inner
        self.num_clients = num_clients
        self.quorum = quorum
        self.arrivals = arrivals or SeededLatency(seed, median_seconds=1.0, sigma=0.5)
        self.late_updates = late_updates
        self.weighting = weighting
        self.seed = seed
        self.phase = phase
        self.is_evaluated = is_evaluated
        self.on_round = on_round
        self.on_checkpoint = on_checkpoint
        self.is_checkpointed = is_checkpointed
        self.observer = observer or Observer()
        guard = guard or UpdateGuard()
        self.guard = replace(guard, least_metrics={**required_metrics(inner), **guard.least_metrics})
        self.first_round = first_round
        self.abstainers = abstainers
        self.registration_seconds = registration_seconds
        self.poll_seconds = poll_seconds
        self.messages_in_flight = messages_in_flight
        self._inner = InnerStrategy(inner, seed, began=first_round)
        self._resumed: dict[str, Any] | None = None
        # Of one `start`; what is saved of it is the flights, the clock and the rounds that may be asked for again.
        self._grid: ArrivalGrid
        self._clock: Clock
        self._flights: dict[int, Flight]
        self._timeout: float
        self._round: RoundProgress
        self._oldest_rounds: list[int]  # of the last two checkpoints

    def resume(self, state: dict[str, Any]) -> ArrayRecord:
        """Let the next `start` go on from what `on_checkpoint` was given, and return the global arrays to start with.

        Raises
        ------
        StrategyError
            If the inner strategy is another one than was saved.
        """
        strategy_state.set_state(self.inner, state["strategy"])
        self._resumed = state
        self.first_round = state["server_round"] + 1
        self._inner.began = state["strategy_began"]
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
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Call the roll, run Flower's loop, and wait for what is still under way.

        Parameters
        ----------
        grid, initial_arrays, num_rounds, train_config, evaluate_config, evaluate_fn
            As in Flower's `Strategy.start`.
        timeout : float
            Longest wait in seconds for the roll call's answers, for each client's reply from when it is asked, for
            dropped updates before a checkpoint, and at the end.

        Returns
        -------
        Result
            As of Flower's loop.

        Raises
        ------
        StrategyError
            If the initial arrays are not floats, or the inner strategy aggregates nothing or something else than
            the global arrays.
        RollCallError
            If the clients are not the expected ones.
        QuorumError
            If a round does not get its quorum.
        DeadActorError
            If a process of the simulation has died; after the round in which this was noticed.
        """
        require_float_arrays(initial_arrays)
        if self.on_checkpoint is not None:
            strategy_state.get_state(self.inner)  # what cannot be saved is refused now
        self._grid = ArrivalGrid(grid, self._exchange, self.poll_seconds, self.messages_in_flight, self.observer)
        self.observer.begin("registering", clients=range(self.num_clients))
        self._grid.roster = call_the_roll(
            self._grid,
            self.num_clients,
            registered_by=time.monotonic() + min(timeout, self.registration_seconds),
            deadline=time.monotonic() + max(timeout, self.registration_seconds),
        )
        self._clock = make_clock(self.arrivals, self._grid)
        self._flights = {}
        self._timeout = timeout
        self._oldest_rounds = [self.first_round] * 2
        if self._resumed is not None:
            self.observer.begin("preparing")
            self._take_up(self._resumed, timeout)
        result = super().start(
            self._grid, initial_arrays, num_rounds, timeout, train_config, evaluate_config, evaluate_fn
        )
        self.observer.begin("ending", clients=self._grid.awaited())
        if debtors := self._grid.drain(time.monotonic() + timeout):
            _LOG.warning("%d clients still owe a reply after %s seconds", len(debtors), timeout)
        return result

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the inner strategy select clients."""
        true_round = self._true_round(server_round)
        self._round = RoundProgress(true_round, time.monotonic(), arrays)
        return self._stamped(self._inner.configure_train(true_round, arrays, config, self._grid, self.quorum))

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Let the inner strategy aggregate."""
        true_round = self._true_round(server_round)
        self.observer.begin("aggregating", true_round)
        self._round.arrays, metrics = self._inner.aggregate_train(true_round, list(replies), self._round.arrays)
        return self._round.arrays, metrics

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Let the inner strategy select clients where this round is evaluated."""
        true_round = self._true_round(server_round)
        if not self.is_evaluated(true_round):
            return []
        abstaining = self.abstainers.evaluation
        return self._stamped(self._inner.configure_evaluate(true_round, arrays, config, self._grid, abstaining))

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Let the inner strategy aggregate the evaluation, and report the round."""
        self.observer.begin("saving", self._round.server_round)
        metrics = self._inner.aggregate_evaluate(self._true_round(server_round), replies)
        if self.on_round is not None:
            self.on_round(self._round.record(self.phase(self._round.server_round)), self._round.arrays)
        if self._grid.dead_actor is not None:
            raise DeadActorError(self._round.server_round, self._grid.dead_actor)
        if self.on_checkpoint is not None and self.is_checkpointed(self._round.server_round):
            self.observer.begin("saving", self._round.server_round, self._grid.awaited(only_unwanted=True))
            # What a client keeps of a dropped update must be on its disk: a resumed run does not ask for it again.
            self._grid.settle(time.monotonic() + self._timeout)
            self.on_checkpoint(self._round.server_round, self._state())
        return metrics

    def summary(self) -> None:
        """Log what is wrapped, and how."""
        _LOG.info("\t├──> First %d of %d arrivals (%s)", self.quorum, self.num_clients, self.arrivals)
        _LOG.info("\t│\t└── Late updates: %s | weighting: %s", self.late_updates, self.weighting)
        _LOG.info("\t├──> Strategy: %s", type(self.inner).__name__)
        self.inner.summary()

    def _state(self) -> dict[str, Any]:
        """Return all that the next rounds depend on."""
        server_round = self._round.server_round
        oldest_round = min([server_round + 1, *(flight.sent_in_round for flight in self._flights.values())])
        self._oldest_rounds = [self._oldest_rounds[-1], oldest_round]
        return {
            "server_round": server_round,
            "arrays": self._round.arrays,
            "strategy": strategy_state.get_state(self.inner),
            "strategy_began": self._inner.began,
            "flights": save_flights(self._flights),
            "clock": self._clock.state(),
            "oldest_rounds": self._oldest_rounds,
        }

    def _take_up(self, state: dict[str, Any], timeout: float) -> None:
        self._flights = send_again(state["flights"], self._grid, timeout)
        self._clock.restore(state["clock"], self._flights.values())
        self._oldest_rounds = state["oldest_rounds"]

    def _true_round(self, flower_round: int) -> int:
        return flower_round + self.first_round - 1

    def _exchange(self, instructions: list[Message], timeout: float | None) -> list[Message]:
        """Answer Flower's loop: with the first arrivals for training, with all there is for evaluation."""
        timeout = math.inf if timeout is None else timeout
        if not instructions:
            return []
        by_partition = {self._grid.roster[message.metadata.dst_node_id]: message for message in instructions}
        is_training = instructions[0].metadata.message_type.startswith(MessageType.TRAIN)
        self.observer.begin("training" if is_training else "evaluating", self._round.server_round, sorted(by_partition))
        if is_training:
            return self._train(by_partition, timeout)
        return self._evaluate(by_partition, timeout)

    def _train(self, instructions: dict[int, Message], timeout: float) -> list[Message]:
        quorum_round = QuorumRound(
            grid=self._grid,
            clock=self._clock,
            flights=self._flights,
            quorum=self.quorum,
            takes_late=self.late_updates == "next-round",
            server_round=self._round.server_round,
            held=instructions,
            timeout_seconds=timeout,
            guard=self.guard,
        )
        quorum_round.run()
        self._round.arrivals = list(quorum_round.arrivals.values())
        self._round.dropped += quorum_round.dropped
        return training_input(self._round.arrivals, self._round.arrays, self.inner, self.weighting)

    def _evaluate(self, instructions: dict[int, Message], timeout: float) -> list[Message]:
        evaluation_round = EvaluationRound(self._grid, instructions, timeout, self.guard)
        evaluation_round.run()
        self._round.evaluation = evaluation_round.entries
        self._round.dropped += evaluation_round.dropped
        return weighted(evaluation_round.replies, self.weighting)

    def _stamped(self, instructions: list[Message]) -> list[Message]:
        oldest_round = self._round.server_round if self.on_checkpoint is None else min(self._oldest_rounds)
        for instruction in instructions:
            messages.stamp_round(instruction, self._round.server_round, oldest_round)
        return instructions
