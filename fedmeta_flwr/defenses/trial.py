"""A trial of a custom defense before a run: a mistake there would fail the clients only, round by round."""

from typing import Any

import torch

from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.data.episodes import Episode
from fedmeta_flwr.defenses.base import Defense, LocalContext
from fedmeta_flwr.learning.batches import query_of, support_of
from fedmeta_flwr.learning.models import get_arrays


def try_defense(defense: Defense, name: str, model: Any, context: LocalContext, episode: Episode) -> None:
    """Classify the queries of one episode with a model that is not trained, without local steps.

    Parameters
    ----------
    defense : Defense
        What is tried.
    name : str
        ``"module:attribute"``, for messages.
    model : torch.nn.Module
        What `Defense.model` returned.
    context : LocalContext
        Of any client.
    episode : Episode
        To classify.

    Raises
    ------
    RegistryError
        If it has no label, nothing is exchanged, it says that something is private and has none or the other way
        round, or what it predicts is of another shape than (rows, way).
    """
    if not defense.label:
        raise RegistryError(f"defense: expected {name!r} to have a label, by which results name it, found none")
    if not get_arrays(defense.shared_part(model)):
        raise RegistryError(f"defense: expected {name!r} to exchange an array at least, found none")
    if bool(defense.private) != (defense.private_part(model) is not None):
        raise RegistryError(
            f"defense: expected {name!r} to have a private part if and only if it says what is private, "
            f"found private = {defense.private!r} and a private part of {type(defense.private_part(model)).__name__}"
        )
    cpu = torch.device("cpu")
    query = query_of(episode, cpu)
    stages = list(defense.adapt(defense.network(model, context), context)(support_of(episode, cpu)))
    if len(stages) != 1:
        raise RegistryError(f"defense: expected {name!r} to adapt in a sequence of length 1, found {len(stages)}")
    with torch.no_grad():
        found = tuple(stages[0](query.images).shape)
    if found != (expected := (len(query.labels), context.training.way)):
        raise RegistryError(f"defense: expected {name!r} to predict shape {expected}, found {found}")
