"""A model replacement that touches few weights: of its update it uploads only the largest coordinates, boosted.

uv run python -m experiments run quickstart -c attack=examples.custom_attack:FewWeights

`-c 'attack-options={"share": 0.05}'` sets the share.
"""

from collections.abc import Mapping

import numpy as np

from fedmeta_flwr.attacks import Boost, Knowledge, Layer, LayeredAttack


class Largest(Layer):
    """Uploads a share of the coordinates, those that moved most; the others are the global model's."""

    def __init__(self, share: float) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"attack-options: share: expected above 0 and up to 1, found {share}")
        self.share = share

    def change_upload(
        self, global_arrays: Mapping[str, np.ndarray], local_arrays: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """Keep what moved at least as far as the last coordinate of the share."""
        moves = {name: np.abs(local - global_arrays[name]) for name, local in local_arrays.items()}
        least = np.quantile(np.concatenate([move.ravel() for move in moves.values()]), 1 - self.share)
        return {
            name: np.where(moves[name] >= least, local, global_arrays[name]) for name, local in local_arrays.items()
        }


class FewWeights(LayeredAttack):
    """Trains on poisoned episodes as the built-in attack does; a layer stands before its boost."""

    def __init__(self, knowledge: Knowledge, share: float = 0.1) -> None:
        super().__init__(knowledge, Largest(share), Boost(knowledge.boost_share))
