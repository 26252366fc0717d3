"""Distributed key: every colluder stamps only its part of the key (Xie et al. 2020, DBA)."""

from fedmeta_flwr.attacks.base import LayeredAttack
from fedmeta_flwr.attacks.key import part_of_key
from fedmeta_flwr.attacks.knowledge import Knowledge


class DistributedKey(LayeredAttack):
    """Model replacement in which colluder j of f poisons with part j of the key; an evaluation stamps the whole key.

    No colluder trains on the whole key. The parts are those of `part_of_key`. With a single adversary, this is model
    replacement.

    Source: Xie et al. 2020, "DBA: distributed backdoor attacks against federated learning".

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.

    Raises
    ------
    BackdoorKeyError
        If the key covers fewer pixels than there are colluders.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        colluders = knowledge.public.roles.colluders
        index = colluders.index(knowledge.training.partition_id)
        super().__init__(knowledge.stamping(part_of_key(knowledge.key, index, len(colluders))))
