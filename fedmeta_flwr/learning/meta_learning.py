"""Inner and outer loop: MAML, first-order MAML and Reptile.

Source: Finn, Abbeel & Levine 2017 (MAML and its first-order form); Nichol, Achiam & Schulman 2018 (Reptile).
Second-order MAML uses learn2learn, which only this module imports. The others do not need a differentiable inner loop;
a test compares first-order MAML with learn2learn's.
"""

import contextlib
import copy
import io
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from fedmeta_flwr.data import Episode
from fedmeta_flwr.learning.batched import episodes_at_once, in_groups, meta_gradients
from fedmeta_flwr.learning.batches import Batch, query_of, support_of
from fedmeta_flwr.learning.fine_tuning import InnerLoop, fine_tuning, query_logits
from fedmeta_flwr.learning.fused import plain
from fedmeta_flwr.learning.proximal import ProximalTerm


def meta_gradient(
    model: nn.Module, episode: Episode, algorithm: str, inner: InnerLoop, copy_to: nn.Module | None = None
) -> tuple[list[Tensor], float]:
    """Return one episode's meta-gradient.

    Parameters
    ----------
    model : torch.nn.Module
        The meta-parameters theta; these and their ``grad`` fields are not changed.
    episode : Episode
        Support and query set.
    algorithm : str
        One of the following.

        - ``"maml"``: d/d theta L_query(U(theta)), where U is `inner.steps` gradient steps on the support set,
          differentiated through U (second order).
        - ``"fomaml"``: the same, but dU/d theta is replaced by the identity; this is the query gradient at the adapted
          parameters.
        - ``"reptile"``: (theta - U(theta)) / `inner.lr`, where the steps of U are on support and query set together
          (Nichol et al. 2018, section 3; differs: full batch and plain SGD).
    inner : InnerLoop
        Learning rate, steps and batch-normalisation mode.
    copy_to : torch.nn.Module, optional
        As in `fine_tuning`; second-order MAML has no use for it.

    Returns
    -------
    list of Tensor
        One gradient per parameter, in the order of ``model.parameters()``.
    float
        The query loss at the adapted parameters (Reptile: at U(theta), on support and query).

    Raises
    ------
    ValueError
        If the algorithm is unknown.
    """
    if algorithm not in ("maml", "fomaml", "reptile"):
        raise ValueError(f"algorithm: expected one of maml, fomaml, reptile, found {algorithm!r}")
    device = next(model.parameters()).device
    support, query = support_of(episode, device), query_of(episode, device)
    if algorithm == "reptile":
        return _reptile(model, support, query, inner, copy_to)
    if algorithm == "maml":
        with plain():
            adapted = _differentiably_fine_tuned(model, support, inner)
            return _query_gradient(adapted, model, support, query, inner.batch_norm)
    adapted = next(fine_tuning(model, support, inner, [inner.steps], copy_to))
    return _query_gradient(adapted, adapted, support, query, inner.batch_norm)


def _query_gradient(
    adapted: nn.Module, of: nn.Module, support: Batch, query: Batch, batch_norm: str
) -> tuple[list[Tensor], float]:
    """Return the gradient of the query loss with regard to the parameters of a model, and the loss."""
    loss = functional.cross_entropy(query_logits(adapted, support, query.images, batch_norm), query.labels)
    return list(torch.autograd.grad(loss, list(of.parameters()))), loss.item()


def _differentiably_fine_tuned(model: nn.Module, support: Batch, inner: InnerLoop) -> nn.Module:
    """Return learn2learn's adapted copy, which is a function of the parameters of `model`.

    learn2learn is imported only here, because the import takes about 6 s of CPU time, mostly for torchvision's models.
    """
    with contextlib.redirect_stderr(io.StringIO()):  # gym, which it imports, prints an upgrade notice
        from learn2learn.algorithms import MAML

    learner = MAML(model, lr=inner.lr, first_order=False).clone()
    for _ in range(inner.steps):
        learner.adapt(functional.cross_entropy(learner(support.images), support.labels))
    adapted: nn.Module = learner.module
    return adapted


def _reptile(
    model: nn.Module, support: Batch, query: Batch, inner: InnerLoop, copy_to: nn.Module | None
) -> tuple[list[Tensor], float]:
    both = Batch(torch.cat([support.images, query.images]), torch.cat([support.labels, query.labels]))
    adapted = next(fine_tuning(model, both, inner, [inner.steps], copy_to))
    with torch.no_grad():
        loss = functional.cross_entropy(adapted(both.images), both.labels).item()
        pairs = zip(model.parameters(), adapted.parameters(), strict=True)
        return [(old - new) / inner.lr for old, new in pairs], loss


def _meta_gradients(
    model: nn.Module, episodes: Sequence[Episode], algorithm: str, inner: InnerLoop, *, at_once: int, copied: nn.Module
) -> list[tuple[list[Tensor], float]]:
    """Return the result of `meta_gradient` for each episode, computed for several at once if they have one shape."""
    have_one_shape = len({(episode.support.shape, episode.query.shape) for episode in episodes}) == 1
    results = []
    for group in in_groups(episodes, at_once if have_one_shape else 1):
        if len(group) == 1:
            results.append(meta_gradient(model, group[0], algorithm, inner, copied))
        else:
            results += meta_gradients(model, group, algorithm, inner)
    return results


def outer_loop(
    model: nn.Module,
    meta_batches: Iterable[Sequence[Episode]],
    *,
    algorithm: str,
    inner: InnerLoop,
    optimizer: torch.optim.Optimizer,
    proximal_mu: float = 0.0,
) -> float:
    """Train the meta-parameters in place; support and query passes are in training mode.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    meta_batches : iterable of sequences of Episode
        Each is one outer step, with the mean of the meta-gradients of its episodes.
    algorithm, inner
        As in `meta_gradient`.
    optimizer : torch.optim.Optimizer
        Over ``model.parameters()``.
    proximal_mu : float
        Weight of the `ProximalTerm`, where theta_global is the model before training.

    Returns
    -------
    float
        Mean query loss over all episodes.
    """
    model.train()
    proximal = ProximalTerm(model.parameters(), proximal_mu)
    copied = copy.deepcopy(model)
    losses: list[float] = []
    at_once = 0
    for episodes in meta_batches:
        at_once = at_once or episodes_at_once(model, inner, episodes[0].support.shape[1:])
        results = _meta_gradients(model, episodes, algorithm, inner, at_once=at_once, copied=copied)
        losses += [loss for _, loss in results]
        for position, parameter in enumerate(model.parameters()):
            parameter.grad = torch.stack([gradients[position] for gradients, _ in results]).mean(dim=0)
        proximal.add_gradient()
        optimizer.step()
        optimizer.zero_grad()
    return float(np.mean(losses))
