"""Embedding networks and the classifier head.

Batch normalisation never keeps running statistics. A batch is normalised by its mean and variance, or, if
`reference_rows` is given, by those of its first rows (the support set). Both modes are common in meta-learning and lead
to different published numbers, so every result names the mode.
"""

from collections.abc import Callable, Mapping
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from fedmeta_flwr.config.registry import RegistryError, is_custom, make
from fedmeta_flwr.learning.conv_block import ConvBlock
from fedmeta_flwr.learning.norm import EpisodeNorm
from fedmeta_flwr.learning.seeding import global_torch_seed

_T = TypeVar("_T")


class Embedding(nn.Module):
    """A network from images to features; the base class of custom embeddings.

    Attributes
    ----------
    features : int
        Length of a feature vector.
    """

    features: int

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        """Return features (rows, `features`) of `images` (rows, channels, height, width) in 0..1.

        If `reference_rows` is given, only the first `reference_rows` images give the statistics that normalise a batch.
        In evaluation mode (`eval`), the same images must have the same features. In training mode, a network may draw
        from PyTorch's global generators, which are seeded.
        """
        raise NotImplementedError


class Conv4(Embedding):
    """Four convolution blocks, flattened.

    Source: Finn et al. 2017, section 5.2: the Omniglot network (stride 2, 64 filters) and, with pooling, the
    mini-ImageNet network (32 filters, also in Ravi & Larochelle 2017). Differs: the last feature map is also flattened
    in the Omniglot network, not averaged, so that the position of a stroke is not lost.

    Parameters
    ----------
    channels : int
        Channels of an image.
    filters : int
        Filters of each block.
    image_size : int
        Height and width of an image, in pixels; 16 or above with pooling.
    pooling : bool
        Whether blocks shrink the image by max-pooling rather than by stride.
    """

    def __init__(self, channels: int, filters: int, image_size: int, pooling: bool = False) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([ConvBlock(channels if i == 0 else filters, filters, pooling) for i in range(4)])
        side = image_size
        for _ in self.blocks:
            side = side // 2 if pooling else (side + 1) // 2
        self.features = filters * side * side

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        """Return features (rows, `features`) of `images` (rows, channels, height, width) in 0..1."""
        hidden = images
        for block in self.blocks:
            hidden = block(hidden, reference_rows)
        return hidden.flatten(1).to(images.dtype)


def pooling_conv4(channels: int, filters: int, image_size: int) -> Conv4:
    """Return a `Conv4` with max-pooling."""
    return Conv4(channels, filters, image_size, pooling=True)


