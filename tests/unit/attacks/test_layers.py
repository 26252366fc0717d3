"""The built-in layers, by themselves and together, and their settings."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from unit.small_federation import SMALL, bits, strokes_cache

from fedmeta_flwr.apps.attacker import make_attack
from fedmeta_flwr.apps.preflight import preflight
from fedmeta_flwr.attacks.base import LayeredAttack, Turn
from fedmeta_flwr.attacks.knowledge import Arrays, Knowledge
from fedmeta_flwr.attacks.layers import Layer, Neurotoxin, NormBound
from fedmeta_flwr.attacks.layers.base import OuterStep
from fedmeta_flwr.attacks.simulation import benign_updates, norm
from fedmeta_flwr.config import ConfigError, RunConfig
from fedmeta_flwr.config.registry import RegistryError

Knows = Callable[..., Knowledge]
RunConfigs = Callable[..., RunConfig]


def turn_of(knowledge: Knowledge, server_round: int = 3, memory: Arrays | None = None, shift: float = 0) -> Turn:
    arrays = {name: array + np.float32(shift) for name, array in knowledge.shared.state_dict().items()}
    return Turn(
        server_round,
        {name: np.asarray(array) for name, array in arrays.items()},
        np.random.default_rng(0),
        memory or {},
    )


def uploaded(knowledge: Knowledge, *layers: Layer, turn: Turn | None = None) -> dict[str, np.ndarray]:
    return dict(LayeredAttack(replace(knowledge, layers=layers)).local_update(turn or turn_of(knowledge)).arrays)


def length(knowledge: Knowledge, upload: Arrays) -> float:
    start = turn_of(knowledge).global_arrays
    return norm({name: upload[name].astype(np.float64) - old for name, old in start.items()})


def after_simulations(knowledge: Knowledge) -> Turn:
    """Return a turn whose random stream is where it is after a layer has simulated benign updates."""
    turn = turn_of(knowledge)
    benign_updates(knowledge, turn, 5)
    return turn


class Steps(Layer):
    """Keep the gradient and the parameters of each step."""

    def __init__(self) -> None:
        self.gradients: list[torch.Tensor] = []
        self.parameters: list[torch.Tensor] = []

    def change_gradients(self, step: OuterStep) -> None:
        if not self.parameters:
            self.parameters.append(torch.cat([start.ravel() for start in step.start]))
        self.gradients.append(torch.cat([one.grad.ravel() for one in step.parameters if one.grad is not None]))

    def change_parameters(self, step: OuterStep) -> None:
        self.parameters.append(torch.cat([one.detach().ravel() for one in step.parameters]))


@pytest.mark.parametrize(
    ("schedule", "factors"), [("constant", [1, 1, 1, 1]), ("cosine", [1, 0.8535534, 0.5, 0.1464466])]
)
def test_the_rate_of_each_step_is_that_of_the_schedule(
    knowledge_of: Knows, schedule: str, factors: list[float]
) -> None:
    knowledge = knowledge_of(
        outer_optimizer="sgd", poison_outer_steps=4, poison_outer_lr=0.5, poison_outer_lr_schedule=schedule
    )
    uploaded(knowledge, steps := Steps())
    for before, after, gradient, factor in zip(
        steps.parameters, steps.parameters[1:], steps.gradients, factors, strict=False
    ):
        torch.testing.assert_close(before - after, 0.5 * factor * gradient, rtol=1e-3, atol=1e-6)
    assert len(steps.gradients) == len(factors)


@pytest.mark.parametrize(
    "federation", [{}, {"boost_factor": 1.0}, {"num_adversaries": 2, "quorum": 2, "boost_factor": 2.0}]
)
@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_no_upload_is_longer_than_the_norm_bound_whatever_the_boost(
    knowledge_of: Knows, federation: dict[str, float], factor: float
) -> None:
    knowledge = knowledge_of(poison_outer_lr=0.05, **federation)
    median = np.median([norm(update) for update in benign_updates(knowledge, turn_of(knowledge), 5)])
    upload = uploaded(knowledge, NormBound(knowledge, factor=factor, every=1))
    assert length(knowledge, upload) <= factor * median * (1 + 1e-6)
    assert length(knowledge, upload) > 0.9 * factor * median
    assert length(knowledge, uploaded(knowledge)) > 1.5 * factor * median


def test_an_infinite_norm_bound_and_an_update_within_the_bound_change_nothing(knowledge_of: Knows) -> None:
    knowledge = knowledge_of()
    plain = bits(uploaded(knowledge, turn=after_simulations(knowledge)))
    for factor in (np.inf, 1000.0):
        assert bits(uploaded(knowledge, NormBound(knowledge, factor=factor, every=1))) == plain


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_the_coordinates_that_neurotoxin_masks_are_those_of_the_global_model_to_the_bit(
    knowledge_of: Knows, share: float
) -> None:
    knowledge = knowledge_of()
    layer, start = Neurotoxin(knowledge, top_share=share), turn_of(knowledge).global_arrays
    upload = uploaded(knowledge, layer)
    size = sum(array.size for array in start.values())
    assert sum(int(mask.sum()) for mask in layer.masks.values()) == int(share * size)
    for name, mask in layer.masks.items():
        assert upload[name][mask].tobytes() == start[name][mask].tobytes()
    assert any((upload[name] != old).any() for name, old in start.items())


def test_neurotoxin_masks_what_simulated_clients_change_most(knowledge_of: Knows) -> None:
    knowledge = knowledge_of()
    layer = Neurotoxin(knowledge, top_share=0.1)
    layer.begin(None, turn_of(knowledge))
    simulated = benign_updates(knowledge, turn_of(knowledge), 5)
    moves = {name: np.abs(np.mean([one[name] for one in simulated], axis=0)) for name in simulated[0]}
    masked = np.concatenate([moves[name][mask] for name, mask in layer.masks.items()])
    others = np.concatenate([moves[name][~mask] for name, mask in layer.masks.items()])
    assert masked.min() >= others.max() * (1 - 1e-5)


def test_neurotoxin_without_a_share_changes_nothing(knowledge_of: Knows) -> None:
    knowledge = knowledge_of()
    plain = uploaded(knowledge, turn=after_simulations(knowledge))
    assert bits(uploaded(knowledge, Neurotoxin(knowledge, top_share=0.0))) == bits(plain)


def test_neurotoxin_masks_what_has_changed_from_round_to_round_if_it_refers_to_the_rounds(knowledge_of: Knows) -> None:
    knowledge = knowledge_of()
    layer = Neurotoxin(knowledge, top_share=0.1, reference="rounds")
    first = turn_of(knowledge, server_round=1)
    kept = layer.remember(first)
    moved = {name: array.copy() for name, array in first.global_arrays.items()}
    name = "head.weight"
    moved[name] += np.float32(1)
    second = Turn(2, moved, np.random.default_rng(0), kept)
    layer.begin(None, second)
    count = int(0.1 * sum(array.size for array in moved.values()))
    assert sum(int(mask.sum()) for mask in layer.masks.values()) == count
    assert layer.masks[name].sum() == min(count, moved[name].size)
    # The second round's mean is its difference; the third's has half of that, and half of its own difference of 0.
    third = Turn(3, moved, np.random.default_rng(0), layer.remember(second))
    means = [values for key, values in layer.remember(third).items() if key == f"neurotoxin-mean/{name}"]
    np.testing.assert_allclose(means[0], 0.5, rtol=1e-5)
    assert not Neurotoxin(knowledge).remember(first)


@pytest.mark.parametrize("is_bound_first", [True, False])
def test_norm_bound_and_neurotoxin_hold_together(knowledge_of: Knows, is_bound_first: bool) -> None:
    knowledge = knowledge_of(poison_outer_lr=0.05)
    bound, mask = NormBound(knowledge, factor=1.0, every=1), Neurotoxin(knowledge, top_share=0.3)
    layers = (bound, mask) if is_bound_first else (mask, bound)
    upload, start = uploaded(knowledge, *layers), turn_of(knowledge).global_arrays
    assert length(knowledge, upload) <= bound.radius * knowledge.boost_share * (1 + 1e-6)
    for name, chosen in mask.masks.items():
        assert upload[name][chosen].tobytes() == start[name][chosen].tobytes()


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ('{"norm-bound": {"factor": 0}}', "norm-bound: expected factor above 0"),
        ('{"norm-bound": {"every": 0}}', "norm-bound: expected factor above 0 and every of at least 1"),
        (
            '{"norm-bound": {"size": 1}}',
            r"attack-layers: expected options of norm-bound \(factor, every\), found 'size'",
        ),
        ('{"norm-bound": 2}', "attack-layers: expected a JSON object of options for 'norm-bound', found 2"),
        ('{"neurotoxin": {"top_share": 1}}', "neurotoxin: expected top_share from 0 to below 1, found 1"),
        ('{"neurotoxin": {"reference": "x"}}', "neurotoxin: expected reference of simulated or rounds, found 'x'"),
        ('{"no-layer": {}}', "attack-layers: expected one of norm-bound, neurotoxin.*found 'no-layer'"),
        ('{"no.module:Layer": {}}', "attack-layers: expected a module that can be imported"),
        ('{"unit.attacks.test_layers:turn_of": {}}', "attack-layers: expected '.*turn_of' to return Layer, found"),
    ],
)
def test_a_layer_that_cannot_be_made_is_refused_before_the_run_with_the_name_of_the_setting(
    run_config: RunConfigs, tmp_path: Path, layers: str, message: str
) -> None:
    config = run_config(**{**SMALL, "cache_dir": strokes_cache(tmp_path)}, attack_layers=layers)
    with pytest.raises(RegistryError, match=message) as found:
        preflight(config)
    assert str(found.value).startswith("attack-layers: ")


@pytest.mark.parametrize("layers", ["[1]", "{", '"norm-bound"', "norm-bound"])
def test_a_setting_that_is_no_json_object_is_an_error_of_the_configuration(run_config: RunConfigs, layers: str) -> None:
    with pytest.raises(ConfigError, match="attack-layers: expected a JSON object, found"):
        run_config(attack_layers=layers)


class Forget(Layer):
    """A custom layer: uploads the global model plus `share` of the update."""

    def __init__(self, knowledge: Knowledge, share: float = 0.0) -> None:
        self.share = share

    def change_upload(self, global_arrays: Arrays, local_arrays: Arrays) -> Arrays:
        return {
            name: global_arrays[name] + np.float32(self.share) * (local - global_arrays[name])
            for name, local in local_arrays.items()
        }


def test_a_custom_layer_is_named_by_its_module_and_takes_options(knowledge_of: Knows, run_config: RunConfigs) -> None:
    knowledge, name = knowledge_of(boost_factor=1.0), f"{__name__}:Forget"
    for options, share in (("{}", 0.0), ('{"share": 0.5}', 0.5)):
        attack = make_attack(run_config(attack_layers=f'{{"{name}": {options}}}'), knowledge)
        upload = attack.local_update(turn_of(knowledge)).arrays
        plain = uploaded(knowledge)
        for key, old in turn_of(knowledge).global_arrays.items():
            np.testing.assert_allclose(upload[key] - old, share * (plain[key] - old), atol=1e-6)
