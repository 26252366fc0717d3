import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from fedmeta_flwr.data.episodes import Episode
from fedmeta_flwr.learning import fused
from fedmeta_flwr.learning.conv_block import ConvBlock
from fedmeta_flwr.learning.fine_tuning import InnerLoop
from fedmeta_flwr.learning.meta_learning import meta_gradient
from fedmeta_flwr.learning.models import build_classifier

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def outcome(block: ConvBlock, images: Tensor, rows: int | None) -> list[Tensor]:
    """Return the result of a block, and the gradients of a weighted sum of it."""
    inputs = images.clone().requires_grad_()
    result = block(inputs, rows)
    weights = torch.linspace(-1, 2, result.numel(), dtype=result.dtype).reshape(result.shape)
    return [result, *torch.autograd.grad((result * weights).sum(), [inputs, *block.parameters()])]


def random_block(channels: int, filters: int, pooling: bool, seed: int = 0) -> ConvBlock:
    block = ConvBlock(channels, filters, pooling).double()
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        for parameter in block.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return block


def assert_same(found: list[Tensor], expected: list[Tensor], tolerance: float = 1e-9) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == theirs.shape
        scale = theirs.abs().max().item() + 1
        torch.testing.assert_close(ours / scale, theirs / scale, rtol=0, atol=tolerance, equal_nan=True)


@settings(max_examples=40, deadline=None)
@given(
    pooling=st.booleans(),
    layout=st.sampled_from(LAYOUTS),
    shape=st.tuples(st.integers(1, 18), st.sampled_from([1, 3, 8, 9]), st.integers(2, 9), st.integers(2, 9)),
    filters=st.integers(1, 9),
    data=st.data(),
)
def test_a_fused_block_has_the_results_and_gradients_of_a_plain_one(
    *, pooling: bool, layout: torch.memory_format, shape: tuple[int, ...], filters: int, data: st.DataObject
) -> None:
    rows = data.draw(st.none() | st.integers(1, shape[0]))
    # Few distinct values, so that windows have ties.
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 1000)))
    inputs = torch.randint(3, shape, generator=generator).double()
    block = random_block(shape[1], filters, pooling)
    found = outcome(block, inputs.to(memory_format=layout), rows)
    with fused.plain():
        expected = outcome(block, inputs.to(memory_format=layout), rows)
    assert_same(found, expected)


@pytest.mark.parametrize("pooling", [True, False])
def test_equal_values_share_their_gradient_as_in_plain_pytorch(pooling: bool) -> None:
    block = random_block(8, 4, pooling)
    images = torch.zeros(3, 8, 6, 6, dtype=torch.float64)
    images[0, :, 2:4, 1:5] = 1.0
    with torch.no_grad():
        block.norm.bias.fill_(0.5)
    found = outcome(block, images, 2)
    with fused.plain():
        assert_same(found, outcome(block, images, 2))


@pytest.mark.parametrize("pooling", [True, False])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_value_that_is_not_finite_spoils_what_it_spoils_in_plain_pytorch(pooling: bool, value: float) -> None:
    block = random_block(8, 4, pooling)
    images = torch.rand(3, 8, 6, 6, dtype=torch.float64)
    images[2, 0, 3, 3] = value
    with torch.no_grad():
        found = block(images, 2)
        with fused.plain():
            expected = block(images, 2)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-9, equal_nan=True)
    assert not found.isfinite().all()


@pytest.mark.parametrize("pooling", [True, False])
def test_the_result_does_not_depend_on_whether_gradients_are_wanted(pooling: bool) -> None:
    block = random_block(8, 4, pooling).float()
    images = torch.rand(5, 8, 7, 7)
    with torch.no_grad():
        predicted = block(images, 3)
    assert torch.equal(predicted, block(images, 3))


