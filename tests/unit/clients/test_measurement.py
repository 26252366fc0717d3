"""Accuracies and curves along local steps: when they are measured, and what their points are."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from flwr.app import Message, MessageType, RecordDict
from unit.small_federation import SMALL, RunConfigs, bits, client_of, scenario_of

from clients import BenignClient
from clients.measurement import Accuracies
from fedmeta_flwr.apps.preflight import first_arrivals, inner_strategy
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.defenses import Defense, LocalContext, MatchingSettings, StepCurve
from fedmeta_flwr.defenses.matching.rescue import Rescue
from fedmeta_flwr.defenses.none import HeadSteps
from fedmeta_flwr.learning.batches import Batch
from fedmeta_flwr.learning.evaluation import Adapt, EvaluationPlan, Predict, by_fine_tuning, by_matching, evaluate
from fedmeta_flwr.learning.fine_tuning import InnerLoop
from fedmeta_flwr.learning.matching_network import Attention, MatchingNetwork
from fedmeta_flwr.learning.models import Classifier, get_arrays
from fedmeta_flwr.protocol.messages import evaluate_reply, metrics_to_counts, metrics_to_step_curves
from fedmeta_flwr.records.results import CURVES
from strategies.errors import RejectedReplyError

CPU = torch.device("cpu")
HERE = "unit.clients.test_measurement"
STEPS = {"fine_tuning": [0, 2, 5], "matching": [0, 1, 3], "head": [0, 1, 3]}


class Opposite(Defense):
    """Shares no head, and adapts step by step to an episode: after an odd number of steps it reverses its answers."""

    label = "opposite"
    has_head = False
    curve = StepCurve("opposite", "opposite", "turns", is_of_episode=True)

    def model(self, classifier: Classifier, matching: MatchingSettings) -> MatchingNetwork:
        return MatchingNetwork(classifier.embedding, matching.new_attention(classifier.embedding.features))

    def adapt(self, network: MatchingNetwork, context: LocalContext) -> Adapt:
        return self.adapt_in_stages(network, context, [0])

    def adapt_in_stages(self, network: MatchingNetwork, context: LocalContext, steps: Sequence[int]) -> Adapt:
        def turned(predict: Predict, step: int) -> Predict:
            return lambda images: (-1) ** step * predict(images)

        def adapt(support: Batch) -> list[Predict]:
            (predict,) = by_matching(network, context.inner.batch_norm)(support)
            return [turned(predict, step) for step in steps]

        return adapt


@pytest.fixture
def configured(run_config: RunConfigs, tmp_path_factory: pytest.TempPathFactory) -> RunConfigs:
    """Return a small federation's configuration, by default with all curves along local steps."""

    def small(**changes: Any) -> RunConfig:
        cache = str(tmp_path_factory.getbasetemp() / "strokes")
        return run_config(**{**SMALL, "step_curves": "fine-tuning matching head", "cache_dir": cache, **changes})

    return small


def metrics_of(client: BenignClient, server_round: int) -> dict[str, Any]:
    return client.evaluate(client.get_parameters({}), {"server-round": server_round})[2]


def curves(client: BenignClient, server_round: int = 3) -> dict[str, dict[int, Accuracies]]:
    return client.measurement.along_steps(client.model, server_round)


def test_step_curves_are_measured_only_before_the_attack_and_right_after_it(
    configured: RunConfigs, tmp_path: Path
) -> None:
    client = client_of(configured(), tmp_path)
    measured = {server_round: metrics_to_step_curves(metrics_of(client, server_round)) for server_round in range(1, 7)}
    assert [server_round for server_round, found in measured.items() if found] == [2, 3]
    for server_round in (2, 3):
        assert {name: list(points) for name, points in measured[server_round].items()} == STEPS
        for name, points in measured[server_round].items():
            episodes = 1 if name == "fine_tuning" else 2
            for counts in points.values():
                assert set(counts) == set(CURVES)
                assert all(len(numbers.hits) == len(numbers.trials) == episodes for numbers in counts.values())
    assert measured[2] == measured[3]  # the same episodes, hence the same counts of the same model


