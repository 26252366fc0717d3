"""A benign client that clips its update and adds Gaussian noise to it before the upload (local differential privacy).

    uv run python -m experiments run quickstart -c client=examples.custom_client:NoisyClient

The metric that it adds is in the result file, with every arrival.
"""

import numpy as np
from flwr.common import NDArrays, Scalar

from clients import BenignClient
from fedmeta_flwr.seeding import generator

LARGEST_NORM = 0.1
NOISE = 0.001  # standard deviation for each weight


class NoisyClient(BenignClient):
    """Trains as `BenignClient` does. For a run with a defense, derive from `clients.DefendedClient` instead."""

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Train, clip, and add noise from a random stream for this client and round."""
        trained, num_examples, metrics = super().fit(parameters, config)
        updates = [new - old for new, old in zip(trained, parameters, strict=True)]
        norm = float(np.sqrt(sum((update**2).sum() for update in updates)))
        factor = min(1.0, LARGEST_NORM / norm)
        noise = generator(self.training.seed, "own-noise", self.training.partition_id, int(config["server-round"]))
        sent = [
            (old + factor * update + noise.normal(0, NOISE, old.shape)).astype(old.dtype)
            for old, update in zip(parameters, updates, strict=True)
        ]
        return sent, num_examples, metrics | {"norm-before-clipping": norm}
