"""Whatever a strategy's numeric options are, a run is refused in one clear message before it begins, or continues."""

import json
import math
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from flwr.app import Context, Message, MessageType, RecordDict
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from unit.strategies.in_memory_grid import InMemoryGrid, Latencies, Run, federate, honest_client

from fedmeta_flwr.apps.client import clip_update
from fedmeta_flwr.config.registry import resolve
from fedmeta_flwr.protocol import messages
from fedmeta_flwr.records.entries import TRAIN_LOSS
from strategies import STRATEGY_NAMES, Abstainers, StrategyError, make_strategy
from strategies.rules.options import RANGES, Range, numeric_options

ABSTAINS, LEARNS_NOTHING, NEVER_ANSWERS, NUM_CLIENTS = 0, 1, 2, 7
UNSURE = Abstainers(training=frozenset({ABSTAINS, NEVER_ANSWERS}), evaluation=frozenset({ABSTAINS}))
# Who never answers is waited for in the first round; all others are on time by the simulated clock.
LATENCIES = Latencies([[0, 1, 0.5, 2, 3, 4, 5]])
ROUNDS = 3
BUILT_IN = {name: resolve("strategy", name) for name in STRATEGY_NAMES}
PRIVATE = [name for name in STRATEGY_NAMES if name.startswith("dp-")]
Numbers = dict[str, Any]


def client_of(name: str, is_still: bool) -> Any:
    """Return what all parties do; where all is still, nobody learns anything, and nobody has a loss."""
    context = Context(run_id=7, node_id=1, node_config={}, state=RecordDict(), run_config={"strategy": name})

    def client(partition: int, message: Message) -> Message:
        if message.metadata.message_type == MessageType.QUERY:
            return honest_client(partition, message)
        if partition == ABSTAINS:
            return messages.abstention(message)
        reply = honest_client(min(partition, 5), message)
        if message.metadata.message_type == MessageType.TRAIN:
            if is_still or partition == LEARNS_NOTHING:
                messages.set_arrays(reply, messages.message_arrays(message))
            if is_still:
                messages.set_metric(reply, TRAIN_LOSS, 0.0)
            return clip_update(message, context, lambda *_: reply)
        return reply

    return client


def run(name: str, options: Numbers, quorum: int, is_still: bool = False) -> Run | str:
    """Return a run that has gone on to its end, or the message by which it was refused before it began."""
    grid = InMemoryGrid(
        client_of(name, is_still), NUM_CLIENTS, lambda partition, _: None if partition == NEVER_ANSWERS else 0
    )
    waiting = AssertionError("it waits for nodes that do not come")
    with patch("flwr.serverapp.strategy.strategy_utils.sleep", side_effect=waiting):
        try:
            return federate(
                LATENCIES,
                ROUNDS,
                grid=grid,
                inner=make_strategy(name, json.dumps(options), quorum, NUM_CLIENTS),
                num_clients=NUM_CLIENTS,
                quorum=quorum,
                abstainers=UNSURE,
                is_evaluated=lambda number: number > 1,
                timeout=0.01,
            )
        except StrategyError as error:
            refusal = str(error)
    assert grid.sent == []
    assert len(refusal.splitlines()) == 1
    assert len(refusal) < 400
    return refusal


def require_whole(found: Run) -> None:
    assert len(found.records) == ROUNDS
    assert all(np.isfinite(array).all() for arrays in found.arrays for array in arrays.values())
    assert NEVER_ANSWERS not in {partition for arrived in found.arrived() for partition, _ in arrived}
    assert {len(record.evaluation or []) for record in found.records[1:]} <= {len(found.records[1].evaluation or [])}


def is_whole(key: str) -> bool:
    return key.startswith(("min_", "num_"))


def ends(bounds: Range) -> list[float]:
    """Return numbers that are just admitted."""
    least = math.nextafter(bounds.least, math.inf) if bounds.is_open_below else bounds.least
    most = math.nextafter(bounds.most, -math.inf) if bounds.is_open_above else bounds.most
    return [least, most]


