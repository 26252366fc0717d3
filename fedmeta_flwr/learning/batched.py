"""Inner loops of several episodes as one computation, for GPUs: one of them would not keep a GPU busy.

Each episode has adapted weights, and `torch.func.vmap` computes the network with all of them. Within rounding, results
are those of the loop over episodes. A network that vmap cannot compute is trained in the loop: if it draws in training,
because each episode's draws are seeded, or if its code depends on data.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Self, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional

from fedmeta_flwr.data import Episode
from fedmeta_flwr.learning.batches import IMAGE_ROWS, Batch, query_of, support_of, together
from fedmeta_flwr.learning.conv_block import ConvBlock
from fedmeta_flwr.learning.fine_tuning import InnerLoop, query_logits
from fedmeta_flwr.learning.fused import plain
from fedmeta_flwr.learning.models import Classifier, Conv4
from fedmeta_flwr.learning.norm import EpisodeNorm
from fedmeta_flwr.learning.seeding import global_torch_seed

_BUILT_IN = {Classifier, Conv4, ConvBlock, EpisodeNorm, nn.Conv2d, nn.Linear, nn.ModuleList}
_TRIAL_EPISODES, _TRIAL_ROWS = 2, 4

_T = TypeVar("_T")


@dataclass(frozen=True)
class Networks:
    """A network with separate weights for each of several episodes.

    Attributes
    ----------
    network : torch.nn.Module
        Its code, its mode and its constants are used, and not its weights.
    weights : dict of str to Tensor
        By name of a parameter, shape (episodes, *shape of the parameter).
    """

    network: nn.Module
    weights: dict[str, Tensor]

    @classmethod
    def alike(cls, network: nn.Module, episodes: int) -> Self:
        """Return networks which all have the weights of a network, and are not attached to it."""
        named = network.named_parameters()
        return cls(network, {name: _leaf(value.expand(episodes, *value.shape)) for name, value in named})

    def __call__(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        """Return the logits (episodes, rows, way) of images (episodes, rows, channels, height, width).

        Raises
        ------
        RuntimeError
            If the network draws random numbers, or uses anything else that `vmap` refuses.
        """
        options = {} if reference_rows is None else {"reference_rows": reference_rows}

        def logits(weights: dict[str, Tensor], images: Tensor) -> Tensor:
            found: Tensor = functional_call(self.network, weights, (images,), options)
            return found

        with plain():
            computed: Tensor = vmap(logits)(self.weights, images)
        return computed

    def descended(self, batch: Batch, lr: float, *, differentiably: bool = False) -> "Networks":
        """Return the networks after a gradient step of each on its batch, attached to these networks or not."""
        gradients = torch.autograd.grad(
            _losses(self(batch.images), batch.labels).sum(), list(self.weights.values()), create_graph=differentiably
        )
        stepped = {
            name: value - lr * gradient for (name, value), gradient in zip(self.weights.items(), gradients, strict=True)
        }
        return Networks(
            self.network, stepped if differentiably else {name: _leaf(value) for name, value in stepped.items()}
        )


def _leaf(weight: Tensor) -> Tensor:
    return weight.detach().requires_grad_()


def _losses(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean cross-entropy of each episode; shapes (episodes, rows, way) and (episodes, rows)."""
    return functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="none").view_as(labels).mean(1)


def fine_tuning_of_several(start: Networks, support: Batch, lr: float, steps: Sequence[int]) -> Iterator[Networks]:
    """Fine-tune networks in training mode, each on its support set; yield them at each listed number of steps.

    Parameters
    ----------
    start : Networks
        Their weights stay as they are. For predictions, put `Networks.network` into evaluation mode.
    support : Batch
        The support sets of the episodes.
    lr : float
        Learning rate.
    steps : sequence of int
        Ascending, 0 or above.
    """
    tuned, done = start, 0
    for wanted in steps:
        start.network.train()
        for _ in range(wanted - done):
            tuned = tuned.descended(support, lr)
        done = wanted
        yield tuned


def meta_gradients(
    model: nn.Module, episodes: Sequence[Episode], algorithm: str, inner: InnerLoop
) -> list[tuple[list[Tensor], float]]:
    """Return what `meta_learning.meta_gradient` returns, for each of two or more episodes of one shape."""
    device = next(model.parameters()).device
    support = together([support_of(episode, device) for episode in episodes])
    query = together([query_of(episode, device) for episode in episodes])
    if algorithm == "reptile":
        support = query = _joined(support, query)
    start = adapted = Networks.alike(model, len(episodes))
    for _ in range(inner.steps):
        adapted = adapted.descended(support, inner.lr, differentiably=algorithm == "maml")
    if algorithm == "reptile":
        with torch.no_grad():
            losses = _losses(adapted(query.images), query.labels)
            gradients = [(start.weights[name] - adapted.weights[name]) / inner.lr for name in start.weights]
    else:
        losses = _losses(query_logits(adapted, support, query.images, inner.batch_norm), query.labels)
        of = start if algorithm == "maml" else adapted
        gradients = list(torch.autograd.grad(losses.sum(), list(of.weights.values())))
    return [([gradient[i] for gradient in gradients], loss) for i, loss in enumerate(losses.tolist())]


def _joined(support: Batch, query: Batch) -> Batch:
    images = torch.cat([support.images, query.images], dim=IMAGE_ROWS)
    return Batch(images, torch.cat([support.labels, query.labels], dim=-1))


def episodes_at_once(model: nn.Module, inner: InnerLoop, image_shape: Sequence[int]) -> int:
    """Return how many episodes a network learns from at once: `InnerLoop.episodes_at_once`, or 1 for the loop.

    Parameters
    ----------
    model : torch.nn.Module
        On a CPU, it is 1, and also if there is an `obstacle`.
    inner : InnerLoop
        The limit.
    image_shape : sequence of int
        Channels, height, width.
    """
    if inner.episodes_at_once == 1 or not _gains_from_batches(next(model.parameters()).device):
        return 1
    return 1 if obstacle(model, inner.batch_norm, image_shape) else inner.episodes_at_once


def _gains_from_batches(device: torch.device) -> bool:
    return device.type != "cpu"


def obstacle(model: nn.Module, batch_norm: str, image_shape: Sequence[int]) -> str:
    """Return in one line why `vmap` cannot compute a network; empty if it can, as it can all that are built in.

    The network is tried on a few images in both modes; neither its weights nor its mode nor random states change.
    """
    if {type(module) for module in model.modules()} <= _BUILT_IN:
        return ""
    networks = Networks.alike(copy.deepcopy(model), _TRIAL_EPISODES)
    shape = _TRIAL_EPISODES, _TRIAL_ROWS, *image_shape
    images = torch.linspace(0, 1, math.prod(shape), device=next(model.parameters()).device).view(shape)
    support = Batch(images, torch.zeros(shape[:2]))
    try:
        with torch.no_grad(), global_torch_seed(0):
            for is_training in (True, False):
                networks.network.train(is_training)
                networks(images)
                query_logits(networks, support, images, batch_norm)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        return " ".join(f"{type(error).__name__}: {error}".split())
    return ""


def in_groups(items: Sequence[_T], at_once: int) -> list[Sequence[_T]]:
    """Return successive groups of at most `at_once` items."""
    return [items[first : first + at_once] for first in range(0, len(items), at_once)]
