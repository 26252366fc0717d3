"""A model replacement that changes few weights: it uploads only the largest coordinates of its update, boosted.

uv run python -m experiments run quickstart -c attack=examples.custom_attack:FewWeights

`-c 'attack-options={"share": 0.05}'` sets the share.
"""

from collections.abc import Mapping

import numpy as np

from fedmeta_flwr.attacks import Knowledge, Layer, LayeredAttack


class Largest(Layer):
    """Uploads only the given share of the coordinates, those that changed most; the others stay the global model's."""

    def __init__(self, share: float) -> None:
        if not 0 < share <= 1:
            raise ValueError(f"attack-options: share: expected above 0 and up to 1, found {share}")
        self.share = share

    def change_upload(
        self, global_arrays: Mapping[str, np.ndarray], local_arrays: Mapping[str, np.ndarray]
    ) -> Mapping[str, np.ndarray]:
        """Keep the coordinates whose change is at least the quantile that the share gives."""
        moves = {name: np.abs(local - global_arrays[name]) for name, local in local_arrays.items()}
        least = np.quantile(np.concatenate([move.ravel() for move in moves.values()]), 1 - self.share)
        return {
            name: np.where(moves[name] >= least, local, global_arrays[name]) for name, local in local_arrays.items()
        }


class FewWeights(LayeredAttack):
    """Trains on poisoned episodes as the built-in attack does, with one more layer before the boost."""

    def __init__(self, knowledge: Knowledge, share: float = 0.1) -> None:
        super().__init__(knowledge, Largest(share))
