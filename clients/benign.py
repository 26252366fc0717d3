"""The benign client: it meta-trains on its classes, and evaluates the global model."""

from collections.abc import Callable
from typing import Any

from flwr.client import NumPyClient
from flwr.common import NDArrays, Scalar
from torch import nn

from clients.measurement import Measurement
from fedmeta_flwr.data import Holdings
from fedmeta_flwr.learning import LocalTraining, get_arrays, set_arrays
from fedmeta_flwr.protocol import SERVER_ROUND, counts_to_metrics, step_curves_to_metrics
from fedmeta_flwr.records import TRAIN_LOSS


class BenignClient(NumPyClient):
    """A client that follows the protocol.

    Parameters
    ----------
    model : torch.nn.Module
        The model that it trains.
    shared : torch.nn.Module
        The part of `model` that is exchanged, possibly all of it. The server's weights overwrite it.
    training : LocalTraining
        How it meta-trains.
    holdings : Holdings
        The classes and images that it meta-trains on.
    outer_steps : callable
        Takes a server round, and returns the number of outer steps.
    outer_lr : float
        Learning rate of the outer loop.
    measurement : Measurement
        What it measures, with which defense, and in which rounds.
    """

    def __init__(
        self,
        *,
        model: Any,
        shared: nn.Module,
        training: LocalTraining,
        holdings: Holdings,
        outer_steps: Callable[[int], int],
        outer_lr: float,
        measurement: Measurement,
    ) -> None:
        self.model = model
        self.shared = shared
        self.training = training
        self.holdings = holdings
        self.outer_steps = outer_steps
        self.outer_lr = outer_lr
        self.measurement = measurement

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Meta-train the global model on the client's classes.

        Parameters
        ----------
        parameters : list of np.ndarray
            The arrays of the global model, in the model's order.
        config : dict
            ``server-round`` (from 1), and ``proximal-mu`` if the strategy is FedProx.

        Returns
        -------
        list of np.ndarray
            The arrays of the local model.
        int
            Number of images seen.
        dict
            ``train-loss``: the mean query loss.
        """
        self.load(parameters)
        server_round = int(config[SERVER_ROUND])
        outer_steps = self.outer_steps(server_round)
        loss = self.training.train(
            self.model,
            lambda rng: self.training.sample(self.holdings, rng),
            server_round=server_round,
            outer_steps=outer_steps,
            outer_lr=self.outer_lr,
            proximal_mu=float(config.get("proximal-mu", 0.0)),
        )
        return self.get_parameters({}), self.training.num_examples(outer_steps), {TRAIN_LOSS: loss}

    def evaluate(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[float, int, dict[str, Any]]:
        """Count the hits of the global model as this client uses it; see `clients.measurement`.

        Returns
        -------
        float
            Share of wrong labels in meta-testing, in 0..1.
        int
            Number of meta-testing queries.
        dict
            Hits and trials of every curve, one entry per episode; in some rounds also along local steps.
        """
        self.load(parameters)
        counts, steps = self.measurement.measure(self.model, int(config[SERVER_ROUND]))
        trials = sum(counts["meta_testing"].trials)
        errors = trials - sum(counts["meta_testing"].hits)
        return errors / trials, trials, counts_to_metrics(counts) | step_curves_to_metrics(steps)

    def load(self, parameters: NDArrays) -> None:
        """Load the server's arrays, given in the order of the shared part."""
        set_arrays(self.shared, dict(zip(self.shared.state_dict(), parameters, strict=True)))

    def get_parameters(self, config: dict[str, Scalar]) -> NDArrays:
        """Return the arrays of the shared part, in its order."""
        return list(get_arrays(self.shared).values())