@pytest.mark.parametrize("defense", ["none", "rescue"])
def test_the_counts_do_not_change_when_step_curves_are_measured(
    configured: RunConfigs, tmp_path: Path, defense: str
) -> None:
    plain = metrics_of(client_of(configured(defense=defense, step_curves=""), tmp_path), 3)
    client = client_of(configured(defense=defense), tmp_path)
    before = bits(get_arrays(client.model))
    measured = metrics_of(client, 3)
    assert metrics_to_counts(measured) == metrics_to_counts(plain) == metrics_to_counts(metrics_of(client, 1))
    assert {key: value for key, value in measured.items() if ":" not in key} == plain
    assert len(measured) > len(plain)
    assert bits(get_arrays(client.model)) == before


@pytest.mark.parametrize("defense", ["none", "rescue", "federation"])
def test_step_0_of_matching_is_matching_without_training(configured: RunConfigs, tmp_path: Path, defense: str) -> None:
    config = configured(defense=defense, step_curves="matching")
    client = client_of(config, tmp_path)
    embedding = client.model.embedding
    network = MatchingNetwork(embedding, Attention(embedding.features, config.matching_temperature))
    (untrained,) = evaluate(client.measurement.plan, by_matching(network, config.batch_norm), CPU)
    points = curves(client)["matching"]
    assert points[0] == untrained
    assert points[3] != untrained


def test_matching_trains_embedding_and_attention_on_the_clients_classes(configured: RunConfigs, tmp_path: Path) -> None:
    config = configured(step_curves="matching", matching_steps=3, local_curve_steps="0 1 3")
    client = client_of(config, tmp_path)
    context = client.measurement.context
    assert context.holdings == scenario_of(config).split.training(1)
    local = Rescue().local_steps(context)
    assert (local.steps, local.lr) == (3, config.matching_lr)
    network = MatchingNetwork(
        copy.deepcopy(client.model.embedding), Attention(client.model.embedding.features, config.matching_temperature)
    )
    start = bits(get_arrays(network))
    list(local.training.train_in_stages(network, context.holdings, steps=[3], lr=local.lr))
    assert all(start[name] != trained for name, trained in bits(get_arrays(network)).items())
    (expected,) = evaluate(client.measurement.plan, by_matching(network, config.batch_norm), CPU)
    assert curves(client)["matching"][3] == expected
    rescued = client_of(configured(defense="rescue", matching_steps=3), tmp_path)
    assert rescued.measurement.accuracies(rescued.model) == expected


def test_stages_of_local_training_are_as_many_steps_at_once(configured: RunConfigs, tmp_path: Path) -> None:
    client = client_of(configured(), tmp_path)
    context = client.measurement.context
    for defense in (HeadSteps(), Rescue()):
        stages = {step: bits(get_arrays(network)) for step, network in defense.stages(client.model, context, [0, 1, 4])}
        ((_, at_once),) = defense.stages(client.model, context, [4])
        assert list(stages) == [0, 1, 4]
        assert stages[4] == bits(get_arrays(at_once))
        assert stages[0] == bits(get_arrays(defense.network(client.model, context))) != stages[1] != stages[4]


def test_training_and_evaluation_know_how_many_episodes_a_gpu_takes_at_once(
    configured: RunConfigs, tmp_path: Path
) -> None:
    context = client_of(configured(episodes_at_once=3), tmp_path).measurement.context
    learn = cast("partial[float]", context.training.learn)
    assert context.inner.episodes_at_once == learn.keywords["inner"].episodes_at_once == 3


def test_the_fine_tuning_curve_runs_through_the_standard_counts_of_its_episodes(
    configured: RunConfigs, tmp_path: Path
) -> None:
    config = configured(step_curves="fine-tuning", evaluate_inner_steps=2)
    client = client_of(config, tmp_path)
    points, standard = curves(client)["fine_tuning"], client.measurement.accuracies(client.model)
    for curve in CURVES:
        assert points[2][curve].hits == standard[curve].hits[:1]
        assert points[2][curve].trials == standard[curve].trials[:1]
    inner = InnerLoop(config.inner_lr, 0, config.batch_norm)
    plan = replace(client.measurement.plan, episodes=1)
    assert [points[5]] == evaluate(plan, by_fine_tuning(client.model, inner, [5]), CPU)


