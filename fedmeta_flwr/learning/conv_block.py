"""The convolution block of the embedding networks."""

from torch import Tensor, nn
from torch.nn import functional

from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.learning.device import rounded_to_bfloat16
from fedmeta_flwr.learning.fused import normalise_and_rectify, strided_convolution
from fedmeta_flwr.learning.norm import EpisodeNorm


class ConvBlock(nn.Module):
    """3x3 convolution, batch normalisation, rectifier, and, unless the convolution has stride 2, 2x2 max-pooling.

    The convolution has no bias, because normalisation would remove it. Custom embeddings can use this block.

    Parameters
    ----------
    channels, filters : int
        Channels of the input and of the result.
    pooling : bool
        Whether to shrink an image by max-pooling, rather than by stride.

    Attributes
    ----------
    precision : str
        ``"float32"``; or ``"bfloat16"``, which rounds what the convolution multiplies, and the activations, to bfloat16
        (see `rounded_to_bfloat16`), while weights, statistics and sums keep their type. Set by `set_precision`.
    """

    def __init__(self, channels: int, filters: int, pooling: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, kernel_size=3, stride=1 if pooling else 2, padding=1, bias=False)
        self.norm = EpisodeNorm(filters)
        self.pooling = pooling
        self.precision = "float32"

    def forward(self, inputs: Tensor, reference_rows: int | None = None) -> Tensor:
        """Map (rows, channels, height, width) to (rows, filters, half the height, half the width).

        Halves are rounded down with pooling, and up with stride 2. With precision ``"bfloat16"``, the result may be
        of that type.
        """
        rows = len(inputs) if reference_rows is None else reference_rows
        if self.precision == "float32":
            return self._normed(self._convolved(inputs, self.conv.weight), rows)
        hidden = self._convolved(rounded_to_bfloat16(inputs), rounded_to_bfloat16(self.conv.weight))
        return rounded_to_bfloat16(self._normed(rounded_to_bfloat16(hidden), rows))

    def _convolved(self, inputs: Tensor, weight: Tensor) -> Tensor:
        return functional.conv2d(inputs, weight, padding=1) if self.pooling else strided_convolution(inputs, weight)

    def _normed(self, hidden: Tensor, rows: int) -> Tensor:
        return normalise_and_rectify(hidden, self.norm.weight, self.norm.bias, rows, self.pooling)


def set_precision(model: nn.Module, precision: str, name: str) -> None:
    """Set the precision of all `ConvBlock` of a model.

    Parameters
    ----------
    model : torch.nn.Module
        Changed in place.
    precision : str
        ``"float32"`` or ``"bfloat16"``.
    name : str
        Name of its embedding, for the error.

    Raises
    ------
    RegistryError
        If the precision is ``"bfloat16"`` and there is no such block.
    """
    blocks = [module for module in model.modules() if isinstance(module, ConvBlock)]
    if precision != "float32" and not blocks:
        raise RegistryError(
            f"precision: expected an embedding of fedmeta_flwr.learning.ConvBlock for {precision!r}, found {name!r}"
        )
    for block in blocks:
        block.precision = precision
