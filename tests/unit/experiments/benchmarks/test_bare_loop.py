"""What benchmarks compare computes the same."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest
import torch

from experiments.benchmarks import bare_loop
from experiments.benchmarks.evaluate import bare_counts, evaluation_plan
from experiments.benchmarks.race import Contender, race
from experiments.benchmarks.update import meta_batches
from experiments.benchmarks.workload import CPU, Workload, as_task, drawings, photos
from fedmeta_flwr.learning.device import fast_layout
from fedmeta_flwr.learning.evaluation import by_fine_tuning, evaluate
from fedmeta_flwr.learning.meta_learning import outer_loop


@pytest.fixture(scope="module", params=["drawings", "photos"])
def workload(request: pytest.FixtureRequest) -> Iterator[Workload]:
    with {"drawings": drawings, "photos": photos}[request.param]() as made:
        yield replace(made, filters=8)


def test_the_bare_loop_is_given_pytorchs_default_layout(workload: Workload) -> None:
    ((episode, *_),) = meta_batches(workload, 1)
    _, channels, height, width = as_task(episode).support.shape
    assert as_task(episode).support.stride() == (channels * height * width, height * width, width, 1)


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize("batch_norm", ["transductive", "support"])
@pytest.mark.parametrize("algorithm", ["fomaml", "maml"])
def test_a_clients_update_equals_the_bare_loops(workload: Workload, algorithm: str, batch_norm: str) -> None:
    ours, theirs = workload.model().to(memory_format=fast_layout(CPU)), list(workload.model().parameters())
    start = [value.detach().clone() for value in theirs]
    batches = meta_batches(workload, 2)
    sgd = torch.optim.SGD(ours.parameters(), lr=0.1)
    outer_loop(ours, batches, algorithm=algorithm, inner=workload.inner(batch_norm), optimizer=sgd)
    tasks = [[as_task(episode) for episode in batch] for batch in batches]
    bare_loop.update(theirs, tasks, workload.recipe(algorithm, batch_norm), torch.optim.SGD(theirs, lr=0.1))
    for found, expected, before in zip(ours.parameters(), theirs, start, strict=True):
        moved = (expected - before).abs().max().item()
        assert moved > 0
        torch.testing.assert_close(found - before, expected - before, rtol=1e-9, atol=1e-9 * moved)


def test_evaluation_counts_what_the_bare_loop_counts() -> None:
    with drawings() as made:
        workload = replace(made, filters=8)
        plan, steps = evaluation_plan(workload, 3), (0, 1, 3)
        adapt = by_fine_tuning(workload.model(), workload.inner(plan.batch_norm), steps)
        counted = [{curve: counts.hits for curve, counts in stage.items()} for stage in evaluate(plan, adapt, CPU)]
        assert counted == bare_counts(workload, plan, steps)


def test_a_race_compares_turn_by_turn() -> None:
    runs: list[str] = []
    contenders = [Contender("a", partial(runs.append, "a"), 1), Contender("b", partial(runs.append, "b"), 2)]
    first, second = race(contenders, 2)
    assert runs == ["a", "b", "a", "b", "b", "a"]
    assert first["ratio"] == {"median": 1, "lowest": 1, "highest": 1}
    expected = [(1 / ours) / (2 / theirs) for ours, theirs in zip(first["seconds"], second["seconds"], strict=True)]
    assert sorted(expected) == pytest.approx([second["ratio"]["lowest"], second["ratio"]["highest"]])
    assert len(second["seconds"]) == 2
