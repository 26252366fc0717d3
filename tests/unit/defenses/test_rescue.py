"""The options of the rescue, each beside what it is at its neutral value, and the control without a global model."""

import copy
import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from unit.small_federation import SMALL, RunConfigs, bits, client_of, scenario_of

from clients import BenignClient
from fedmeta_flwr.apps.assembly import require_custom_clients
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.defenses.matching.base import matching_training
from fedmeta_flwr.defenses.matching.local_only import LocalOnly
from fedmeta_flwr.defenses.matching.rescue import Rescue, variants
from fedmeta_flwr.learning import MatchingNetwork, get_arrays
from fedmeta_flwr.learning.batches import query_of, support_of

CPU = torch.device("cpu")
STEPS = 3


@pytest.fixture
def config(run_config: RunConfigs, tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    return run_config(**SMALL, cache_dir=str(tmp_path_factory.getbasetemp() / "strokes"))


@pytest.fixture
def client(config: RunConfig, tmp_path: Path) -> BenignClient:
    return client_of(config, tmp_path)


def trained(client: BenignClient, defense: Rescue, model: Any = None, steps: int = STEPS) -> Any:
    """Return the network of a defense after local steps."""
    model = client.model if model is None else model
    ((_, network),) = defense.stages(model, client.measurement.context, [steps])
    return network


def arrays(network: Any) -> dict[str, bytes]:
    return bits(get_arrays(network))


def predicted(client: BenignClient, defense: Rescue, network: Any) -> Tensor:
    """Return the log-probabilities of the queries of the client's first episode."""
    episode = client.measurement.plan.attacked_episode(0)
    (predict,) = defense.adapt(network, client.measurement.context)(support_of(episode, CPU))
    with torch.no_grad():
        return predict(query_of(episode, CPU).images)


def shift(network: Any, model: Any) -> float:
    """Return the distance of an embedding to the global one."""
    pairs = zip(network.embedding.parameters(), model.embedding.parameters(), strict=True)
    return math.sqrt(sum(float((new - old).detach().square().sum()) for new, old in pairs))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"steps": STEPS, "lr": 0.001},
        {
            "trained": "all",
            "embedding_lr_factor": 1,
            "anchor": 0,
            "perturbation": 0,
            "private_noise": 0,
            "attentions": 1,
        },
    ],
)
def test_neutral_options_give_the_bits_of_a_bare_loop(client: BenignClient, options: dict[str, Any]) -> None:
    context = client.measurement.context
    context = replace(context, matching=replace(context.matching, steps=STEPS, lr=0.001))
    expected = MatchingNetwork(
        copy.deepcopy(client.model.embedding), context.matching.new_attention(client.model.embedding.features)
    )
    training = replace(matching_training(context), purpose="local-matching-episode")
    list(training.train_in_stages(expected, context.holdings, steps=[STEPS], lr=0.001))
    network = Rescue(**options).in_use(client.model, context)
    assert arrays(network) == arrays(expected) != arrays(Rescue().network(client.model, context))


def test_steps_and_rate_go_before_the_settings(client: BenignClient) -> None:
    context = client.measurement.context
    local = Rescue(steps=1, lr=0.5).local_steps(context)
    assert (local.steps, local.lr) == (1, 0.5)
    assert Rescue(steps=1).step_in_use(defense := Rescue(steps=1), context) is None
    assert defense.step_in_use(defense, context) == 1
    assert arrays(Rescue(steps=0).in_use(client.model, context)) == arrays(Rescue().network(client.model, context))


def test_a_frozen_embedding_keeps_its_bits_and_can_be_differentiated_afterwards(client: BenignClient) -> None:
    network = trained(client, Rescue(trained="attention"))
    assert arrays(network.embedding) == arrays(client.model.embedding)
    start = Rescue().network(client.model, client.measurement.context)
    assert all(value != arrays(start)[name] for name, value in arrays(network).items() if "attention" in name)
    assert all(parameter.requires_grad and parameter.grad is None for parameter in network.embedding.parameters())


def test_a_smaller_rate_of_the_embedding_moves_it_less_and_the_attention_as_far(client: BenignClient) -> None:
    plain, slow = (trained(client, Rescue(embedding_lr_factor=factor), steps=1) for factor in (1.0, 0.01))
    assert shift(slow, client.model) == pytest.approx(shift(plain, client.model) / 100, rel=0.02)
    assert arrays(slow.attention) == arrays(plain.attention)


def test_an_anchor_keeps_the_embedding_near_the_global_one_and_leaves_the_first_step_as_it_is(
    client: BenignClient,
) -> None:
    context = client.measurement.context
    context = replace(context, training=replace(context.training, optimizer="sgd"))
    shifts = []
    for mu in (0.0, 1.0, 90.0):
        defense = Rescue(anchor=mu, lr=0.01)
        stages: Any = defense.stages(client.model, context, [1, 8])
        shifts.append({step: shift(network, client.model) for step, network in stages})
    assert shifts[0][1] == shifts[1][1] == shifts[2][1] > 0
    assert shifts[2][8] < shifts[1][8] < shifts[0][8]
    assert shifts[2][8] < 0.5 * shifts[0][8]


