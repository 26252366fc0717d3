"""A federation that resumes from a checkpoint does what an undisturbed one does."""

import json
from typing import Any

import numpy as np
import pytest
from flwr.app import ArrayRecord, ConfigRecord, Message, MessageType, RecordDict
from flwr.serverapp.strategy import FedAvg
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.strategies.in_memory_grid import GLOBAL, InMemoryGrid, Latencies, federate, honest_client

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.records.packing import pack, unpack
from strategies import STRATEGY_NAMES, Federation, FirstArrivals, SeededLatency, StrategyError, WallClock, make_strategy
from strategies.rules.state import get_state, set_state

ROUNDS = 6
SLOW = SeededLatency(4, median_seconds=1.0, sigma=1.5)  # stragglers are busy for several rounds


def through_a_file(state: Any) -> Any:
    """Return what is read back from a checkpoint: plain JSON and arrays."""
    tree, arrays = pack(state)
    return unpack(json.loads(json.dumps(tree)), {name: array.copy() for name, array in arrays.items()})


def checkpointed(rounds: int, **options: Any) -> tuple[Any, dict[int, Any]]:
    states: dict[int, Any] = {}

    def keep(server_round: int, state: dict[str, Any]) -> None:
        states[server_round] = through_a_file(state)

    return federate(SLOW, rounds, on_checkpoint=keep, **options), states


def outcome(run: Any, after: int = 0) -> list[Any]:
    records = [vars(record) | {"seconds": 0} for record in run.records if record.server_round > after]
    return [records, [array.tobytes() for array in run.arrays[-1].values()]]


@pytest.mark.parametrize("late", ["drop", "next-round"])
@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_every_strategy_resumes_bit_for_bit(name: str, late: str) -> None:
    settings_: dict[str, Any] = {"late_updates": late, "is_evaluated": lambda server_round: server_round % 2 == 0}
    options = '{"num_malicious_nodes": 0}' if name == "bulyan" else ""
    whole, states = checkpointed(ROUNDS, inner=make_strategy(name, options, 3, 4), **settings_)
    assert sorted(states) == list(range(1, ROUNDS + 1))
    for server_round in (1, 2, 4):
        rest, later = checkpointed(
            ROUNDS - server_round,
            inner=make_strategy(name, options, 3, 4),
            state=states[server_round],
            **settings_,
        )
        assert outcome(rest) == outcome(whole, after=server_round)
        assert later[ROUNDS]["oldest_rounds"] == states[ROUNDS]["oldest_rounds"]


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 50),
    late=st.sampled_from(["drop", "next-round"]),
    stops=st.lists(st.integers(1, ROUNDS - 1), min_size=1, max_size=3, unique=True),
    looks=st.integers(0, 12),
)
def test_wherever_a_run_is_interrupted_it_resumes_the_same(seed: int, late: str, stops: list[int], looks: int) -> None:
    arrivals = SeededLatency(seed, median_seconds=1.0, sigma=1.2)
    whole = federate(arrivals, ROUNDS, late_updates=late)
    state, records = None, []
    run = whole
    for begin, end in zip([0, *sorted(stops)], [*sorted(stops), ROUNDS], strict=True):
        states: list[Any] = []
        run = federate(
            arrivals,
            end - begin,
            late_updates=late,
            delay=lambda partition, had: (partition * looks + had) % 7,
            state=state,
            on_checkpoint=lambda _, found, states=states: states.append(through_a_file(found)),
        )
        state = states[-1]
        records += run.records
    assert [vars(r) | {"seconds": 0} for r in records] == [vars(r) | {"seconds": 0} for r in whole.records]
    assert [a.tobytes() for a in run.arrays[-1].values()] == [a.tobytes() for a in whole.arrays[-1].values()]


