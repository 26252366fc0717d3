"""Fine-tuning of a network on a support set, and the logits of queries."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fedmeta_flwr.learning.batches import IMAGE_ROWS, Batch


@dataclass(frozen=True)
class InnerLoop:
    """How a model is fine-tuned on a support set.

    Attributes
    ----------
    lr : float
        Learning rate of plain gradient descent.
    steps : int
        Number of full-batch steps.
    batch_norm : str
        Statistics that normalise a query batch; ``"transductive"``: those of the batch; ``"support"``: those of the
        support set.
    episodes_at_once : int
        How many episodes are learned from at once where tensors live on a GPU, 1 or above.
    """

    lr: float
    steps: int
    batch_norm: str
    episodes_at_once: int = 1


def fine_tuning(
    model: nn.Module, support: Batch, inner: InnerLoop, steps: Sequence[int], copy_to: nn.Module | None = None
) -> Iterator[nn.Module]:
    """Fine-tune a copy of a model in training mode; yield it when each listed number of steps is reached.

    Parameters
    ----------
    model : torch.nn.Module
        The shared model; unchanged.
    support : Batch
        The support set.
    inner : InnerLoop
        Only its learning rate is used; `inner.steps` has no effect.
    steps : sequence of int
        Ascending, 0 or above.
    copy_to : torch.nn.Module, optional
        An earlier copy of the model, to be overwritten: a new one takes as long as several percent of an episode.

    Yields
    ------
    torch.nn.Module
        The copy, always the same object, in training mode. Use it, through `query_logits`, before the next iteration.
        For predictions rather than training, put it into evaluation mode first.
    """
    tuned = copy.deepcopy(model) if copy_to is None else overwritten(copy_to, model)
    parameters = list(tuned.parameters())
    done = 0
    for wanted in steps:
        tuned.train()
        for _ in range(wanted - done):
            loss = functional.cross_entropy(tuned(support.images), support.labels)
            gradients = torch.autograd.grad(loss, parameters)
            with torch.no_grad():
                for parameter, gradient in zip(parameters, gradients, strict=True):
                    parameter.sub_(gradient, alpha=inner.lr)
        done = wanted
        yield tuned


@torch.no_grad()
def overwritten(earlier: nn.Module, model: nn.Module) -> nn.Module:
    """Return an earlier copy of a model with the model's present parameters and buffers."""
    for tensors, values in ((earlier.parameters(), model.parameters()), (earlier.buffers(), model.buffers())):
        for tensor, value in zip(tensors, values, strict=True):
            tensor.copy_(value)
    return earlier


def query_logits(model: Callable[..., Tensor], support: Batch, queries: Tensor, batch_norm: str) -> Tensor:
    """Return logits (rows, way) of query images, normalised according to `batch_norm`.

    In mode ``"support"``, the adapted network sees support and queries together, and takes its statistics from the
    support rows; then a query's logits do not depend on the other queries. All shapes may have a first dimension of
    episodes.
    """
    if batch_norm == "transductive":
        return model(queries)
    rows = support.images.shape[IMAGE_ROWS]
    together = model(torch.cat([support.images, queries], dim=IMAGE_ROWS), reference_rows=rows)
    return together[..., rows:, :]
