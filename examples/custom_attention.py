"""An attention by a learned Mahalanobis distance in few dimensions, instead of weighted cosine similarity.

uv run python -m experiments run quickstart -c defense=rescue -c attention=examples.custom_attention:Mahalanobis
"""

import math

import torch
from torch import Tensor, nn


class Mahalanobis(nn.Module):
    """Attends by -|P q - P s|^2 / T, where the projection P and the temperature T are private to the client.

    Initial weights come from PyTorch's generator as usual; the run seeds it.
    """

    def __init__(self, features: int, temperature: float, dimensions: int = 32) -> None:
        super().__init__()
        self.projection = nn.Parameter(torch.randn(features, dimensions) / math.sqrt(features))
        self.log_temperature = nn.Parameter(torch.tensor(math.log(temperature)))

    def forward(self, queries: Tensor, support: Tensor) -> Tensor:
        """Return the logarithm of the attention (queries, support rows) from features of shape (rows, features)."""
        q, s = queries @ self.projection, support @ self.projection
        distance = (q[:, None] - s[None]).square().mean(dim=2)
        return torch.log_softmax(-distance / self.log_temperature.exp(), dim=1)
