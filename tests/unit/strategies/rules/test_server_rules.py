"""What must hold for every rule that implements `strategies.ServerRule`."""

import json
from typing import Any

import numpy as np
import pytest
from flwr.serverapp.strategy import FedAvg
from unit.strategies.in_memory_grid import GLOBAL, Latencies, Run, federate
from unit.strategies.rules.custom_rules import Learning, Mean, Remembering, Returning, Slotted, Wary
from unit.strategies.test_resume import checkpointed, outcome

from examples.custom_rule import ServerMomentum
from fedmeta_flwr.protocol.messages import Arrays
from strategies import Abstainers, ServerRule, StrategyError, make_strategy

RULES = "unit.strategies.rules.custom_rules"
ROUNDS = 5
# In round 1 client 3 is late, and arrives in round 2; in round 3 client 0 is.
LATENCIES = Latencies([[0, 1, 2, 4], [0.5, 1, 2.5, 0], [4, 1, 2, 1.5], [1, 0, 2, 3]])


def run_of(inner: Any, **options: Any) -> Run:
    settings = {"is_evaluated": lambda number: number % 2 == 0} | options
    return federate(LATENCIES, ROUNDS, inner=inner, **settings)


@pytest.mark.parametrize("late", ["drop", "next-round"])
@pytest.mark.parametrize("weighting", ["uniform", "num-examples"])
def test_a_mean_gives_what_fedavg_gives_bit_for_bit(late: str, weighting: str) -> None:
    flower, rule = (run_of(inner, late_updates=late, weighting=weighting) for inner in (FedAvg(), Mean()))
    assert any(sent < number for number, came in enumerate(rule.arrived(), 1) for _, sent in came) is (late != "drop")
    assert outcome(rule) == outcome(flower)
    for found, expected in zip(rule.arrays, flower.arrays, strict=True):
        assert list(found) == list(expected)
        assert {name: array.tobytes() for name, array in found.items()} == {
            name: array.tobytes() for name, array in expected.items()
        }
    for metrics in ("train_metrics_clientapp", "evaluate_metrics_clientapp"):
        assert getattr(rule.result, metrics) == getattr(flower.result, metrics)


@pytest.mark.parametrize("weighting", ["uniform", "num-examples"])
def test_a_rule_sees_each_update_beside_the_arrays_that_it_started_from(weighting: str) -> None:
    rule = Remembering()
    run = run_of(rule, late_updates="next-round", weighting=weighting, tolerated_adversaries=1, seed=5)
    started = [GLOBAL, *run.arrays]
    for number, (updates, context) in enumerate(rule.seen, start=1):
        assert (context.server_round, context.quorum, context.num_clients) == (number, 3, 4)
        assert (context.tolerated_adversaries, context.server_update) == (1, None)
        assert_equal(context.arrays, started[number - 1])
        arrived = sorted(run.arrived()[number - 1])
        assert [(update.partition_id, update.sent_in_round) for update in updates] == arrived
        for update in updates:
            assert update.is_late is (update.sent_in_round < number)
            assert_equal(update.sent, started[update.sent_in_round - 1])
            assert update.metrics["num-examples"] == 10 * (update.partition_id + 1)
            assert update.weight == (1 if weighting == "uniform" else 10 * (update.partition_id + 1))
            for name, difference in update.difference().items():
                np.testing.assert_array_equal(difference, update.arrays[name].astype(np.float64) - update.sent[name])
                expected = context.arrays[name] + difference if update.is_late else update.arrays[name]
                np.testing.assert_allclose(update.moved_to(context.arrays)[name], expected, rtol=1e-6)
    assert sum(update.is_late for updates, _ in rule.seen for update in updates) > 0


def assert_equal(found: Arrays, expected: Arrays) -> None:
    assert list(found) == list(expected)
    for name, array in found.items():
        np.testing.assert_array_equal(array, expected[name])


def test_the_draws_of_a_rule_are_the_same_for_the_same_seed_and_others_in_each_round() -> None:
    def draws(seed: int) -> list[float]:
        rule = Remembering()
        run_of(rule, seed=seed)
        return [context.rng.random() for _, context in rule.seen]

    assert draws(1) == draws(1) != draws(2)
    assert len(set(draws(1))) == ROUNDS


def test_a_rule_is_given_the_servers_update_if_the_run_offers_one() -> None:
    def server_update(arrays: Arrays) -> Arrays:
        return {name: array + 1 for name, array in arrays.items()}

    rule = Remembering()
    run_of(rule, server_update=server_update)
    assert rule.seen[0][1].server_update is server_update


@pytest.mark.parametrize(
    ("outcome_of_rule", "reason"),
    [
        (lambda arrays: None, "expected the new global arrays by name, found NoneType"),
        (lambda arrays: list(arrays.values()), "expected the new global arrays by name, found list"),
        (lambda arrays: {}, "expected aggregated arrays from 3 updates, found none"),
        (lambda arrays: dict(enumerate(arrays.values())), "expected the new global arrays by name"),
        (lambda arrays: {"weight": arrays["weight"]}, "expected the arrays .*'bias'"),
        (lambda arrays: arrays | {"more": arrays["bias"]}, "found .*'more'"),
        (lambda arrays: arrays | {"bias": np.zeros(3)}, r"array 'bias': expected shape \(2,\), found \(3,\)"),
        (lambda arrays: arrays | {"bias": np.array([np.nan, 1])}, "array 'bias': expected finite numbers"),
        (lambda arrays: arrays | {"bias": np.array([1e300, 1])}, "array 'bias': expected finite numbers"),
        (lambda arrays: arrays | {"bias": np.array([1j, 1])}, "array 'bias': expected real numbers, found complex128"),
        (lambda arrays: arrays | {"bias": np.array(["1", "2"])}, "array 'bias': expected real numbers"),
    ],
)
def test_a_rule_that_returns_something_else_than_the_global_arrays_ends_the_run(
    outcome_of_rule: Any, reason: str
) -> None:
    with pytest.raises(StrategyError, match=f"^round 1: strategy Returning: .*{reason}"):
        run_of(Returning(outcome_of_rule))


