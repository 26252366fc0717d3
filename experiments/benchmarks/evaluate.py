"""How fast a client evaluates, including the curve of 500 fine-tuning steps, compared with a bare loop in PyTorch."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from experiments.benchmarks import bare_loop
from experiments.benchmarks.race import Contender, Tell, Turn, race
from experiments.benchmarks.workload import CPU, INNER_STEPS, SHOT, WAY, Workload, as_task, drawings, in_default_layout
from fedmeta_flwr.attacks import build_key, stamped_sets
from fedmeta_flwr.data import ClassSplit, Roles, SplitSizes, split_classes
from fedmeta_flwr.learning import EvaluationPlan, by_fine_tuning, evaluate, fast_layout, to_batch
from fedmeta_flwr.records import CURVES, Counts

BATCH_NORM = "support"
CURVE_STEPS = (0, 1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 400, 500)
_EPISODES = {(INNER_STEPS,): 10, CURVE_STEPS: 1}


def measure(repetitions: int, tell: Tell) -> list[dict[str, Any]]:
    """Return a row for each contender of each case; one thread. An episode is one draw: all four curves."""
    torch.set_num_threads(1)
    rows = []
    with drawings() as workload:
        for steps, episodes in _EPISODES.items():
            plan = evaluation_plan(workload, episodes)
            contenders = [
                Contender("this project", partial(_ours, workload, plan, steps), episodes),
                Contender("bare loop", partial(bare_counts, workload, plan, steps), episodes),
            ]
            case = f"{workload.name}, {BATCH_NORM}, {steps[-1]} steps, asked at {len(steps)} of them"
            on_turn = partial(_tell, tell, case, repetitions)
            rows += [{"case": case, **row} for row in race(contenders, repetitions, on_turn)]
    return rows


def _tell(tell: Tell, case: str, turns: int, number: int) -> None:
    tell(Turn(case, number, turns))


def evaluation_plan(workload: Workload, episodes: int) -> EvaluationPlan:
    """Return the evaluation of the first benign client of a small federation."""
    instances, side = workload.images.shape[1], workload.images.shape[-1]
    split = _split(len(workload.images), instances)
    key = build_key("dots", channels=1, image_size=side, size=6, position="bottom-right", intensity=1.0)
    return EvaluationPlan(
        images=workload.images,
        split=split,
        stamped=stamped_sets(workload.images, split, key),
        batch_norm=BATCH_NORM,
        way=WAY,
        shot=SHOT,
        query_shot=SHOT,
        episodes=episodes,
        seed=0,
        partition_id=1,
    )


def _split(classes: int, instances: int) -> ClassSplit:
    sizes = SplitSizes(
        case="a",
        roles=Roles.with_first_adversaries(1, num_clients=4),
        partition="random",
        meta_test_fraction=0.25,
        backdoor_classes=4,
        attack_training_instances=5,
        attack_validation_instances=5,
        way=WAY,
        shot=SHOT,
        query_shot=SHOT,
        evaluate_query_shot=SHOT,
    )
    return split_classes(instances, ["one"] * classes, sizes, 0)


def _ours(workload: Workload, plan: EvaluationPlan, steps: Sequence[int]) -> list[dict[str, Counts]]:
    model = workload.model().to(memory_format=fast_layout(CPU))
    return evaluate(plan, by_fine_tuning(model, workload.inner(BATCH_NORM), steps), CPU)


def bare_counts(workload: Workload, plan: EvaluationPlan, steps: Sequence[int]) -> list[dict[str, list[int]]]:
    """Return the hits of every curve, an entry per episode, at each number of steps."""
    parameters = list(workload.model().parameters())
    recipe = workload.recipe("fomaml", BATCH_NORM)
    stamped = _stamped(plan)
    hits: list[dict[str, list[int]]] = [{curve: [] for curve in CURVES} for _ in steps]
    for index in range(plan.episodes):
        unseen, attacked = as_task(plan.meta_testing_episode(index)), plan.attacked_episode(index)
        target, task = attacked.label_of(plan.split.target_class), as_task(attacked)
        clean = {"meta_testing": (unseen.query, unseen.query_labels)}
        asked = {"main_task": (task.query, task.query_labels)}
        asked |= {curve: (images, torch.full((len(images),), target)) for curve, images in stamped.items()}
        for one, queries in ((unseen, clean), (task, asked)):
            counted = bare_loop.count_hits(parameters, one, list(queries.values()), recipe, steps)
            for stage, numbers in zip(hits, counted, strict=True):
                for curve, number in zip(queries, numbers, strict=True):
                    stage[curve].append(number)
    return hits


def _stamped(plan: EvaluationPlan) -> dict[str, Tensor]:
    return {
        curve: in_default_layout(to_batch(found, np.zeros(len(found), np.int64), CPU).images)
        for curve, found in plan.stamped.items()
    }
