"""Fine-tuning on a support set: gradient descent by hand, in stages, and by learn2learn."""

import copy

import numpy as np
import pytest
import torch
from learn2learn.algorithms import MAML
from torch import Tensor, nn
from torch.nn import functional

from fedmeta_flwr.learning.batches import Batch
from fedmeta_flwr.learning.fine_tuning import InnerLoop, fine_tuning
from fedmeta_flwr.learning.models import build_classifier

pytestmark = pytest.mark.usefixtures("double_precision")

LR = 0.3
INNER = InnerLoop(LR, 99, "transductive")


class Linear(nn.Module):
    """Logits of two pixels: x W, without a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([[0.3, -0.2, 0.1], [0.5, 0.4, -0.6]]))

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        return images.flatten(1) @ self.w


PIXELS = np.array([[0.2, 0.8], [0.9, 0.1], [0.5, 0.6], [1.0, 0.0]])
LABELS = np.array([0, 2, 1, 2])


def two_pixels() -> Batch:
    return Batch(torch.tensor(PIXELS).reshape(4, 1, 1, 2), torch.tensor(LABELS))


def by_hand(w: np.ndarray, steps: int) -> np.ndarray:
    """w - lr x' (p - y) / rows, `steps` times: the gradient of the mean cross-entropy of x w."""
    for _ in range(steps):
        p = np.exp(PIXELS @ w)
        p /= p.sum(axis=1, keepdims=True)
        w = w - LR * PIXELS.T @ (p - np.eye(3)[LABELS]) / len(PIXELS)
    return w


def network() -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    return build_classifier("conv4", channels=1, image_size=16, filters=4, way=3, generator=generator)


def noise() -> Batch:
    rng = np.random.default_rng(4)
    return Batch(torch.tensor(rng.random((6, 1, 16, 16))), torch.arange(3).repeat_interleave(2))


def weights(model: nn.Module) -> list[np.ndarray]:
    return [parameter.detach().numpy().copy() for parameter in model.parameters()]


def assert_same(found: list[np.ndarray], expected: list[np.ndarray]) -> None:
    assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True))


def test_stages_are_gradient_descent_steps_by_hand() -> None:
    model = Linear()
    start, steps = model.w.detach().numpy().copy(), [0, 1, 3, 10]
    stages = [weights(tuned)[0] for tuned in fine_tuning(model, two_pixels(), INNER, steps)]
    for found, step in zip(stages, steps, strict=True):
        np.testing.assert_allclose(found, by_hand(start, step), rtol=1e-12)


def test_the_model_and_its_gradients_stay_as_they_were() -> None:
    model = network()
    before = weights(model)
    functional.cross_entropy(model(noise().images), noise().labels).backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]
    stages = [weights(tuned) for tuned in fine_tuning(model, noise(), INNER, [0, 2, 5])]
    assert_same(weights(model), before)
    assert_same(stages[0], before)
    assert not np.array_equal(stages[1][0], before[0])
    assert all(torch.equal(p.grad, g) for p, g in zip(model.parameters(), gradients, strict=True) if p.grad is not None)


@pytest.mark.parametrize(("k", "l"), [(0, 3), (2, 3), (3, 0)])
def test_k_steps_and_then_l_more_are_k_plus_l_at_once(k: int, l: int) -> None:  # noqa: E741
    at_once = weights(next(fine_tuning(network(), noise(), INNER, [k + l])))
    first = copy.deepcopy(next(fine_tuning(network(), noise(), INNER, [k])))
    assert_same(weights(next(fine_tuning(first, noise(), INNER, [l]))), at_once)
    *_, last = (weights(tuned) for tuned in fine_tuning(network(), noise(), INNER, [k, k + l]))
    assert_same(last, at_once)


def test_fine_tuning_equals_the_adaptation_of_learn2learn() -> None:
    model, support = network(), noise()
    learner = MAML(model, lr=LR).clone()
    for _ in range(4):
        learner.adapt(functional.cross_entropy(learner(support.images), support.labels))
    tuned = next(fine_tuning(model, support, INNER, [4]))
    for found, expected in zip(weights(tuned), weights(learner.module), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    assert not np.allclose(weights(tuned)[0], weights(model)[0])