def test_a_perturbed_embedding_is_a_mixture_with_weights_that_are_the_clients_own_and_stay(
    client: BenignClient, config: RunConfig, tmp_path: Path
) -> None:
    context, defense = client.measurement.context, Rescue(perturbation=0.25)
    new = context.new_classifier(config.seed, 0).embedding
    network: Any = defense.network(client.model, context)
    mixed = network.embedding
    for found, old, other in zip(
        mixed.parameters(), client.model.embedding.parameters(), new.parameters(), strict=True
    ):
        torch.testing.assert_close(found, 0.75 * old + 0.25 * other)
    assert arrays(defense.network(client.model, context)) == arrays(defense.network(client.model, context))
    others = client_of(config, tmp_path / "other", partition_id=2).measurement.context
    simulated = replace(context, training=replace(context.training, seed=config.seed + 1))
    different = [arrays(defense.network(client.model, one).embedding) for one in (context, others, simulated)]
    assert all(one != other for one, other in itertools.combinations(different, 2))
    both: Any = Rescue(perturbation=0.25, attentions=2).network(client.model, context)
    first, second = both.members
    assert arrays(first.embedding) == arrays(mixed) != arrays(second.embedding)


def test_private_noise_changes_only_the_attention_of_the_answer_and_is_the_clients_own(
    client: BenignClient, config: RunConfig, tmp_path: Path
) -> None:
    defense = Rescue(private_noise=0.5)
    network = trained(client, defense)
    before = arrays(network)
    assert before == arrays(trained(client, Rescue()))
    noisy = predicted(client, defense, network)
    assert arrays(network) == before
    assert not torch.equal(noisy, predicted(client, Rescue(), network))
    assert torch.equal(noisy, predicted(client, defense, network))
    other = client_of(config, tmp_path, 2).measurement.context
    episode = client.measurement.plan.attacked_episode(0)
    (of_other,) = defense.adapt(network, other)(support_of(episode, CPU))
    with torch.no_grad():
        assert not torch.equal(noisy, of_other(query_of(episode, CPU).images))
    assert torch.equal(predicted(client, Rescue(private_noise=1e-12), network), predicted(client, Rescue(), network))


def test_several_attentions_are_trained_apart_and_their_log_probabilities_averaged(client: BenignClient) -> None:
    defense = Rescue(attentions=3)
    network = trained(client, defense)
    members = [arrays(member) for member in network.members]
    assert members[0] == arrays(trained(client, Rescue()))
    assert len({tuple(member.values()) for member in members}) == 3
    expected = torch.stack([predicted(client, Rescue(), member) for member in network.members]).mean(dim=0)
    torch.testing.assert_close(predicted(client, defense, network), expected)
    stages = {step: arrays(found) for step, found in defense.stages(client.model, client.measurement.context, [0, 3])}
    assert stages[3] == arrays(network) != stages[0]
    assert defense.compared(network) is network.members[0]
    noisy = predicted(client, replace(defense, private_noise=0.5), network)
    assert not torch.equal(noisy, predicted(client, defense, network))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"steps": 2.5}, "steps: expected a whole number, 0 or above, found 2.5"),
        ({"lr": 0}, "lr: expected a number above 0, found 0"),
        ({"trained": "head"}, "trained: expected 'all' or 'attention', found 'head'"),
        ({"embedding_lr_factor": "1"}, "embedding_lr_factor: expected a number above 0, found '1'"),
        ({"anchor": float("inf")}, "anchor: expected a number from 0 on, found inf"),
        ({"perturbation": 1}, "perturbation: expected a share below 1, found 1"),
        ({"trained": "attention", "perturbation": 0.5}, "trained: expected 'all' with embedding_lr_factor, anchor or"),
        ({"private_noise": -1}, "private_noise: expected a number from 0 on, found -1"),
        ({"attentions": 0}, "attentions: expected a whole number, 1 or above, found 0"),
        ({"trained": "attention", "anchor": 1}, "trained: expected 'all' with embedding_lr_factor, anchor or"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Rescue(**options)


def test_noise_on_an_attention_without_a_weight_is_refused_before_the_run(run_config: RunConfigs) -> None:
    settings = {**SMALL, "defense": "rescue", "defense_options": '{"private_noise": 0.1}'}
    config = run_config(**settings, attention="examples.custom_attention:Mahalanobis")
    with pytest.raises(RegistryError, match=r"rescue refuses .*: expected an attention with a weight, found Mahala"):
        require_custom_clients(config, scenario_of(config))


def test_variants_differ_in_one_option_and_are_named_by_it() -> None:
    found = variants("anchor", [0.0, 2.0], Rescue(steps=7))
    assert found == {"anchor=0.0": Rescue(steps=7), "anchor=2.0": Rescue(steps=7, anchor=2.0)}


@pytest.mark.parametrize("defense", ["none", "federation"])
def test_local_only_counts_the_same_whatever_the_global_model_is(
    run_config: RunConfigs, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, defense: str
) -> None:
    cache = str(tmp_path_factory.getbasetemp() / "strokes")
    client = client_of(run_config(**SMALL, defense=defense, step_curves="local-only", cache_dir=cache), tmp_path)
    other = copy.deepcopy(client.model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(-2)
    first, second = (client.measurement.along_steps(model, 3)["local_only"] for model in (client.model, other))
    assert first == second
    assert first[0] != first[3]


def test_local_only_starts_from_weights_of_its_own_and_trains_as_the_rescue_does(
    client: BenignClient, config: RunConfig, tmp_path: Path
) -> None:
    context = client.measurement.context
    start = LocalOnly().embedding(client.model, context)
    other = LocalOnly().embedding(client.model, client_of(config, tmp_path, 2).measurement.context)
    assert arrays(start) == arrays(LocalOnly().embedding(client.model, context))
    first_weights = [next(network.parameters()) for network in (start, other, client.model.embedding)]
    assert not any(torch.equal(first, second) for first, second in itertools.combinations(first_weights, 2))
    started_there = copy.deepcopy(client.model)
    started_there.embedding.load_state_dict(start.state_dict())
    assert arrays(trained(client, LocalOnly())) == arrays(trained(client, Rescue(), started_there))
