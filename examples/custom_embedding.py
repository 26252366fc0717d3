"""An embedding with residual blocks (He et al. 2016), where the built-in one has four plain convolutions.

uv run python -m experiments run quickstart -c embedding=examples.custom_embedding:SmallResNet -c filters=16
"""

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from fedmeta_flwr.learning import Embedding, EpisodeNorm


class Residual(nn.Module):
    """Two normalised convolutions, the first with stride 2, beside a shortcut."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, filters, 3, stride=2, padding=1, bias=False)
        self.second = nn.Conv2d(filters, filters, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(channels, filters, 3, stride=2, padding=1, bias=False)
        self.norms = nn.ModuleList([EpisodeNorm(filters) for _ in range(2)])

    def forward(self, inputs: Tensor, reference_rows: int | None = None) -> Tensor:
        """Map (rows, channels, height, width) to (rows, filters, half the height, half the width)."""
        hidden = functional.relu(self.norms[0](self.first(inputs), reference_rows))
        return functional.relu(self.norms[1](self.second(hidden), reference_rows) + self.shortcut(inputs))


class SmallResNet(Embedding):
    """Three residual blocks, each with twice as many filters as the one before, and the mean over all positions."""

    def __init__(self, channels: int, filters: int, image_size: int) -> None:
        super().__init__()
        widths = [channels, filters, 2 * filters, 4 * filters]
        self.blocks = nn.ModuleList([Residual(*pair) for pair in pairwise(widths)])
        self.features = widths[-1]

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        """Return features (rows, `features`); `EpisodeNorm` keeps no running statistics, which are not allowed here."""
        hidden = images
        for block in self.blocks:
            hidden = block(hidden, reference_rows)
        return hidden.mean(dim=(2, 3))
