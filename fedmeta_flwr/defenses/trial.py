"""A trial of a custom defense before a run; a mistake in it would otherwise make only the clients fail, every round."""

from typing import Any

import torch

from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.data import Episode
from fedmeta_flwr.defenses.base import Defense, LocalContext
from fedmeta_flwr.learning import get_arrays, query_of, support_of


def try_defense(defense: Defense, name: str, model: Any, context: LocalContext, episode: Episode) -> None:
    """Classify the queries of one episode with an untrained model and without local steps.

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

    Raises
    ------
    RegistryError
        If the defense has no label or exchanges nothing, if it names a private part but has none or vice versa, or if
        its predictions do not have shape (rows, way).
    """
    if not defense.label:
        raise RegistryError(f"defense: expected {name!r} to have a label, its name in results, found none")
    if not get_arrays(defense.shared_part(model)):
        raise RegistryError(f"defense: expected {name!r} to exchange at least one array, found none")
    if bool(defense.private) != (defense.private_part(model) is not None):
        raise RegistryError(
            f"defense: expected {name!r} to have a private part if and only if its attribute `private` names it, "
            f"found private = {defense.private!r} and a private part of {type(defense.private_part(model)).__name__}"
        )
    cpu = torch.device("cpu")
    query = query_of(episode, cpu)
    stages = list(defense.adapt(defense.network(model, context), context)(support_of(episode, cpu)))
    if len(stages) != 1:
        raise RegistryError(f"defense: expected {name!r} to adapt to a sequence of length 1, found {len(stages)}")
    with torch.no_grad():
        found = tuple(stages[0](query.images).shape)
    if found != (expected := (len(query.labels), context.training.way)):
        raise RegistryError(f"defense: expected {name!r} to predict shape {expected}, found {found}")
