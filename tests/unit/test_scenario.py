from collections.abc import Callable
from pathlib import Path

import pytest

from fedmeta_flwr.class_split import SplitError
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.scenario import load_scenario


def test_a_scenario_fits_its_configuration(run_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    scenario = load_scenario(run_config(cache_dir=str(tmp_path), strokes_classes=60, image_size=16))
    assert scenario.dataset.images.shape == (60, 20, 1, 16, 16)
    assert scenario.key.pattern.shape == (1, 16, 16)
    assert len(scenario.split.clients) == 4
    assert len(scenario.split.meta_test) == 15


def test_too_few_attack_images_for_a_poisoned_episode_are_refused(run_config: Callable[..., RunConfig]) -> None:
    with pytest.raises(SplitError, match=r"at least 10 attack training images .* found 8"):
        load_scenario(run_config(poison_fraction=1.0, backdoor_classes=4, attack_training_instances=2))


def test_too_few_classes_are_refused_before_anything_is_trained(
    run_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    with pytest.raises(SplitError, match="at least 20 meta-training classes"):
        load_scenario(run_config(cache_dir=str(tmp_path), strokes_classes=19, image_size=16))