def inside(key: str) -> st.SearchStrategy[float]:
    bounds, ends_ = RANGES[key], ends(RANGES[key])
    if is_whole(key):
        sensible = 1 if key == "num_malicious_nodes" else 3
        return st.integers(int(bounds.least), sensible) | st.sampled_from([NUM_CLIENTS, int(bounds.most)])
    zero = st.just(0.0) if bounds.or_zero else st.nothing()
    return st.floats(*ends_) | st.sampled_from(ends_) | zero


def outside(key: str) -> st.SearchStrategy[Any]:
    bounds = RANGES[key]
    below, above = bounds.least - 1, bounds.most + 1
    next_to = [bounds.least if bounds.is_open_below else below, bounds.most if bounds.is_open_above else above]
    if bounds.or_zero:
        next_to[0] = below
    odd: list[Any] = [math.nan, math.inf, -math.inf, -1, 10**18, -(10**400), 10**400, True, "1", [1], {}, 1e300]
    return st.sampled_from([*next_to, *odd, *([0.5] if is_whole(key) else [])])


def some_inside(keys: list[str]) -> st.SearchStrategy[Numbers]:
    return st.fixed_dictionaries({}, optional={key: inside(key) for key in sorted(keys)})


@st.composite
def options_of(draw: st.DrawFn, name: str) -> Numbers:
    """Draw options within their ranges; those of a dp strategy include a wrapped strategy with options."""
    options = draw(some_inside(numeric_options(BUILT_IN[name])))
    if name in PRIVATE:
        inner = draw(st.sampled_from([other for other in STRATEGY_NAMES if other not in PRIVATE]))
        options |= {"strategy": inner, "strategy_options": draw(some_inside(numeric_options(BUILT_IN[inner])))}
    return options


quick = settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    with caplog.at_level("ERROR", logger="flwr"), np.errstate(all="ignore"):
        yield


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_within_their_ranges_options_contradict_each_other_or_the_run_continues(name: str) -> None:
    whole: list[Run] = []

    @quick
    @given(options=options_of(name), quorum=st.integers(3, 5), is_still=st.booleans())
    def check(options: Numbers, quorum: int, is_still: bool) -> None:
        found = run(name, options, quorum, is_still)
        if not isinstance(found, str):
            require_whole(found)
            whole.append(found)

    check()
    assert whole


@pytest.mark.parametrize("is_still", [False, True])
@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_each_option_takes_the_ends_of_its_range(name: str, is_still: bool) -> None:
    for key in numeric_options(BUILT_IN[name]):
        if is_whole(key) or key in ("fraction_train", "fraction_evaluate"):
            continue
        for value in ends(RANGES[key]):
            found = run(name, {key: value}, 3, is_still)
            if isinstance(found, str):
                assert key in ("noise_multiplier", "clipped_count_stddev"), found  # they contradict others' defaults
            else:
                require_whole(found)


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_an_option_outside_of_its_range_is_refused_by_name(name: str) -> None:
    @settings(quick, max_examples=30)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(numeric_options(BUILT_IN[name])))
        value = data.draw(outside(key))
        found = run(name, {key: value}, 3)
        assert isinstance(found, str)
        assert found.startswith(f"strategy-options: {name}: {key}: expected ")
        assert ", found " in found

    check()


def test_every_numeric_option_has_a_range_and_every_range_an_option() -> None:
    known = {key for kind in BUILT_IN.values() for key in numeric_options(kind)}
    assert known == set(RANGES)
    assert {"fraction_train", "eta", "clipped_count_stddev", "q", "num_malicious_nodes"} <= known


def test_a_range_says_its_ends() -> None:
    assert [str(RANGES[key]) for key in ("fraction_evaluate", "beta_1", "fraction_train", "noise_multiplier")] == [
        "0 to 1",
        "0 or above and below 1",
        "above 0 and at most 1",
        "0, or 1e-06 to 1000",
    ]
    assert str(RANGES["min_train_nodes"]) == "1 to 1e+06"
