"""Meta-gradients against values derived by hand, and against finite differences."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedmeta_flwr.data.episodes import Episode
from fedmeta_flwr.learning.batches import query_of, support_of
from fedmeta_flwr.learning.fine_tuning import InnerLoop, fine_tuning, query_logits
from fedmeta_flwr.learning.meta_learning import meta_gradient, outer_loop
from fedmeta_flwr.learning.models import build_classifier

pytestmark = pytest.mark.usefixtures("double_precision")

CPU = torch.device("cpu")


class Softmax(nn.Module):
    """Two classes, one pixel: logits = w x, without a bias, so that everything can be written down."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.3, -0.2]))

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        return images.flatten(1) * self.w


def one_pixel_episode() -> Episode:
    pixels = np.array([51, 204], np.uint8).reshape(2, 1, 1, 1)  # 0.2 and 0.8
    queries = np.array([102, 255], np.uint8).reshape(2, 1, 1, 1)  # 0.4 and 1.0
    return Episode(pixels, np.array([0, 1]), queries, np.array([1, 0]), np.array([5, 6]))


def softmax_gradient(w: np.ndarray, x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """d/dw of the mean cross-entropy: mean over images of x (p - y)."""
    p = np.exp(np.outer(x, w))
    p /= p.sum(axis=1, keepdims=True)
    gradient: np.ndarray = (x[:, None] * (p - np.eye(2)[labels])).mean(axis=0)
    return gradient


def softmax_hessian(w: np.ndarray, x: np.ndarray) -> np.ndarray:
    """d2/dw2 of the same: mean over images of x^2 (diag(p) - p p')."""
    p = np.exp(np.outer(x, w))
    p /= p.sum(axis=1, keepdims=True)
    hessian: np.ndarray = np.mean([xi**2 * (np.diag(pi) - np.outer(pi, pi)) for xi, pi in zip(x, p, strict=True)], 0)
    return hessian


W, LR = np.array([0.3, -0.2]), 0.7
SUPPORT, QUERY = np.array([0.2, 0.8]), np.array([0.4, 1.0])
SUPPORT_LABELS, QUERY_LABELS = np.array([0, 1]), np.array([1, 0])


def adapted_twice() -> tuple[np.ndarray, np.ndarray]:
    first = W - LR * softmax_gradient(W, SUPPORT, SUPPORT_LABELS)
    return first, first - LR * softmax_gradient(first, SUPPORT, SUPPORT_LABELS)


def test_first_order_maml_is_the_query_gradient_at_the_adapted_parameters() -> None:
    _, adapted = adapted_twice()
    gradients, _ = meta_gradient(Softmax(), one_pixel_episode(), "fomaml", InnerLoop(LR, 2, "transductive"))
    np.testing.assert_allclose(gradients[0], softmax_gradient(adapted, QUERY, QUERY_LABELS), rtol=1e-12)


def test_maml_goes_through_every_inner_step() -> None:
    # U = U2 . U1, U_i = w - lr grad; dU_i/dw = I - lr H; so the gradient is (I - lr H(w)) (I - lr H(w1)) g_query(w2)
    first, adapted = adapted_twice()
    through = (np.eye(2) - LR * softmax_hessian(W, SUPPORT)) @ (np.eye(2) - LR * softmax_hessian(first, SUPPORT))
    expected = through @ softmax_gradient(adapted, QUERY, QUERY_LABELS)
    gradients, loss = meta_gradient(Softmax(), one_pixel_episode(), "maml", InnerLoop(LR, 2, "transductive"))
    np.testing.assert_allclose(gradients[0], expected, rtol=1e-12)
    p = np.exp(np.outer(QUERY, adapted))
    assert loss == pytest.approx(-np.log(p[[0, 1], QUERY_LABELS] / p.sum(axis=1)).mean(), rel=1e-12)


def test_reptile_points_from_the_adapted_parameters_back_to_the_start() -> None:
    x, labels = np.concatenate([SUPPORT, QUERY]), np.concatenate([SUPPORT_LABELS, QUERY_LABELS])
    first = W - LR * softmax_gradient(W, x, labels)
    second = first - LR * softmax_gradient(first, x, labels)
    gradients, _ = meta_gradient(Softmax(), one_pixel_episode(), "reptile", InnerLoop(LR, 2, "transductive"))
    np.testing.assert_allclose(gradients[0], (W - second) / LR, rtol=1e-12)


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of maml, fomaml, reptile, found 'anil'"):
        meta_gradient(Softmax(), one_pixel_episode(), "anil", InnerLoop(LR, 2, "transductive"))


def photo_episode() -> Episode:
    rng = np.random.default_rng(0)
    support, query = (rng.integers(0, 256, (rows, 1, 16, 16), dtype=np.uint8) for rows in (6, 9))
    return Episode(support, np.arange(3).repeat(2), query, np.arange(3).repeat(3), np.arange(3))


def small_network() -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    return build_classifier("conv4", channels=1, image_size=16, filters=3, way=3, generator=generator).double()


@pytest.mark.parametrize("batch_norm", ["transductive", "support"])
def test_first_order_maml_on_the_real_network_equals_that_of_learn2learn(batch_norm: str) -> None:
    from learn2learn.algorithms import MAML

    model, episode, inner = small_network(), photo_episode(), InnerLoop(0.1, 3, batch_norm)
    gradients, loss = meta_gradient(model, episode, "fomaml", inner)
    support, query = support_of(episode, CPU), query_of(episode, CPU)
    learner = MAML(model, lr=0.1, first_order=True).clone()
    for _ in range(3):
        learner.adapt(functional.cross_entropy(learner(support.images), support.labels))
    expected = functional.cross_entropy(query_logits(learner.module, support, query.images, batch_norm), query.labels)
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    for found, reference in zip(gradients, torch.autograd.grad(expected, list(model.parameters())), strict=True):
        torch.testing.assert_close(found, reference, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("batch_norm", ["transductive", "support"])
def test_maml_on_the_real_network_equals_finite_differences(batch_norm: str) -> None:
    model, episode, inner = small_network(), photo_episode(), InnerLoop(0.1, 3, batch_norm)
    gradients, _ = meta_gradient(model, episode, "maml", inner)

    def objective() -> float:
        support, query = support_of(episode, CPU), query_of(episode, CPU)
        logits = query_logits(
            next(fine_tuning(model, support, inner, [inner.steps])), support, query.images, batch_norm
        )
        return functional.cross_entropy(logits, query.labels).item()

    rng = np.random.default_rng(2)
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        flat = parameter.data.view(-1)
        for index in rng.choice(len(flat), min(3, len(flat)), replace=False):
            old = flat[index].item()
            flat[index] = old + 1e-6
            above = objective()
            flat[index] = old - 1e-6
            below = objective()
            flat[index] = old
            assert gradient.reshape(-1)[index].item() == pytest.approx((above - below) / 2e-6, rel=1e-4, abs=1e-7)


def test_meta_gradient_and_fine_tuning_leave_the_model_as_it_was() -> None:
    model, episode = small_network(), photo_episode()
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for algorithm in ("maml", "fomaml", "reptile"):
        meta_gradient(model, episode, algorithm, InnerLoop(0.1, 2, "transductive"))
    for _ in fine_tuning(model, support_of(episode, CPU), InnerLoop(0.1, 2, "transductive"), [0, 2]):
        pass
    for old, new in zip(before, model.parameters(), strict=True):
        assert torch.equal(old, new)
        assert new.grad is None


def test_with_support_statistics_a_query_does_not_depend_on_the_others() -> None:
    model, episode = small_network(), photo_episode()
    support, query = support_of(episode, CPU), query_of(episode, CPU)
    together = query_logits(model, support, query.images, "support")
    alone = query_logits(model, support, query.images[4:5], "support")
    torch.testing.assert_close(together[4:5], alone)
    transductive = query_logits(model, support, query.images, "transductive")
    assert not torch.allclose(transductive[4:5], query_logits(model, support, query.images[4:6], "transductive")[:1])


def test_an_outer_step_takes_the_mean_over_the_meta_batch() -> None:
    model, episode, inner = Softmax(), one_pixel_episode(), InnerLoop(LR, 2, "transductive")
    other = Episode(episode.query, episode.query_labels, episode.support, episode.support_labels, episode.classes)
    expected = W - 0.5 * np.mean([meta_gradient(model, e, "maml", inner)[0][0].numpy() for e in (episode, other)], 0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    outer_loop(model, [[episode, other]], algorithm="maml", inner=inner, optimizer=optimizer)
    np.testing.assert_allclose(model.w.detach().numpy(), expected, rtol=1e-12)


def test_the_proximal_term_pulls_towards_the_global_model() -> None:
    inner, episode = InnerLoop(LR, 1, "transductive"), one_pixel_episode()
    model = Softmax()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    outer_loop(model, [[episode], [episode]], algorithm="fomaml", inner=inner, optimizer=optimizer, proximal_mu=0.4)
    plain = Softmax()
    w = W.copy()
    for _ in range(2):
        plain.w.data = torch.tensor(w)
        gradient = meta_gradient(plain, episode, "fomaml", inner)[0][0].numpy()
        w = w - 0.5 * (gradient + 0.4 * (w - W))
    np.testing.assert_allclose(model.w.detach().numpy(), w, rtol=1e-12)
