"""A trial of a custom defense before a run; a mistake in it would otherwise make only the clients fail, every round."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.data import Episode
from fedmeta_flwr.defenses.base import Defense, LocalContext
from fedmeta_flwr.learning import Adapt, get_arrays, query_of, support_of
from fedmeta_flwr.learning.evaluation import Predict


def try_defense(
    defense: Defense, name: str, model: Any, context: LocalContext, episode: Episode, *, curves: Iterable[Defense]
) -> None:
    """Classify the queries of one episode with an untrained model, after one local step if the defense has any.

    Parameters
    ----------
    defense : Defense
        The defense to try.
    name : str
        ``"module:attribute"``, for messages.
    model : torch.nn.Module
        The result of `Defense.model`.
    context : LocalContext
        The context of any client.
    episode : Episode
        The episode to classify.
    curves : iterable of Defense
        The defenses whose curves the run measures; one step is taken along each.

    Raises
    ------
    RegistryError
        If the defense has no label or exchanges nothing, if it names a private part but has none or vice versa, if its
        number of local steps is no whole number from 0, or if its predictions do not have shape (rows, way).
    """
    _check_parts(defense, name, model)
    network = _in_use(defense, name, model, context)
    _check_predictions(name, defense.adapt(network, context), context, episode)
    for along in curves:
        if along.curve is not None and along.curve.is_of_episode:
            network, steps = along.in_use(model, context), [0, 1]
            _check_predictions(name, along.adapt_in_stages(network, context, steps), context, episode, steps)
        else:
            ((_, network),) = along.stages(model, context, [1])
            _check_predictions(name, along.adapt(network, context), context, episode)


def _check_parts(defense: Defense, name: str, model: Any) -> None:
    if not defense.label:
        raise RegistryError(f"defense: expected {name!r} to have a label, its name in results, found none")
    if not get_arrays(defense.shared_part(model)):
        raise RegistryError(f"defense: expected {name!r} to exchange at least one array, found none")
    if bool(defense.private) != (defense.private_part(model) is not None):
        raise RegistryError(
            f"defense: expected {name!r} to have a private part if and only if its attribute `private` names it, "
            f"found private = {defense.private!r} and a private part of {type(defense.private_part(model)).__name__}"
        )


def _in_use(defense: Defense, name: str, model: Any, context: LocalContext) -> nn.Module:
    """Return the network that a client classifies with, after one local step if it takes any."""
    local = defense.local_steps(context)
    if local is None:
        return defense.network(model, context)
    if not isinstance(local.steps, int) or local.steps < 0:
        raise RegistryError(f"defense: expected {name!r} to take 0 or more local steps, found {local.steps!r}")
    ((_, network),) = defense.stages(model, context, [1])
    return network


def _check_predictions(
    name: str, adapt: Adapt, context: LocalContext, episode: Episode, steps: Sequence[int] = (0,)
) -> None:
    """Check that there is a prediction for each of the steps, and its shape."""
    cpu = torch.device("cpu")
    query = query_of(episode, cpu)
    found = [_shape(predict, query.images) for predict in adapt(support_of(episode, cpu))]
    if len(found) != len(steps):
        raise RegistryError(
            f"defense: expected {name!r} to adapt to a sequence of length {len(steps)}, found {len(found)}"
        )
    expected = (len(query.labels), context.training.way)
    if wrong := [shape for shape in found if shape != expected]:
        raise RegistryError(f"defense: expected {name!r} to predict shape {expected}, found {wrong[0]}")


@torch.no_grad()
def _shape(predict: Predict, images: Tensor) -> tuple[int, ...]:
    return tuple(predict(images).shape)