def test_the_head_curve_begins_with_the_model_as_it_was_sent(configured: RunConfigs, tmp_path: Path) -> None:
    client = client_of(configured(step_curves="head"), tmp_path)
    points = curves(client)["head"]
    assert points[0] == client.measurement.accuracies(client.model)
    assert points[3] != points[0]


@pytest.mark.parametrize(
    ("defense", "step_curves"), [("none", "head"), ("rescue", "matching"), ("federation", "matching")]
)
def test_a_point_that_is_on_a_curve_and_in_use_is_measured_once(
    configured: RunConfigs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, defense: str, step_curves: str
) -> None:
    config = configured(defense=defense, step_curves=step_curves, matching_steps=3)
    client = client_of(config, tmp_path)
    measurement = client.measurement
    expected = measurement.accuracies(client.model), measurement.along_steps(client.model, 3)
    evaluations: list[EvaluationPlan] = []

    def counted(plan: EvaluationPlan, adapt: Adapt, device: torch.device) -> list[Accuracies]:
        evaluations.append(plan)
        return evaluate(plan, adapt, device)

    monkeypatch.setattr("clients.measurement.evaluate", counted)
    assert measurement.measure(client.model, 3) == expected
    assert len(evaluations) == len(measurement.local_steps)
    assert measurement.measure(client.model, 1) == (expected[0], {})


def test_a_curve_has_no_more_episodes_than_the_evaluation(configured: RunConfigs, tmp_path: Path) -> None:
    config = configured(step_curves="fine-tuning", fine_tuning_curve_episodes=9)
    points = curves(client_of(config, tmp_path))["fine_tuning"]
    assert {len(points[0][curve].hits) for curve in CURVES} == {2}


@pytest.mark.parametrize(
    "changes", [{}, {"attack_training_instances": 4, "attack_validation_instances": 3, "case": "c"}]
)
@pytest.mark.usefixtures("task_identity")
def test_a_client_counts_what_the_server_expects_and_nothing_else_is_admitted(
    changes: dict[str, Any], configured: RunConfigs, tmp_path: Path
) -> None:
    config = configured(**changes)
    guard = first_arrivals(config, inner_strategy(config), first_round=1).guard
    instruction = Message(RecordDict(), dst_node_id=3, message_type=MessageType.EVALUATE)
    metrics = metrics_of(client_of(config, tmp_path), server_round=3)
    evaluation = guard.read_evaluation(3, evaluate_reply(instruction, 10, metrics), instruction)
    assert set(evaluation.step_curves) == set(STEPS)
    for name in (name for name in metrics if name.endswith("-trials")):
        more = {**metrics, name: [number + 1 for number in metrics[name]]}
        with pytest.raises(RejectedReplyError, match="trials in each episode"):
            guard.read_evaluation(3, evaluate_reply(instruction, 10, more), instruction)


@pytest.mark.usefixtures("task_identity")
def test_a_curve_of_an_episode_is_that_of_its_defense_and_reaches_the_results(
    configured: RunConfigs, tmp_path: Path
) -> None:
    config = configured(defense=f"{HERE}:Opposite", step_curves="opposite")
    guard = first_arrivals(config, inner_strategy(config), first_round=1).guard
    instruction = Message(RecordDict(), dst_node_id=3, message_type=MessageType.EVALUATE)
    metrics = metrics_of(client_of(config, tmp_path), server_round=3)
    evaluation = guard.read_evaluation(3, evaluate_reply(instruction, 10, metrics), instruction)
    points = evaluation.step_curves["opposite"]
    first = {curve: (numbers.hits[:1], numbers.trials[:1]) for curve, numbers in evaluation.counts.items()}
    assert {curve: (numbers.hits, numbers.trials) for curve, numbers in points[0].items()} == first
    assert points[0] == points[2] != points[5]
