import numpy as np
import pytest
import torch
from torch.nn import functional

from fedmeta_flwr.learning.conv_block import ConvBlock
from fedmeta_flwr.learning.fused import plain
from fedmeta_flwr.learning.models import Classifier, Conv4, build_classifier, get_arrays, set_arrays


def network(seed: int = 0) -> Classifier:
    generator = torch.Generator().manual_seed(seed)
    return build_classifier("conv4", channels=1, image_size=28, filters=8, way=5, generator=generator)


def test_features_and_logits_have_their_documented_shapes() -> None:
    model = network()
    images = torch.rand(3, 1, 28, 28)
    assert model.embedding.features == 8 * 2 * 2
    assert model.embedding(images).shape == (3, 32)
    assert model(images).shape == (3, 5)


def test_initial_weights_come_from_the_given_generator_only() -> None:
    torch.manual_seed(1)
    first = get_arrays(network())
    state = torch.get_rng_state()
    second = get_arrays(network())
    assert torch.equal(state, torch.get_rng_state())
    assert all((first[name] == second[name]).all() for name in first)
    assert any((first[name] != array).any() for name, array in get_arrays(network(seed=1)).items())


def test_nothing_but_parameters_is_exchanged() -> None:
    model = network()
    assert list(get_arrays(model)) == [name for name, _ in model.named_parameters()]
    assert {array.dtype for array in get_arrays(model).values()} == {np.dtype(np.float32)}


def test_arrays_survive_a_round_trip() -> None:
    source, model = network(seed=1), network(seed=2)
    set_arrays(model, get_arrays(source))
    images = torch.rand(4, 1, 28, 28)
    assert torch.equal(model(images), source(images))


def test_arrays_of_another_architecture_are_refused_by_name() -> None:
    model = network()
    arrays = get_arrays(model)
    with pytest.raises(ValueError, match=r"head.weight: expected shape \(5, 32\), found \(2, 2\)"):
        set_arrays(model, {**arrays, "head.weight": np.zeros((2, 2), np.float32)})
    del arrays["head.bias"]
    with pytest.raises(ValueError, match=r"missing \['head.bias'\], unknown \['neck'\]"):
        set_arrays(model, {**arrays, "neck": np.zeros(1, np.float32)})


def photo_network(image_size: int = 42, filters: int = 4) -> Classifier:
    generator = torch.Generator().manual_seed(0)
    return build_classifier(
        "conv4-pool", channels=3, image_size=image_size, filters=filters, way=5, generator=generator
    )


@pytest.mark.parametrize(("image_size", "side"), [(16, 1), (31, 1), (42, 2), (84, 5)])
def test_pooling_halves_the_side_four_times_rounding_down(image_size: int, side: int) -> None:
    model = photo_network(image_size, filters=8)
    assert model.embedding.features == 8 * side * side
    assert model(torch.rand(2, 3, image_size, image_size)).shape == (2, 5)


def test_the_network_for_mini_imagenet_has_the_published_sizes() -> None:
    # Finn et al. 2017: 32 filters of 3 x 3, photos of 84 pixels, so 32 * 5 * 5 = 800 features to the head.
    shapes = {name: array.shape for name, array in get_arrays(photo_network(84, 32)).items()}
    assert shapes["embedding.blocks.0.conv.weight"] == (32, 3, 3, 3)
    assert shapes["embedding.blocks.3.conv.weight"] == (32, 32, 3, 3)
    assert shapes["head.weight"] == (5, 800)


@pytest.mark.parametrize("reference_rows", [None, 2])
def test_a_block_that_pools_is_convolution_norm_rectifier_and_maximum_of_two_by_two(reference_rows: int | None) -> None:
    embedding = photo_network().embedding
    assert isinstance(embedding, Conv4)
    block = embedding.blocks[0]
    images = torch.rand(3, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    convolved = functional.conv2d(images, block.conv.weight, stride=1, padding=1)  # type: ignore[union-attr, arg-type]
    reference = convolved[:reference_rows]
    mean, variance = reference.mean((0, 2, 3)), reference.var((0, 2, 3), correction=0)
    normed = (convolved - mean[:, None, None]) / torch.sqrt(variance[:, None, None] + 1e-5)
    windows = normed.clamp(min=0)[:, :, :8, :8].reshape(3, 4, 4, 2, 4, 2)
    torch.testing.assert_close(block(images, reference_rows), windows.amax((3, 5)))


def test_in_plain_pytorch_a_rectifier_after_pooling_gives_the_bits_of_one_before_it() -> None:
    block = ConvBlock(3, 4, pooling=True)
    images = torch.rand(3, 3, 9, 9, generator=torch.Generator().manual_seed(1))
    images[:, :, :4] = 0  # blank pixels: all values of a window are equal
    before = functional.max_pool2d(functional.relu(block.norm(block.conv(images))), 2)
    with plain():
        after = block(images)
    assert after.equal(before)
    weights = torch.rand(before.shape, generator=torch.Generator().manual_seed(2))
    gradients = [torch.autograd.grad((out * weights).sum(), list(block.parameters())) for out in (before, after)]
    assert all(one.equal(other) for one, other in zip(*gradients, strict=True))


@pytest.mark.parametrize("reference_rows", [None, 5])
def test_second_derivatives_flow_through_a_network_that_pools(reference_rows: int | None) -> None:
    model = photo_network(16).double()
    images = torch.rand(10, 3, 16, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    weights: dict[str, torch.Tensor] = dict(model.named_parameters())

    def loss_after_a_step(weights: dict[str, torch.Tensor]) -> torch.Tensor:
        labels = torch.arange(10) % 5
        options = {"reference_rows": reference_rows}
        first = functional.cross_entropy(torch.func.functional_call(model, weights, (images,), options), labels)
        steps = torch.autograd.grad(first, list(weights.values()), create_graph=True)
        stepped = {name: value - 0.1 * step for (name, value), step in zip(weights.items(), steps, strict=True)}
        return functional.cross_entropy(torch.func.functional_call(model, stepped, (images,), options), labels)

    name = "embedding.blocks.0.conv.weight"
    (gradient,) = torch.autograd.grad(loss_after_a_step(weights), [weights[name]])
    offset = torch.zeros_like(weights[name])
    offset[0, 0, 1, 1] = 1e-5
    above, below = (loss_after_a_step({**weights, name: weights[name] + sign * offset}) for sign in (1, -1))
    torch.testing.assert_close(gradient[0, 0, 1, 1], ((above - below) / 2e-5).detach(), rtol=1e-4, atol=1e-7)


def test_an_unknown_embedding_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of conv4, conv4-pool, or 'module:attribute', found 'resnet'"):
        build_classifier("resnet", channels=1, image_size=28, filters=8, way=5, generator=torch.Generator())
