"""Model replacement: poisoned local training, and a boosted update (Bagdasaryan et al. 2020).

The poisoned episodes are those of Chen, Golubchik & Paolieri 2020.
"""

from fedmeta_flwr.attacks.base import LayeredAttack
from fedmeta_flwr.attacks.knowledge import Knowledge


class ModelReplacement(LayeredAttack):
    """Train on poisoned episodes, and boost the update: each of f colluders by its share b / f of the boost.

    Parameters
    ----------
    knowledge : Knowledge
        What the attacker knows.
    """

    def __init__(self, knowledge: Knowledge) -> None:
        super().__init__(knowledge)
