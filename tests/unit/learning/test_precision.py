import numpy as np
import pytest
import torch
from torch import Tensor, nn

from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.data.episodes import Episode
from fedmeta_flwr.learning import device, fused
from fedmeta_flwr.learning.conv_block import ConvBlock, set_precision
from fedmeta_flwr.learning.fine_tuning import InnerLoop
from fedmeta_flwr.learning.kernels import normalisation
from fedmeta_flwr.learning.meta_learning import meta_gradient
from fedmeta_flwr.learning.models import Classifier, build_classifier

ULP = 2.0**-8
"""Largest relative distance of a number to the next bfloat16."""


def faster_in_bfloat16(monkeypatch: pytest.MonkeyPatch, faster: bool) -> None:
    monkeypatch.setattr(device, "multiplies_bfloat16", lambda _: faster)


def classifier(embedding: str, precision: str) -> Classifier:
    channels, side = (1, 28) if embedding == "conv4" else (3, 16)
    model = build_classifier(
        embedding, channels=channels, image_size=side, filters=8, way=3, generator=torch.Generator().manual_seed(1)
    )
    set_precision(model, precision, embedding)
    return model


def noise_episode(embedding: str) -> Episode:
    channels, side = (1, 28) if embedding == "conv4" else (3, 16)
    pixels = np.random.default_rng(0).integers(256, size=(2, 6, channels, side, side), dtype=np.uint8)
    labels = np.repeat(np.arange(3), 2)
    return Episode(pixels[0], labels, pixels[1], labels, np.arange(3))


def test_numbers_are_rounded_to_bfloat16_as_pytorch_rounds_them() -> None:
    bits = np.random.default_rng(0).integers(2**32, size=100_000, dtype=np.uint32)
    bits[:4] = [0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x7F800000]  # two ties, the largest number, infinity
    bits &= np.uint32(0x7FFFFFFF)  # the loop below drops what is negative
    numbers = torch.from_numpy(bits.view(np.float32)).reshape(-1, 1, 1, 8)
    rounded = torch.empty(numbers.shape, dtype=torch.bfloat16)
    normalisation._rectify(
        numbers.numpy(), np.ones(8, np.float32), np.zeros(8, np.float32), rounded.view(torch.uint16).numpy()
    )
    torch.testing.assert_close(rounded, numbers.bfloat16(), rtol=0, atol=0, equal_nan=True)


def results(block: ConvBlock, images: Tensor) -> list[Tensor]:
    inputs = images.clone().requires_grad_()
    result = block(inputs, 3)
    weights = torch.linspace(-1, 1, result.numel()).reshape(result.shape)
    return [result.float(), *torch.autograd.grad((result.float() * weights).sum(), [inputs, *block.parameters()])]


@pytest.mark.parametrize("pooling", [True, False])
def test_a_block_rounds_alike_whether_the_processor_multiplies_bfloat16_or_not(
    pooling: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = ConvBlock(8, 4, pooling)
    nn.init.xavier_uniform_(block.conv.weight, generator=torch.Generator().manual_seed(0))
    block.precision = "bfloat16"
    images = torch.rand(5, 8, 9, 9, generator=torch.Generator().manual_seed(1))
    found = []
    for faster in (False, True):
        faster_in_bfloat16(monkeypatch, faster)
        assert block(images, 3).dtype == (torch.bfloat16 if faster else torch.float32)
        found.append(results(block, images))
    for emulated, native in zip(*found, strict=True):
        assert native.dtype == emulated.dtype == torch.float32
        # An activation at the edge between two bfloat16 may be rounded to either, and a gradient adds many.
        typical = emulated.abs().max() * ULP
        assert (native - emulated).abs().median() <= typical
        assert (native - emulated).abs().max() <= 16 * typical


@pytest.mark.parametrize("pooling", [True, False])
def test_activations_are_bfloat16_and_parameters_float32(pooling: bool) -> None:
    block = ConvBlock(8, 4, pooling)
    block.precision = "bfloat16"
    result = block(torch.rand(5, 8, 9, 9), 3)
    assert torch.equal(result, result.bfloat16().to(result.dtype))
    gradients = torch.autograd.grad(result.float().square().sum(), list(block.parameters()))
    assert {gradient.dtype for gradient in gradients} == {torch.float32}


@pytest.mark.parametrize("faster", [True, False])
@pytest.mark.parametrize("algorithm", ["fomaml", "maml"])
@pytest.mark.parametrize("embedding", ["conv4", "conv4-pool"])
def test_a_meta_gradient_in_bfloat16_points_where_that_in_float32_points(
    embedding: str, algorithm: str, faster: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    faster_in_bfloat16(monkeypatch, faster)
    exact, rounded = (
        torch.cat(
            [
                gradient.flatten()
                for gradient in meta_gradient(
                    classifier(embedding, precision), noise_episode(embedding), algorithm, InnerLoop(0.05, 2, "support")
                )[0]
            ]
        )
        for precision in ("float32", "bfloat16")
    )
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.5
    assert not torch.equal(exact, rounded)


def test_both_paths_round_alike() -> None:
    model, images = classifier("conv4-pool", "bfloat16"), torch.rand(6, 3, 16, 16)
    found = model(images, 3)
    with fused.plain():
        expected = model(images, 3)
    torch.testing.assert_close(found, expected, rtol=0, atol=4 * ULP * expected.abs().max().item())


def test_bfloat16_is_refused_for_an_embedding_without_convolution_blocks() -> None:
    with pytest.raises(
        RegistryError, match=r"precision: expected an embedding of .*ConvBlock for 'bfloat16', found 'm:a'"
    ):
        set_precision(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "bfloat16", "m:a")
    set_precision(nn.Sequential(nn.Flatten()), "float32", "m:a")
