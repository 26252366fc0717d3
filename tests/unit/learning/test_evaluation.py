from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from fedmeta_flwr.attacks.key import build_key
from fedmeta_flwr.attacks.stamping import stamped_sets
from fedmeta_flwr.data.roles import Roles
from fedmeta_flwr.data.split import SplitSizes, split_classes
from fedmeta_flwr.learning import batched
from fedmeta_flwr.learning.batches import Batch, query_of, support_of, to_batch
from fedmeta_flwr.learning.evaluation import (
    EvaluationPlan,
    FineTuning,
    Predict,
    by_fine_tuning,
    by_matching,
    evaluate,
)
from fedmeta_flwr.learning.fine_tuning import InnerLoop, fine_tuning, query_logits
from fedmeta_flwr.learning.matching_network import Attention, MatchingNetwork
from fedmeta_flwr.learning.models import Classifier, build_classifier
from fedmeta_flwr.records.entries import Counts
from fedmeta_flwr.records.results import CURVES

CPU = torch.device("cpu")
SIZES = SplitSizes(
    roles=Roles.with_first_adversaries(1, num_clients=2),
    case="a",
    partition="random",
    meta_test_fraction=0.25,
    backdoor_classes=4,
    attack_training_instances=3,
    attack_validation_instances=2,
    way=5,
    shot=2,
    query_shot=2,
    evaluate_query_shot=2,
)


@pytest.fixture
def make_plan(noise_images: np.ndarray) -> Callable[..., EvaluationPlan]:
    def make(case: str = "a", batch_norm: str = "support", episodes: int = 3) -> EvaluationPlan:
        split = split_classes(20, ["A"] * 40, replace(SIZES, case=case), 0)
        key = build_key("dots", channels=1, image_size=16, size=6, position="top-left", intensity=1.0)
        return EvaluationPlan(
            images=noise_images,
            split=split,
            stamped=stamped_sets(noise_images, split, key),
            batch_norm=batch_norm,
            way=5,
            shot=2,
            query_shot=2,
            episodes=episodes,
            seed=0,
            partition_id=1,
        )

    return make


@pytest.fixture
def model() -> Classifier:
    generator = torch.Generator().manual_seed(0)
    return build_classifier("conv4", channels=1, image_size=16, filters=4, way=5, generator=generator)


def tuned_counts(model: Classifier, plan: EvaluationPlan, steps: int = 2) -> dict[str, Counts]:
    (counts,) = evaluate(plan, by_fine_tuning(model, InnerLoop(0.1, steps, plan.batch_norm), [steps]), CPU)
    return counts


@pytest.mark.parametrize("batch_norm", ["support", "transductive"])
def test_counts_have_an_entry_per_episode_and_the_documented_trials(
    make_plan: Callable[..., EvaluationPlan], model: Classifier, batch_norm: str
) -> None:
    counts = tuned_counts(model, make_plan(batch_norm=batch_norm))
    assert tuple(counts) == CURVES
    trials = {"meta_testing": 10, "main_task": 10, "attack_training": 4 * 3, "attack_validation": 4 * 2}
    for curve, count in counts.items():
        assert count.trials == [trials[curve]] * 3
        assert all(0 <= hits <= trials[curve] for hits in count.hits)


@pytest.mark.parametrize("batch_norm", ["support", "transductive"])
def test_hits_are_those_of_a_plain_loop(
    make_plan: Callable[..., EvaluationPlan], model: Classifier, batch_norm: str
) -> None:
    plan, inner = make_plan(batch_norm=batch_norm, episodes=2), InnerLoop(0.1, 2, batch_norm)
    expected: dict[str, list[int]] = {curve: [] for curve in CURVES}
    for index in range(2):
        for curve, episode in (
            ("meta_testing", plan.meta_testing_episode(index)),
            ("main_task", plan.attacked_episode(index)),
        ):
            support, query = support_of(episode, CPU), query_of(episode, CPU)
            logits = query_logits(next(fine_tuning(model, support, inner, [2])), support, query.images, batch_norm)
            expected[curve].append(int((logits.argmax(1) == query.labels).sum()))
        target = episode.label_of(plan.split.target_class)
        for curve in ("attack_training", "attack_validation"):
            stamped = plan.stamped[curve]
            batch = to_batch(stamped, np.full(len(stamped), target), CPU)
            tuned = next(fine_tuning(model, support, inner, [2]))
            hits = 0
            for part in torch.split(batch.images, 2):  # a class has two queries; clean queries share the batch
                logits = query_logits(tuned, support, torch.cat([query.images, part]), batch_norm)
                hits += int((logits[len(query.images) :].argmax(1) == target).sum())
            expected[curve].append(hits)
    assert {curve: count.hits for curve, count in tuned_counts(model, plan).items()} == expected


def test_a_model_that_always_answers_the_target_scores_all_backdoor_trials(
    make_plan: Callable[..., EvaluationPlan], model: Classifier
) -> None:
    plan = make_plan(episodes=1)
    label = plan.attacked_episode(0).label_of(plan.split.target_class)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.eye(5)[label])
    counts = tuned_counts(model, plan, steps=0)
    assert counts["attack_training"].hits == counts["attack_training"].trials
    assert counts["attack_validation"].hits == counts["attack_validation"].trials
    assert counts["main_task"].hits == [2]  # the two queries of the target