def test_what_a_rule_returns_is_rounded_to_the_dtypes_of_the_model() -> None:
    run = run_of(Returning(lambda arrays: {name: array.astype(np.float64) + 1e-9 for name, array in arrays.items()}))
    assert {array.dtype for array in run.arrays[-1].values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("part", ["arrays", "sent"])
def test_a_rule_cannot_change_what_updates_share(part: str) -> None:
    class Writing(ServerRule):
        def aggregate(self, updates: Any, context: Any) -> Arrays:
            getattr(updates[0], part)["bias"][0] = 1
            raise AssertionError

    with pytest.raises(ValueError, match="read-only"):
        run_of(Writing())


@pytest.mark.parametrize("late", ["drop", "next-round"])
@pytest.mark.parametrize("make", [Mean, ServerMomentum, lambda: Mean(pull=0.1)], ids=["mean", "momentum", "options"])
def test_a_rule_resumes_bit_for_bit(make: Any, late: str) -> None:
    options = {"late_updates": late, "is_evaluated": lambda number: number % 2 == 0}
    whole, states = checkpointed(ROUNDS, inner=make(), **options)
    for server_round in (1, 3):
        rest, _ = checkpointed(ROUNDS - server_round, inner=make(), state=states[server_round], **options)
        assert outcome(rest) == outcome(whole, after=server_round)


def test_momentum_is_part_of_the_state_that_a_rule_resumes_with() -> None:
    _, states = checkpointed(2, inner=ServerMomentum())
    forgotten = json.loads(json.dumps(states[2]["strategy"]["state"]["attributes"]["momentum"]))
    assert forgotten == 0.5
    assert set(states[2]["strategy"]["state"]["attributes"]["velocity"]) == set(GLOBAL)


def test_a_rule_that_cannot_be_saved_is_refused_before_the_first_message() -> None:
    rule = Remembering()
    rule.seen = [({1, 2}, None)]  # type: ignore[list-item]
    with pytest.raises(StrategyError, match="Remembering: attribute 'seen' cannot be saved"):
        run_of(rule, on_checkpoint=lambda *_: None)


@pytest.mark.parametrize(("rule", "name"), [(Learning(), "network"), (Slotted(), "velocity")])
def test_a_state_that_would_be_lost_is_refused_before_the_first_message(rule: ServerRule, name: str) -> None:
    with pytest.raises(StrategyError, match=f"attribute '{name}' cannot be .*; give .* state_dict and load_state_dict"):
        run_of(rule, on_checkpoint=lambda *_: None)
    run_of(rule)  # without checkpoints, nothing is lost


def test_what_a_rule_raises_ends_the_run_with_its_name_and_the_round() -> None:
    def outcome_of_rule(arrays: Arrays) -> Any:
        return arrays["no such"]

    with pytest.raises(StrategyError, match=r"^round 1: rule Returning: KeyError: 'no such'$") as raised:
        run_of(Returning(outcome_of_rule))
    assert isinstance(raised.value.__cause__, KeyError)


def test_a_rule_that_can_never_aggregate_the_quorum_is_refused_with_the_rules_reason() -> None:
    run_of(Wary(), tolerated_adversaries=1)
    with pytest.raises(StrategyError, match="strategy Wary: expected a quorum of at least 5, found 3"):
        run_of(Wary(), tolerated_adversaries=2)
    with pytest.raises(StrategyError, match="tolerated_adversaries: expected 0 or above, found -1"):
        run_of(Wary(), tolerated_adversaries=-1)
    with pytest.raises(StrategyError, match="quorum: expected 1 to num-clients"):
        run_of(Mean(), quorum=4, abstainers=Abstainers(training=frozenset({0})))


def test_a_rule_is_named_as_a_strategy_is_and_takes_its_options() -> None:
    assert make_strategy(f"{RULES}:Mean", '{"pull": 0.5}', 3, 4) == Mean(pull=0.5)


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        (f"{RULES}:Mean", '{"push": 1}', r"expected options of .*:Mean \(pull\), found 'push'"),
        (f"{RULES}:Mean", '{"pull": "x"}', "pull: expected float, found 'x'"),
        (f"{RULES}:WithoutAggregation", "", "to define all of ServerRule's methods, found none for aggregate"),
        (f"{RULES}:Arrays", "", "expected a subclass of flwr's Strategy or of strategies.ServerRule"),
        ("examples.custom_rule:ServerMomentum", '{"momentum": 1.5}', "momentum: expected 0 or above and below 1"),
        (
            "dp-server-fixed-clipping",
            json.dumps({"strategy": f"{RULES}:Mean"}),
            "expected a Strategy of flwr, found the rule",
        ),
    ],
)
def test_a_rule_that_cannot_be_made_is_refused_with_the_key(name: str, options: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make_strategy(name, options, 3, 4)
