"""The fresh head: an oracle in plain PyTorch, and what its options tune."""

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from unit.small_federation import SMALL, RunConfigs, bits, client_of

from clients import BenignClient
from fedmeta_flwr.defenses.fresh_head import FreshHead
from fedmeta_flwr.learning import Batch, Classifier, Prediction, get_arrays
from fedmeta_flwr.learning.batches import query_of, support_of

CPU = torch.device("cpu")


@pytest.fixture
def client(run_config: RunConfigs, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> BenignClient:
    cache = str(tmp_path_factory.getbasetemp() / "strokes")
    return client_of(run_config(**SMALL, step_curves="fresh-head", cache_dir=cache), tmp_path)


def adapted(client: BenignClient, model: Any, **options: Any) -> tuple[Prediction, Batch, Tensor]:
    """Return the prediction with a fresh head, the support set, and the queries, of the client's first episode."""
    episode = client.measurement.plan.attacked_episode(0)
    support = support_of(episode, CPU)
    with client.measurement.plan.draws("attacked", 0):
        (predict,) = FreshHead(**options).adapt(model, client.measurement.context)(support)
    assert isinstance(predict, Prediction)
    return predict, support, query_of(episode, CPU).images


def oracle(client: BenignClient, model: Classifier, support: Batch, *, steps: int, lr: float, tuned: str) -> Classifier:
    """Return a copy of the model with a new head, tuned by PyTorch's own optimiser."""
    found = copy.deepcopy(model)
    with client.measurement.plan.draws("attacked", 0):
        nn.init.xavier_uniform_(found.head.weight)
        nn.init.zeros_(found.head.bias)
    optimizer = torch.optim.SGD((found if tuned == "all" else found.head).parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        loss: Any = functional.cross_entropy(found(support.images), support.labels)
        loss.backward()
        optimizer.step()
    return found


@pytest.mark.parametrize("tuned", ["head", "all"])
def test_a_fresh_head_is_that_of_plain_pytorch_and_the_global_model_stays_as_it_is(
    client: BenignClient, tuned: str
) -> None:
    before = bits(get_arrays(client.model))
    predict, support, queries = adapted(client, client.model, steps=4, lr=0.2, tuned=tuned)
    assert bits(get_arrays(client.model)) == before
    expected = oracle(client, client.model, support, steps=4, lr=0.2, tuned=tuned)
    for name, values in get_arrays(expected).items():
        np.testing.assert_allclose(get_arrays(predict.network)[name], values, atol=2e-6)
    for name, found in bits(get_arrays(predict.network)).items():
        assert (found != before[name]) == (tuned == "all" or name.startswith("head."))
    with torch.no_grad():
        logits = expected(torch.cat([support.images, queries]), reference_rows=len(support.images))
        torch.testing.assert_close(predict(queries), logits[len(support.images) :], atol=1e-5, rtol=0)


def test_the_head_of_the_global_model_has_no_effect_and_its_embedding_has(client: BenignClient) -> None:
    other_head, other_embedding = copy.deepcopy(client.model), copy.deepcopy(client.model)
    with torch.no_grad():
        other_head.head.weight.mul_(-3)
        next(other_embedding.embedding.parameters()).mul_(-3)
    answers = []
    for model in (client.model, other_head, other_embedding):
        predict, _, queries = adapted(client, model)
        with torch.no_grad():
            answers.append(predict(queries))
    assert torch.equal(answers[0], answers[1])
    assert not torch.equal(answers[0], answers[2])


def test_its_curve_begins_with_the_drawn_head_and_goes_through_its_accuracies(client: BenignClient) -> None:
    measurement, defense = client.measurement, FreshHead(steps=5)
    points = measurement.along_steps(client.model, 3)["fresh_head"]
    assert list(points) == [0, 2, 5]
    at_end = measurement._counts(defense, client.model)
    for curve, counts in points[5].items():
        assert counts.hits == at_end[curve].hits[:1]
    assert points[0] != points[5]
    assert measurement.along_steps(client.model, 3)["fresh_head"] == points


def test_a_prediction_can_be_differentiated_by_the_embedding_that_gave_it(client: BenignClient) -> None:
    predict, _, queries = adapted(client, client.model, steps=2)
    parameters = list(predict.network.embedding.parameters())
    gradients = torch.autograd.grad(predict(queries).sum(), parameters)
    assert all(gradient.abs().sum() > 0 for gradient in gradients[:1])


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"steps": -1}, "steps: expected a whole number, 0 or above, found -1"),
        ({"steps": True}, "steps: expected a whole number, 0 or above, found True"),
        ({"lr": float("nan")}, "lr: expected a number above 0, found nan"),
        ({"tuned": "embedding"}, "tuned: expected 'head' or 'all', found 'embedding'"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        FreshHead(**options)