def test_episodes_are_the_same_in_every_round_and_differ_between_clients(
    make_plan: Callable[..., EvaluationPlan],
) -> None:
    plan = make_plan()
    assert (plan.meta_testing_episode(0).support == plan.meta_testing_episode(0).support).all()
    other = replace(plan, partition_id=2)
    assert not np.array_equal(plan.meta_testing_episode(0).support, other.meta_testing_episode(0).support)


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_backdoor_classes_are_in_the_support_set_in_case_c_only(
    make_plan: Callable[..., EvaluationPlan], case: str
) -> None:
    plan = make_plan(case=case)
    for index in range(5):
        classes = set(plan.attacked_episode(index).classes.tolist())
        assert plan.split.target_class in classes
        assert bool(classes & set(plan.split.backdoor_classes)) == (case == "c")
        assert not set(plan.meta_testing_episode(index).classes.tolist()) & {
            plan.split.target_class,
            *plan.split.backdoor_classes,
        }


@pytest.mark.parametrize(("case", "share"), [("a", 0.0), ("b", 0.0), ("c", 20 / 25)])
def test_main_task_queries_are_images_that_benign_clients_train_on_as_far_as_the_definitions_say(
    make_plan: Callable[..., EvaluationPlan], case: str, share: float
) -> None:
    plan = replace(make_plan(case=case), query_shot=5)
    held = plan.split.training(1)
    trained = {plan.images[index, one].tobytes() for index, instances in held.items() for one in instances}
    for index in range(3):
        query = plan.attacked_episode(index).query
        assert len(query) == 25
        assert np.mean([image.tobytes() in trained for image in query]) == share


@pytest.mark.parametrize("batch_norm", ["support", "transductive"])
def test_stages_of_one_evaluation_equal_evaluations_of_a_single_stage(
    make_plan: Callable[..., EvaluationPlan], model: Classifier, batch_norm: str
) -> None:
    plan, inner, steps = make_plan(batch_norm=batch_norm), InnerLoop(0.5, 9, batch_norm), [0, 1, 4]
    stages = evaluate(plan, by_fine_tuning(model, inner, steps), CPU)
    assert stages == [evaluate(plan, by_fine_tuning(model, inner, [step]), CPU)[0] for step in steps]
    assert len({str(stage) for stage in stages}) == 3  # stages that all counted alike would show nothing


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("at_once", [2, 8])
@pytest.mark.parametrize("batch_norm", ["support", "transductive"])
def test_counts_of_several_episodes_at_once_are_those_of_the_loop(
    make_plan: Callable[..., EvaluationPlan],
    model: Classifier,
    batch_norm: str,
    at_once: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan, steps = make_plan(batch_norm=batch_norm), [0, 1, 4]
    in_loop = evaluate(plan, by_fine_tuning(model.double(), InnerLoop(0.5, 9, batch_norm), steps), CPU)
    monkeypatch.setattr(batched, "_gains_from_batches", lambda _: True)
    adapt = by_fine_tuning(model, InnerLoop(0.5, 9, batch_norm, at_once), steps)
    supports: list[Batch] = []
    call = FineTuning.__call__

    def recorded(self: FineTuning, support: Batch) -> Iterator[Predict]:
        supports.append(support)
        return call(self, support)

    monkeypatch.setattr(FineTuning, "__call__", recorded)
    assert evaluate(plan, adapt, CPU) == in_loop
    expected = [2, 2, 0, 0] if at_once == 2 else [3, 3]
    assert [len(support.labels) if support.labels.dim() == 2 else 0 for support in supports] == expected
    assert len({str(stage) for stage in in_loop}) == 3


def test_each_support_set_is_adapted_to_once_whatever_the_number_of_stages(
    make_plan: Callable[..., EvaluationPlan],
) -> None:
    adapted: list[bytes] = []

    def always(label: int) -> Predict:
        def predict(images: Tensor) -> Tensor:
            return torch.eye(5)[label].expand(len(images), 5)

        return predict

    def adapt(support: Batch) -> Iterator[Predict]:
        adapted.append(support.images.numpy().tobytes())
        for label in range(5):
            yield always(label)

    stages = evaluate(make_plan(episodes=3), adapt, CPU)
    assert len(adapted) == len(set(adapted)) == 2 * 3
    assert [stage["meta_testing"].hits for stage in stages] == [[2] * 3] * 5  # each label has two queries
    assert np.sum([stage["attack_training"].hits for stage in stages]) == 3 * 12  # one of the labels is the target's


@pytest.mark.parametrize("batch_norm", ["support", "transductive"])
def test_hits_by_matching_are_those_of_a_plain_loop(
    make_plan: Callable[..., EvaluationPlan], model: Classifier, batch_norm: str
) -> None:
    plan = make_plan(batch_norm=batch_norm, episodes=2)
    network = MatchingNetwork(model.embedding, Attention(model.embedding.features, 0.1))
    expected: dict[str, list[int]] = {curve: [] for curve in CURVES}
    for index in range(2):
        for curve, episode in (
            ("meta_testing", plan.meta_testing_episode(index)),
            ("main_task", plan.attacked_episode(index)),
        ):
            support, query = support_of(episode, CPU), query_of(episode, CPU)
            predicted = network(support, query.images, batch_norm).argmax(1)
            expected[curve].append(int((predicted == query.labels).sum()))
        target = episode.label_of(plan.split.target_class)
        for curve in ("attack_training", "attack_validation"):
            stamped = plan.stamped[curve]
            hits = 0
            for part in torch.split(to_batch(stamped, np.zeros(len(stamped), np.int64), CPU).images, 2):
                predicted = network(support, torch.cat([query.images, part]), batch_norm).argmax(1)
                hits += int((predicted[len(query.images) :] == target).sum())
            expected[curve].append(hits)
    (counts,) = evaluate(plan, by_matching(network, batch_norm), CPU)
    assert {curve: count.hits for curve, count in counts.items()} == expected
