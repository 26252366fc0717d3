from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedmeta_flwr.backdoor import build_key, stamp
from fedmeta_flwr.class_split import SplitSizes, split_classes
from fedmeta_flwr.evaluation import EvaluationPlan, evaluate, stamped_images
from fedmeta_flwr.meta_learning import InnerLoop, fine_tuned, query_logits, query_of, support_of, to_batch
from fedmeta_flwr.models import Classifier, build_classifier
from fedmeta_flwr.results import CURVES

SIZES = SplitSizes(
    num_clients=2,
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
        return EvaluationPlan(
            images=noise_images,
            split=split_classes(20, ["A"] * 40, replace(SIZES, case=case), 0),
            key=build_key("dots", channels=1, image_size=16, size=6, position="top-left", intensity=1.0),
            inner=InnerLoop(0.1, 2, batch_norm),
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


@pytest.mark.parametrize("batch_norm", ["support", "transductive"])
def test_counts_have_an_entry_per_episode_and_the_documented_trials(
    make_plan: Callable[..., EvaluationPlan], model: Classifier, batch_norm: str
) -> None:
    counts = evaluate(model, make_plan(batch_norm=batch_norm))
    assert tuple(counts) == CURVES
    trials = {"meta_testing": 10, "main_task": 10, "attack_training": 4 * 3, "attack_validation": 4 * 2}
    for curve, count in counts.items():
        assert count.trials == [trials[curve]] * 3
        assert all(0 <= hits <= trials[curve] for hits in count.hits)


@pytest.mark.parametrize("batch_norm", ["support", "transductive"])
def test_hits_are_those_of_a_plain_loop(
    make_plan: Callable[..., EvaluationPlan], model: Classifier, batch_norm: str
) -> None:
    plan = make_plan(batch_norm=batch_norm, episodes=2)
    device = torch.device("cpu")
    expected: dict[str, list[int]] = {curve: [] for curve in CURVES}
    for index in range(2):
        for curve, episode in (
            ("meta_testing", plan.meta_testing_episode(index)),
            ("main_task", plan.attacked_episode(index)),
        ):
            support, query = support_of(episode, device), query_of(episode, device)
            logits = query_logits(fine_tuned(model, support, plan.inner), support, query.images, batch_norm)
            expected[curve].append(int((logits.argmax(1) == query.labels).sum()))
        target = episode.label_of(plan.split.target_class)
        for curve in ("attack_training", "attack_validation"):
            stamped = stamped_images(plan.images, getattr(plan.split, curve), plan.key)
            batch = to_batch(stamped, np.full(len(stamped), target), device)
            tuned = fine_tuned(model, support, plan.inner)
            hits = 0
            for part in torch.split(batch.images, 2):  # a class has two queries; clean queries share the batch
                logits = query_logits(tuned, support, torch.cat([query.images, part]), batch_norm)
                hits += int((logits[len(query.images) :].argmax(1) == target).sum())
            expected[curve].append(hits)
    assert {curve: count.hits for curve, count in evaluate(model, plan).items()} == expected


def test_a_model_that_always_answers_the_target_scores_all_backdoor_trials(
    make_plan: Callable[..., EvaluationPlan], model: Classifier
) -> None:
    plan = replace(make_plan(), inner=InnerLoop(0.1, 0, "support"), episodes=1)
    label = plan.attacked_episode(0).label_of(plan.split.target_class)
    with torch.no_grad():
        model.head.weight.zero_()
        model.head.bias.copy_(torch.eye(5)[label])
    counts = evaluate(model, plan)
    assert counts["attack_training"].hits == counts["attack_training"].trials
    assert counts["attack_validation"].hits == counts["attack_validation"].trials
    assert counts["main_task"].hits == [2]  # the target's own two queries


def test_episodes_are_the_same_in_every_round_and_differ_between_clients(
    make_plan: Callable[..., EvaluationPlan],
) -> None:
    plan = make_plan()
    assert (plan.meta_testing_episode(0).support == plan.meta_testing_episode(0).support).all()
    other = replace(plan, partition_id=2)
    assert not np.array_equal(plan.meta_testing_episode(0).support, other.meta_testing_episode(0).support)


@pytest.mark.parametrize("case", ["a", "b", "c"])
def test_backdoor_classes_stand_in_the_support_set_in_case_c_alone(
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


def test_stamped_images_are_the_held_ones_with_the_key(
    make_plan: Callable[..., EvaluationPlan], noise_images: np.ndarray
) -> None:
    plan = make_plan()
    stamped = stamped_images(noise_images, {3: np.array([1]), 2: np.array([0, 5])}, plan.key)
    expected = stamp(np.stack([noise_images[2, 0], noise_images[2, 5], noise_images[3, 1]]), plan.key)
    assert (stamped == expected).all()