def test_pending_requests_are_sent_again_as_they_were() -> None:
    slow = Latencies([[0, 1, 2, 50]])
    seen: list[tuple[int, int, int, bytes]] = []

    def client(partition: int, message: Message) -> Message:
        if message.metadata.message_type == MessageType.TRAIN:
            config = messages.message_config(message)
            sent = messages.message_arrays(message)["weight"].tobytes()
            seen.append((partition, config[messages.SERVER_ROUND], config[messages.OLDEST_ROUND], sent))
        return honest_client(partition, message)

    states: list[Any] = []
    federate(slow, 3, client=client, on_checkpoint=lambda _, state: states.append(through_a_file(state)))
    first = next(entry for entry in seen if entry[0] == 3)
    seen.clear()
    federate(slow, 1, client=client, state=states[-1])
    assert seen[0] == first
    assert [(partition, server_round) for partition, server_round, _, _ in seen[1:]] == [(0, 4), (1, 4), (2, 4)]


@pytest.mark.parametrize("late", ["drop", "next-round"])
def test_at_a_checkpoint_no_client_computes_that_would_not_be_asked_again(late: str) -> None:
    """A defended client keeps its attention of every instruction, also where its update is dropped."""
    straggler_lands_in_round_2 = Latencies([[0, 1, 2, 3]])
    grid = InMemoryGrid(honest_client, delay=lambda partition, _: 100 * (partition == 3))
    seen: list[tuple[set[int], set[int]]] = []

    def keep(_: int, state: dict[str, Any]) -> None:
        at_work = {partition for partition, _, _ in grid._waiting.values()}
        seen.append((at_work, {request["partition_id"] for request in state["pending"]}))

    federate(straggler_lands_in_round_2, 4, grid=grid, late_updates=late, on_checkpoint=keep)
    assert [at_work - asked_again for at_work, asked_again in seen] == [set()] * 4
    assert any(at_work for at_work, _ in seen)


def test_clients_are_told_which_rounds_may_come_again() -> None:
    told: dict[int, int] = {}

    def client(partition: int, message: Message) -> Message:
        config = messages.message_config(message)
        if messages.SERVER_ROUND in config:
            told[config[messages.SERVER_ROUND]] = config[messages.OLDEST_ROUND]
        return honest_client(partition, message)

    every_two: dict[str, Any] = {
        "is_checkpointed": lambda server_round: server_round % 2 == 0,
        "on_checkpoint": lambda *_: None,
    }
    federate(Latencies([[0, 1, 2, 2]]), 8, client=client, late_updates="drop", quorum=4, **every_two)
    # After round 4 there are checkpoints of 2 and 4, so that rounds from 3 on may come again.
    assert told == {1: 1, 2: 1, 3: 1, 4: 1, 5: 3, 6: 3, 7: 5, 8: 5}


def test_under_the_wall_clock_pending_requests_are_sent_again() -> None:
    states: list[Any] = []
    federate(WallClock(), 1, delay=lambda p, _: 30 * (p == 1), on_checkpoint=lambda _, s: states.append(s))
    assert [request["partition_id"] for request in states[0]["pending"]] == [1]
    run = federate(WallClock(), 1, late_updates="next-round", state=through_a_file(states[0]))
    assert (1, 1) in run.arrived()[0]


class Momentum(FedAvg):
    """Keeps something that is neither a number nor an array."""

    def __init__(self, **methods: Any) -> None:
        super().__init__()
        self.kept = object()
        for name, method in methods.items():
            setattr(self, name, method)


def test_a_strategy_that_cannot_be_saved_is_refused_before_the_first_message() -> None:
    grid = InMemoryGrid(honest_client)
    with pytest.raises(StrategyError, match=r"strategy Momentum: attribute 'kept' .* checkpoint-every"):
        federate(Latencies([[0, 1, 2, 3]]), inner=Momentum(), grid=grid, on_checkpoint=lambda *_: None)
    assert grid.sent == []
    federate(Latencies([[0, 1, 2, 3]]), inner=Momentum())


def test_a_strategys_state_dict_is_used() -> None:
    loaded: list[Any] = []
    strategy = Momentum(state_dict=lambda: {"steps": 3}, load_state_dict=loaded.append)
    set_state(strategy, through_a_file(get_state(strategy)))
    assert loaded == [{"steps": 3}]


