import numpy as np
import pytest
import torch
from torch.nn import functional

from fedmeta_flwr.models import Classifier, EpisodeNorm, build_classifier, get_arrays, set_arrays


def network(seed: int = 0) -> Classifier:
    generator = torch.Generator().manual_seed(seed)
    return build_classifier("conv4", channels=1, image_size=28, filters=8, way=5, generator=generator)


def test_features_and_logits_have_their_documented_shapes() -> None:
    model = network()
    images = torch.rand(3, 1, 28, 28)
    assert model.embedding.features == 8 * 2 * 2
    assert model.embedding(images).shape == (3, 32)
    assert model(images).shape == (3, 5)


def test_initial_weights_come_from_the_given_generator_alone() -> None:
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


def test_reference_rows_equal_batch_statistics_when_they_are_the_whole_batch() -> None:
    norm = EpisodeNorm(4)
    norm.weight.data.uniform_(0.5, 2, generator=torch.Generator().manual_seed(0))
    norm.bias.data.uniform_(-1, 1, generator=torch.Generator().manual_seed(1))
    inputs = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(norm(inputs), norm(inputs, reference_rows=6))
    reference = functional.batch_norm(
        inputs, inputs[:2].mean((0, 2, 3)), inputs[:2].var((0, 2, 3), correction=0), norm.weight, norm.bias
    )
    torch.testing.assert_close(norm(inputs, reference_rows=2), reference)


def test_an_unknown_embedding_is_refused() -> None:
    with pytest.raises(ValueError, match="expected one of conv4, found 'resnet'"):
        build_classifier("resnet", channels=1, image_size=28, filters=8, way=5, generator=torch.Generator())
