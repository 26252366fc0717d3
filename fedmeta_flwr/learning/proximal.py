"""FedProx's proximal term, which keeps a local model near the global one.

Source: Li et al. 2020, "Federated Optimization in Heterogeneous Networks".
"""

from collections.abc import Iterable

from torch import nn


class ProximalTerm:
    """The term mu/2 |theta - theta_global|^2, where theta_global is the value of the parameters at construction.

    Parameters
    ----------
    parameters : iterable of torch.nn.Parameter
        The parameters theta.
    mu : float
        Weight of the term; 0: it has no effect.
    """

    def __init__(self, parameters: Iterable[nn.Parameter], mu: float) -> None:
        self._mu = mu
        self._pairs = [(parameter, parameter.detach().clone()) for parameter in parameters] if mu else []

    def add_gradient(self) -> None:
        """Add the term's gradient, mu (theta - theta_global), to the parameters' ``grad``."""
        for parameter, start in self._pairs:
            pull = self._mu * (parameter.detach() - start)
            parameter.grad = pull if parameter.grad is None else parameter.grad + pull
