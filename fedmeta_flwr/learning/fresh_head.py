"""Adaptation with a fresh head: a new head is drawn, and tuned on the support set of an episode."""

import copy
from collections.abc import Iterator, Sequence

import torch
from torch import nn

from fedmeta_flwr.learning.batches import Batch
from fedmeta_flwr.learning.evaluation import Adapt, Prediction
from fedmeta_flwr.learning.fine_tuning import InnerLoop, fine_tuning, overwritten
from fedmeta_flwr.learning.models import Classifier


def by_fresh_head(model: Classifier, inner: InnerLoop, steps: Sequence[int], *, is_embedding_tuned: bool) -> Adapt:
    """Return the adaptation by gradient steps from a new head, with one stage for each listed number of steps.

    The head is drawn from PyTorch's global generator, before anything else that the network draws.

    Parameters
    ----------
    model : Classifier
        The shared model; unchanged, and its head has no effect.
    inner : InnerLoop
        Its `steps` have no effect.
    steps : sequence of int
        Ascending, 0 or above.
    is_embedding_tuned : bool
        Whether the embedding is tuned with the head, in training mode. Otherwise it stays as it is, in evaluation mode;
        then the features of the support set are computed only once.
    """
    copied = copy.deepcopy(model)

    def adapt(support: Batch) -> Iterator[Prediction]:
        overwritten(copied, model)
        draw_head(copied.head)
        tune = _all_tuned if is_embedding_tuned else _head_tuned
        for tuned in tune(copied, support, inner, steps):
            yield Prediction(tuned.eval(), support, inner.batch_norm)

    return adapt


@torch.no_grad()
def draw_head(head: nn.Linear) -> None:
    """Draw Glorot-uniform weights (Glorot & Bengio 2010), on the CPU so that they are the same on each device."""
    head.weight.copy_(nn.init.xavier_uniform_(torch.empty(head.weight.shape)))
    head.bias.zero_()


def _all_tuned(start: Classifier, support: Batch, inner: InnerLoop, steps: Sequence[int]) -> Iterator[nn.Module]:
    return fine_tuning(start, support, inner, steps)


def _head_tuned(start: Classifier, support: Batch, inner: InnerLoop, steps: Sequence[int]) -> Iterator[nn.Module]:
    with torch.no_grad():
        features = start.eval().embedding(support.images)
    for _ in fine_tuning(start.head, Batch(features, support.labels), inner, steps, copy_to=start.head):
        yield start
