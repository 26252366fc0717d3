from collections.abc import Callable
from pathlib import Path

import pytest

from fedmeta_flwr.apps.scenario import load_scenario
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.data.split import SplitError


def test_a_scenario_fits_its_configuration(run_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    scenario = load_scenario(run_config(cache_dir=str(tmp_path), strokes_classes=60, image_size=16))
    assert scenario.dataset.images.shape == (60, 20, 1, 16, 16)
    assert scenario.key.pattern.shape == (1, 16, 16)
    assert len(scenario.split.clients) == 4
    assert len(scenario.split.meta_test) == 15


def test_too_few_attack_images_for_a_poisoned_episode_are_refused(run_config: Callable[..., RunConfig]) -> None:
    with pytest.raises(SplitError, match=r"at least 10 attack training images .* found 8"):
        load_scenario(run_config(poison_fraction=1.0, backdoor_classes=4, attack_training_instances=2))


@pytest.mark.parametrize(
    "settings", [{"poison_support_episodes": 0.0}, {"attack_round": 0}, {"poisoning": "unit.custom_objects:flat_key"}]
)
def test_no_more_attack_images_are_asked_for_than_the_attack_needs(
    run_config: Callable[..., RunConfig], tmp_path: Path, settings: dict[str, float | int | str]
) -> None:
    few: dict[str, str | int] = {"backdoor_classes": 1, "strokes_classes": 60, "image_size": 16}
    with pytest.raises(SplitError, match=r"at least 6 attack training images .* found 5"):
        load_scenario(run_config(cache_dir=str(tmp_path), **few))
    scenario = load_scenario(run_config(cache_dir=str(tmp_path), **few, **settings))
    assert sum(map(len, scenario.split.attack_training.values())) == 5


def test_each_adversary_needs_enough_images_where_they_are_divided(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    small: dict[str, str | int] = {"cache_dir": str(tmp_path), "strokes_classes": 80, "image_size": 16}
    four: dict[str, str | int] = {"num_clients": 7, "num_adversaries": 4, "quorum": 3}
    with pytest.raises(SplitError, match=r"at least 6 attack .*, found 5 \(.* / num-adversaries\)"):
        load_scenario(run_config(**small, **four, attack_images="divided"))
    assert load_scenario(run_config(**small, **four)).roles.benign == (4, 5, 6)
    three = load_scenario(run_config(**small, num_clients=7, num_adversaries=3, quorum=3, attack_images="divided"))
    parts = [three.split.attack_images(client) for client in three.roles.colluders]
    assert [sum(map(len, part.values())) for part in parts] == [7, 7, 6]


def test_too_few_classes_are_refused_before_anything_is_trained(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    with pytest.raises(SplitError, match="at least 20 meta-training classes"):
        load_scenario(run_config(cache_dir=str(tmp_path), strokes_classes=19, image_size=16))


@pytest.mark.parametrize("settings", [{"defense": "rescue"}, {"defense": "federation"}, {"step_curves": "matching"}])
def test_a_matching_way_beyond_a_clients_classes_is_refused_in_one_line(
    run_config: Callable[..., RunConfig], tmp_path: Path, settings: dict[str, str]
) -> None:
    # 60 classes: 15 for meta-testing, a target, 4 backdoor classes; 40 over 4 clients.
    small: dict[str, str | int] = {"cache_dir": str(tmp_path), "strokes_classes": 60, "image_size": 16}
    with pytest.raises(SplitError) as caught:
        load_scenario(run_config(**small, **settings, matching_way=11))
    matcher = 0 if settings.get("defense") == "federation" else 1
    assert str(caught.value) == (
        f"matching-way: expected at most the number of classes of each client that matches, found 11 and client "
        f"{matcher} with 10 classes"
    )
    assert load_scenario(run_config(**small, **settings, matching_way=10)).dataset.images.shape[0] == 60
    assert load_scenario(run_config(**small, matching_way=11)).dataset.images.shape[0] == 60  # nobody matches