@pytest.mark.parametrize("name", ["state_dict", "load_state_dict"])
def test_a_strategy_with_one_half_of_a_way_to_save_is_refused(name: str) -> None:
    with pytest.raises(StrategyError, match=rf"expected both of state_dict and load_state_dict, .*found only {name}"):
        get_state(Momentum(**{name: dict}))


class Counting(FedAvg):
    """Has an attribute with a default in the class, and one that is computed."""

    rounds = 0

    @property
    def doubled(self) -> int:
        return 2 * self.rounds


def test_an_attribute_with_a_default_in_the_class_is_saved_and_put_back() -> None:
    strategy, resumed = Counting(), Counting()
    strategy.rounds += 3
    set_state(resumed, through_a_file(get_state(strategy)))
    assert (resumed.rounds, resumed.doubled, Counting.rounds) == (3, 6, 0)
    with pytest.raises(StrategyError, match="function 'doubled'"):
        set_state(resumed, {"attributes": {"doubled": 8}})


def test_a_state_of_another_strategy_is_refused_and_functions_are_never_replaced() -> None:
    with pytest.raises(StrategyError, match="expected a state of its construction"):
        set_state(Momentum(state_dict=dict, load_state_dict=print), {"attributes": {}})
    for name in ("aggregate_train", "train_metrics_aggr_fn"):
        with pytest.raises(StrategyError, match=f"function '{name}'"):
            set_state(FedAvg(), {"attributes": {name: 3}})


def test_shared_records_are_saved_once() -> None:
    record = messages.to_record(GLOBAL)
    value = [RecordDict({"arrays": record, "config": ConfigRecord({"a": 1})}) for _ in range(5)]
    tree, arrays = pack(value)
    assert len(arrays) == len(GLOBAL)
    found = unpack(tree, arrays)
    assert len({id(one["arrays"]) for one in found}) == 1
    assert isinstance(found[0]["arrays"], ArrayRecord)
    assert all(
        np.array_equal(array, GLOBAL[name]) and array.shape == GLOBAL[name].shape
        for name, array in messages.from_record(found[0]["arrays"]).items()
    )


def test_a_second_start_does_not_repeat_what_a_checkpoint_had_pending() -> None:
    slow = Latencies([[0, 1, 2, 50]])
    states: list[Any] = []
    federate(slow, 3, on_checkpoint=lambda _, state: states.append(through_a_file(state)))
    assert [request["partition_id"] for request in states[-1]["pending"]] == [3]
    seen: list[tuple[int, int]] = []

    def client(partition: int, message: Message) -> Message:
        if message.metadata.message_type == MessageType.TRAIN:
            seen.append((partition, messages.message_config(message)[messages.SERVER_ROUND]))
        return honest_client(partition, message)

    grid = InMemoryGrid(client)
    strategy = FirstArrivals(FedAvg(), Federation(num_clients=4, quorum=3), arrivals=slow)
    arrays = strategy.resume(states[-1])
    strategy.start(grid, arrays, num_rounds=1)
    assert sorted(seen) == [(0, 4), (1, 4), (2, 4), (3, 1)]
    seen.clear()
    strategy.start(grid, arrays, num_rounds=1)
    assert sorted(seen) == [(0, 4), (1, 4), (2, 4), (3, 4)]


def test_a_run_keeps_its_identity_over_a_resume_and_shares_it_with_no_other_run() -> None:
    def identities(rounds: int, state: Any = None) -> tuple[set[str], Any]:
        seen, states = set(), []

        def client(partition: int, message: Message) -> Message:
            if message.metadata.message_type != MessageType.QUERY:
                seen.add(messages.message_config(message)[messages.RUN])
            return honest_client(partition, message)

        def keep(_: int, found: Any) -> None:
            states.append(through_a_file(found))

        federate(SLOW, rounds, client=client, on_checkpoint=keep, state=state, is_evaluated=lambda _: True)
        return seen, states[-1]

    first, state = identities(2)
    resumed, later = identities(1, state)
    other, _ = identities(1)
    assert len(first) == len(other) == 1
    assert identities(1, later)[0] == resumed == first != other