@pytest.mark.parametrize("pooling", [True, False])
def test_a_gradient_of_a_gradient_is_that_of_the_plain_functions(pooling: bool) -> None:
    block = random_block(8, 4, pooling)
    images = torch.rand(4, 8, 6, 6, dtype=torch.float64)

    def second_order() -> list[Tensor]:
        inputs = images.clone().requires_grad_()
        loss = block(inputs, 3).square().sum()
        gradients = torch.autograd.grad(loss, [inputs, *block.parameters()], create_graph=True)
        squares = torch.stack([gradient.square().sum() for gradient in gradients])
        return list(torch.autograd.grad(squares.sum(), [inputs, *block.parameters()]))

    found = second_order()
    with fused.plain():
        assert_same(found, second_order())


@pytest.mark.parametrize("pooling", [True, False])
def test_a_gradient_of_a_gradient_is_right_for_a_block_that_is_used_twice(pooling: bool) -> None:
    block = random_block(8, 8, pooling)
    images = torch.rand(3, 8, 9, 9, dtype=torch.float64)

    def second_order() -> list[Tensor]:
        parameters = list(block.parameters())
        gradients = torch.autograd.grad(block(block(images)).square().sum(), parameters, create_graph=True)
        squares = torch.stack([gradient.square().sum() for gradient in gradients])
        return list(torch.autograd.grad(squares.sum(), parameters))

    found = second_order()
    with fused.plain():
        assert_same(found, second_order())


def test_more_reference_rows_than_images_are_all_images() -> None:
    block = random_block(8, 4, pooling=True)
    images = torch.rand(3, 8, 6, 6, dtype=torch.float64)
    assert_same(outcome(block, images, 5), outcome(block, images, 3))


@pytest.mark.parametrize("pooling", [True, False])
def test_in_float32_values_far_from_zero_lose_only_their_own_rounding(pooling: bool) -> None:
    images = torch.rand(20, 4, 30, 30, generator=torch.Generator().manual_seed(0)) + 1000
    weight, bias = torch.ones(4), torch.zeros(4)
    found = fused.normalise_and_rectify(images, weight, bias, 20, pooling)
    with fused.plain():
        exact = fused.normalise_and_rectify(images.double(), weight.double(), bias.double(), 20, pooling)
    inverse_deviation = 12**0.5
    assert (found - exact).abs().max() <= 4 * 1000 * inverse_deviation * torch.finfo(torch.float32).eps / 2


@pytest.mark.usefixtures("double_precision")
@pytest.mark.parametrize(("embedding", "channels", "side"), [("conv4", 1, 28), ("conv4-pool", 3, 16)])
@pytest.mark.parametrize("algorithm", ["fomaml", "reptile", "maml"])
@pytest.mark.parametrize("batch_norm", ["support", "transductive"])
def test_an_episodes_meta_gradient_is_that_of_the_plain_path(
    embedding: str, channels: int, side: int, algorithm: str, batch_norm: str
) -> None:
    model = build_classifier(
        embedding, channels=channels, image_size=side, filters=8, way=3, generator=torch.Generator().manual_seed(1)
    ).double()
    pixels = np.random.default_rng(0).integers(256, size=(2, 6, channels, side, side), dtype=np.uint8)
    labels = np.repeat(np.arange(3), 2)
    episode = Episode(pixels[0], labels, pixels[1], labels, np.arange(3))
    found, loss = meta_gradient(model, episode, algorithm, InnerLoop(0.1, 2, batch_norm))
    with fused.plain():
        expected, plain_loss = meta_gradient(model, episode, algorithm, InnerLoop(0.1, 2, batch_norm))
    assert_same(found, expected)
    assert loss == pytest.approx(plain_loss, abs=1e-9)


def test_without_numba_the_plain_functions_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    block = random_block(8, 4, pooling=True)
    images = torch.rand(3, 8, 6, 6, dtype=torch.float64)
    with fused.plain():
        expected = outcome(block, images, None)
    monkeypatch.setattr(fused, "kernels", None)
    for ours, theirs in zip(outcome(block, images, None), expected, strict=True):
        assert torch.equal(ours, theirs)
