"""The benign client: meta-trains on its own classes, and measures the global model."""

from collections.abc import Callable
from typing import Any

from flwr.client import NumPyClient
from flwr.common import NDArrays, Scalar

from clients.local_training import LocalTraining
from fedmeta_flwr.class_split import Holdings
from fedmeta_flwr.evaluation import EvaluationPlan, evaluate
from fedmeta_flwr.messages import SERVER_ROUND, TRAIN_LOSS, counts_to_metrics
from fedmeta_flwr.models import Classifier, get_arrays, set_arrays


class BenignClient(NumPyClient):
    """Follows the protocol.

    Parameters
    ----------
    model : Classifier
        A network of the federation's architecture; its weights are overwritten by the server's.
    training : LocalTraining
        How it meta-trains.
    holdings : Holdings
        What it meta-trains on.
    outer_steps : callable
        Server round to number of outer steps.
    outer_lr : float
        Learning rate of the outer loop.
    plan : EvaluationPlan
        What it measures.
    """

    def __init__(
        self,
        *,
        model: Classifier,
        training: LocalTraining,
        holdings: Holdings,
        outer_steps: Callable[[int], int],
        outer_lr: float,
        plan: EvaluationPlan,
    ) -> None:
        self.model = model
        self.training = training
        self.holdings = holdings
        self.outer_steps = outer_steps
        self.outer_lr = outer_lr
        self.plan = plan

    def fit(self, parameters: NDArrays, config: dict[str, Scalar]) -> tuple[NDArrays, int, dict[str, Scalar]]:
        """Meta-train the global model on own classes.

        Parameters
        ----------
        parameters : list of np.ndarray
            The global model, in the order of its names.
        config : dict
            ``server-round`` (from 1), and ``proximal-mu`` where the strategy is FedProx.

        Returns
        -------
        list of np.ndarray
            The local model.
        int
            Images seen.
        dict
            ``train-loss``: mean query loss.
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
        """Count hits of the global model, see `fedmeta_flwr.evaluation.evaluate`.

        Returns
        -------
        float
            Share of wrong labels in meta-testing, in 0..1.
        int
            Meta-testing queries.
        dict
            Hits and trials of every curve, an entry per episode.
        """
        self.load(parameters)
        counts = evaluate(self.model, self.plan)
        trials = sum(counts["meta_testing"].trials)
        errors = trials - sum(counts["meta_testing"].hits)
        return errors / trials, trials, counts_to_metrics({name: vars(count) for name, count in counts.items()})

    def load(self, parameters: NDArrays) -> None:
        """Take over the server's arrays, given in the order of the model's names."""
        set_arrays(self.model, dict(zip(self.model.state_dict(), parameters, strict=True)))

    def get_parameters(self, config: dict[str, Scalar]) -> NDArrays:
        """Return the model's arrays in the order of its names."""
        return list(get_arrays(self.model).values())
