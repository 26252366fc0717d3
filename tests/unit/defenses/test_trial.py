"""Custom defenses that would spoil a run are refused before it."""

from pathlib import Path
from typing import Any

import pytest
from torch import nn
from unit.small_federation import SMALL, RunConfigs, scenario_of

from examples.custom_defense import ClassMeans
from fedmeta_flwr.apps.assembly import require_custom_clients
from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.defenses import LocalContext, LocalSteps, StepCurve
from fedmeta_flwr.learning.evaluation import Adapt

HERE = "unit.defenses.test_trial"


class Nameless(ClassMeans):
    label = ""


class Silent(ClassMeans):
    def shared_part(self, model: Any) -> nn.Module:
        return nn.Flatten()


class Secretive(ClassMeans):
    private = "a secret"


class Narrow(ClassMeans):
    def adapt(self, network: Any, context: LocalContext) -> Adapt:
        return lambda support: [lambda images: images.new_zeros(len(images), 2)]


class Staged(ClassMeans):
    def adapt(self, network: Any, context: LocalContext) -> Adapt:
        return lambda support: [*super(Staged, self).adapt(network, context)(support)] * 2


class Unstepped(ClassMeans):
    def local_steps(self, context: LocalContext) -> None:  # type: ignore[override]
        return None


class Raising(ClassMeans):
    def local_steps(self, context: LocalContext) -> LocalSteps:
        raise KeyError("steps")


class Endless(ClassMeans):
    def local_steps(self, context: LocalContext) -> LocalSteps:
        return LocalSteps(context.training, "many", 0.1)  # type: ignore[arg-type]


class Unadapted(ClassMeans):
    curve = StepCurve("class-means", "class means", "steps of an episode", is_of_episode=True)


class Optional(ClassMeans):
    def adapt(self, network: Any, context: LocalContext) -> Adapt:
        if self.steps > 2:
            raise KeyError(self.steps)
        return super().adapt(network, context)


class Greedy(ClassMeans):
    def classes_needed(self, *, matching_way: int, is_adversary: bool = False) -> int:
        return 99


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("Nameless", "to have a label, its name in results, found none"),
        ("Silent", "to exchange at least one array, found none"),
        ("Secretive", "found private = 'a secret' and a private part of NoneType"),
        ("Narrow", r"to predict shape \(25, 5\), found \(25, 2\)"),
        ("Staged", "to adapt to a sequence of length 1, found 2"),
        ("Unstepped", "found ValueError: class means: expected a defense with local steps, found one without"),
        ("Raising", "to pass its trial before the run, found KeyError: 'steps'"),
        ("Endless", "to take 0 or more local steps, found 'many'"),
        ("Unadapted", "expected a method adapt_in_stages for a curve of an episode, found none"),
    ],
)
def test_a_mistake_is_reported_before_the_run(
    run_config: RunConfigs, tmp_path_factory: pytest.TempPathFactory, name: str, problem: str
) -> None:
    cache: Path = tmp_path_factory.getbasetemp() / "strokes"
    config = run_config(**SMALL, defense=f"{HERE}:{name}", step_curves="class-means", cache_dir=str(cache))
    with pytest.raises(RegistryError, match=problem):
        require_custom_clients(config, scenario_of(config))


def test_a_failure_with_options_is_reported_with_them(
    run_config: RunConfigs, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache: Path = tmp_path_factory.getbasetemp() / "strokes"
    settings = {"defense": f"{HERE}:Optional", "cache_dir": str(cache)}
    config = run_config(**SMALL, **settings, defense_options='{"steps": 2}')
    require_custom_clients(config, scenario_of(config))
    config = run_config(**SMALL, **settings, defense_options='{"steps": 3}')
    with pytest.raises(RegistryError, match=r"defense-options: .*:Optional refuses {'steps': 3}: KeyError: 3"):
        require_custom_clients(config, scenario_of(config))


def test_more_classes_than_a_client_holds_are_reported_before_the_run(
    run_config: RunConfigs, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache: Path = tmp_path_factory.getbasetemp() / "strokes"
    config = run_config(**SMALL, defense=f"{HERE}:Greedy", cache_dir=str(cache))
    with pytest.raises(ValueError, match="defense: expected clients with at least 99 classes, found client 0 with 10"):
        scenario_of(config)
