from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fedmeta_flwr.learning.norm import EpisodeNorm, normalise

LAYOUTS = [torch.contiguous_format, torch.channels_last]


def norm_and_inputs(layout: torch.memory_format = torch.contiguous_format) -> tuple[EpisodeNorm, Tensor]:
    norm = EpisodeNorm(4).double()
    norm.weight.data.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
    norm.bias.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    inputs = torch.randn(6, 4, 3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 3 + 2
    return norm, inputs.to(memory_format=layout)


def by_definition(norm: EpisodeNorm, inputs: Tensor, reference_rows: int) -> Tensor:
    reference = inputs[:reference_rows]
    mean, variance = reference.mean((0, 2, 3), keepdim=True), reference.var((0, 2, 3), correction=0, keepdim=True)
    normalised = (inputs - mean) / torch.sqrt(variance + 1e-5)
    return norm.weight[:, None, None] * normalised + norm.bias[:, None, None]


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reference_rows", [1, 2, 6])
def test_reference_rows_give_the_statistics_of_all(reference_rows: int, layout: torch.memory_format) -> None:
    norm, inputs = norm_and_inputs(layout)
    torch.testing.assert_close(norm(inputs, reference_rows), by_definition(norm, inputs, reference_rows))


def test_reference_rows_equal_batch_statistics_when_they_are_the_whole_batch() -> None:
    norm, inputs = norm_and_inputs()
    torch.testing.assert_close(norm(inputs), norm(inputs, reference_rows=6))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reference_rows", [1, 2, 6])
def test_gradients_equal_those_of_the_definition(reference_rows: int, layout: torch.memory_format) -> None:
    norm, inputs = norm_and_inputs(layout)
    inputs.requires_grad_()
    sources = [inputs, norm.weight, norm.bias]
    found = torch.autograd.grad(norm(inputs, reference_rows).sin().sum(), sources)
    expected = torch.autograd.grad(by_definition(norm, inputs, reference_rows).sin().sum(), sources)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("in_dims", [(0, 0, 0), (1, None, 0), (None, 0, None), (4, 1, None)])
@pytest.mark.parametrize("rows", [2, 5])
def test_vmap_normalises_each_batch_separately(in_dims: tuple[int | None, ...], rows: int) -> None:
    generator = torch.Generator().manual_seed(0)
    shapes, arguments = [(5, 4, 3, 2), (4,), (4,)], []
    for shape, dim in zip(shapes, in_dims, strict=True):
        size = shape if dim is None else (*shape[:dim], 3, *shape[dim:])
        arguments.append(torch.randn(size, dtype=torch.float64, generator=generator).requires_grad_())

    def one(index: int) -> Tensor:
        inputs, weight, bias = (
            tensor if dim is None else tensor.select(dim, index) for tensor, dim in zip(arguments, in_dims, strict=True)
        )
        return normalise(inputs, weight, bias, rows)

    found = torch.vmap(partial(normalise, rows=rows), in_dims)(*arguments)
    expected = torch.stack([one(index) for index in range(3)])
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(
        *(torch.autograd.grad(result.sin().sum(), arguments) for result in (found, expected)), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("reference_rows", [None, 3])
def test_first_and_second_derivatives_equal_finite_differences(
    reference_rows: int | None, layout: torch.memory_format
) -> None:
    norm, inputs = norm_and_inputs()
    few = inputs[:, :2, :2, :2].clone(memory_format=layout)
    parameters = [value.detach().requires_grad_() for value in (few, norm.weight[:2], norm.bias[:2])]

    def normalise(inputs: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        options = {"weight": weight, "bias": bias}
        output: Tensor = torch.func.functional_call(norm, options, (inputs, reference_rows))
        return output

    assert torch.autograd.gradcheck(normalise, parameters)
    assert torch.autograd.gradgradcheck(normalise, parameters)


def test_normalisation_by_the_batch_is_that_of_torch() -> None:
    norm, inputs = norm_and_inputs()
    expected = functional.batch_norm(inputs, None, None, norm.weight, norm.bias, training=True)
    torch.testing.assert_close(norm(inputs), expected)