class Classifier(nn.Module):
    """An embedding followed by a fully-connected head of `way` outputs."""

    def __init__(self, embedding: Embedding, way: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.head = nn.Linear(embedding.features, way)

    def forward(self, images: Tensor, reference_rows: int | None = None) -> Tensor:
        """Return logits (rows, way) of `images` (rows, channels, height, width) in 0..1."""
        logits: Tensor = self.head(self.embedding(images, reference_rows))
        return logits


def build_classifier(
    name: str,
    options: str = "",
    *,
    channels: int,
    image_size: int,
    filters: int,
    way: int,
    generator: torch.Generator,
) -> Classifier:
    """Build a network whose initial weights are drawn from `generator` only.

    Parameters
    ----------
    name : str
        ``"conv4"``, with stride 2, for drawings; ``"conv4-pool"``, with max-pooling, for photos; or
        ``"module:attribute"`` of a callable that takes `channels`, `filters` and `image_size`, and returns an
        `Embedding`.
    options : str
        Further arguments, as a JSON object; empty: none.
    channels, image_size, filters, way : int
        Channels and side (pixels) of an image, filters per block, outputs of the head.
    generator : torch.Generator
        Source of the initial weights: Glorot-uniform for weights, zero for biases (Glorot & Bengio 2010). A custom
        embedding draws its weights itself, from PyTorch's global generator, which is seeded from this one.

    Returns
    -------
    Classifier
        On the CPU, in float32.

    Raises
    ------
    RegistryError
        If there is no such embedding, or it cannot be used.
    """

    def embedding() -> Embedding:
        arguments = {"channels": channels, "filters": filters, "image_size": image_size}
        made: Embedding = make("embedding", name, Embedding, arguments, options)
        return made

    if is_custom(name):
        return seeded(lambda: Classifier(_tried(embedding(), name, channels, image_size), way), generator)
    with torch.device("meta"):  # allocate without drawing from the global generator
        model = Classifier(embedding(), way)
    model.to_empty(device="cpu")
    _initialise(model, generator)
    return model


def _initialise(model: nn.Module, generator: torch.Generator) -> None:
    for module in model.modules():
        if isinstance(module, EpisodeNorm):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def seeded(build: Callable[[], _T], generator: torch.Generator) -> _T:
    """Call `build` with PyTorch's global state seeded from a generator, and restore the state after it."""
    with global_torch_seed(int(torch.randint(2**63 - 1, (1,), generator=generator))):
        return build()


def _tried(embedding: Embedding, name: str, channels: int, image_size: int) -> Embedding:
    """Return a custom embedding; raises `RegistryError` if it cannot be averaged and meta-trained."""
    _require_parameters_only(embedding, name)
    features = embedding(torch.zeros(2, channels, image_size, image_size), reference_rows=1)
    if (found := tuple(features.shape)) != (expected := (2, embedding.features)):
        raise RegistryError(
            f"embedding: expected features of shape {expected} for 2 images from {name!r}, found {found}"
        )
    _require_trained(embedding, features, name)
    return embedding


def _require_parameters_only(embedding: Embedding, name: str) -> None:
    """Raise `RegistryError` if the exchanged arrays include others than parameters, such as running statistics."""
    parameters = dict(embedding.named_parameters())
    if others := [key for key in embedding.state_dict() if key not in parameters]:
        raise RegistryError(
            f"embedding: expected {name!r} to exchange only parameters (no running statistics; a constant may be "
            f"a buffer that is not persistent), found {others[0]!r}"
        )


def _require_trained(embedding: Embedding, features: Tensor, name: str) -> None:
    """Raise `RegistryError` if a parameter is frozen or does not affect the features; all need a meta-gradient."""
    parameters = dict(embedding.named_parameters())
    idle = [key for key, parameter in parameters.items() if not parameter.requires_grad]
    if parameters and not idle:
        gradients = torch.autograd.grad(features.sum(), list(parameters.values()), allow_unused=True)
        idle = [key for key, gradient in zip(parameters, gradients, strict=True) if gradient is None]
    if idle:
        raise RegistryError(
            f"embedding: expected every parameter of {name!r} to be trained (a constant may be a buffer that is not "
            f"persistent), found {idle[0]!r} without a gradient"
        )


def get_arrays(model: nn.Module) -> dict[str, np.ndarray]:
    """Return a copy of all parameters by name, float32, in the model's order."""
    return {name: value.detach().cpu().numpy().copy() for name, value in model.state_dict().items()}


def set_arrays(model: nn.Module, arrays: Mapping[str, np.ndarray]) -> None:
    """Load parameters by name.

    Raises
    ------
    ValueError
        If a name is missing or unknown, or a shape differs; says which array, and what was expected and found.
    """
    expected = model.state_dict()
    if set(arrays) != set(expected):
        missing, unknown = sorted(set(expected) - set(arrays)), sorted(set(arrays) - set(expected))
        raise ValueError(f"model arrays: expected {len(expected)} names, missing {missing}, unknown {unknown}")
    for name, value in expected.items():
        if tuple(value.shape) != arrays[name].shape:
            raise ValueError(f"model array {name}: expected shape {tuple(value.shape)}, found {arrays[name].shape}")
    model.load_state_dict({name: torch.from_numpy(np.array(arrays[name])) for name in expected})
