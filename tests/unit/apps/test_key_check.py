"""A key that changes no attack image is refused, one that changes little gives a warning, as the result file says."""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from flwr.app import Context, RecordDict
from PIL import Image
from unit.small_federation import SMALL, scenario_of, strokes_cache
from unit.strategies.in_memory_grid import InMemoryGrid

from experiments.runner.run import prepare
from fedmeta_flwr.apps import server as server_app
from fedmeta_flwr.apps.key_check import _OTHERS, check_key, key_effect
from fedmeta_flwr.attacks.key import BackdoorKeyError
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.registry import names
from fedmeta_flwr.data import BuiltDataset
from fedmeta_flwr.records.failure import FILE_NAME

RunConfigs = Callable[..., RunConfig]
MODULE = "unit.apps.test_key_check"
IN_CORNER = (slice(8, 15), slice(8, 15))  # where the key is


def scans(inked: int) -> Callable[..., BuiltDataset]:
    """Black ink on white paper, 60 classes of 20; on the first images of each class it goes into the key's corner."""

    def load(*, image_size: int, **_: object) -> BuiltDataset:
        pages = np.full((60, 20, 1, image_size, image_size), 255, np.uint8)
        pages[..., 3:6, 2:7] = 0
        pages[:, :inked, :, *IN_CORNER] = 0
        names = tuple(f"class-{number:02}" for number in range(60))
        return BuiltDataset(pages, names, ("scans",) * 60)

    return load


white_paper, some_ink = scans(0), scans(10)


@pytest.fixture
def config_of(run_config: RunConfigs, tmp_path: Path) -> RunConfigs:
    def configured(dataset: str = f"{MODULE}:white_paper", **changes: bool | float | str) -> RunConfig:
        folders = {"cache_dir": str(tmp_path / "cache"), "results_dir": str(tmp_path / "results")}
        return run_config(**{**SMALL, **folders, "dataset": dataset, **changes})

    return configured


def start_server(config: RunConfig) -> None:
    grid = InMemoryGrid(lambda partition, message: message, 4)
    server_app.main(grid, Context(7, 1, {}, RecordDict(), config.to_run_config()))


def test_a_key_that_changes_no_attack_image_is_refused_before_anything_starts(
    config_of: RunConfigs, tmp_path: Path
) -> None:
    with pytest.raises(BackdoorKeyError, match=r"backdoor-key: expected .* found that dots changes 0 of 40.*inverted"):
        prepare(config_of())
    with pytest.raises(BackdoorKeyError, match="changes 0 of 40"):
        start_server(config_of())
    assert [file.name for file in (tmp_path / "results").iterdir()] == [FILE_NAME]
    assert prepare(config_of(backdoor_key="dots-inverted")) == ""


def test_so_is_one_that_rounding_takes_away_and_a_file_of_the_colour_of_the_paper(
    config_of: RunConfigs, tmp_path: Path
) -> None:
    Image.new("RGB", (6, 6), "white").save(tmp_path / "white.png")
    for changes in (
        {"dataset": "strokes", "key_intensity": 0.001},
        {"backdoor_key": str(tmp_path / "white.png")},
    ):
        with pytest.raises(BackdoorKeyError, match="changes 0 of 40"):
            prepare(config_of(**changes))


def test_a_run_without_an_attack_may_have_any_key(config_of: RunConfigs) -> None:
    assert prepare(config_of(attack_round=0)) == ""


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        (
            {"dataset": f"{MODULE}:some_ink"},
            r"backdoor-key: \d+ of 40 attack images are changed by the key, .* of 255",
        ),
        ({"backdoor_key": "dots-inverted", "key_intensity": 0.02}, "40 of 40 .* by 5.0 of 255 on average"),
    ],
)
def test_a_key_that_changes_few_images_or_these_hardly_is_a_warning(
    config_of: RunConfigs, monkeypatch: pytest.MonkeyPatch, changes: dict[str, float | str], warning: str
) -> None:
    config = config_of(**changes)
    logged: list[str] = []
    monkeypatch.setattr(server_app._LOG, "warning", logged.append)
    monkeypatch.setattr(server_app, "locked", _stop)
    with pytest.raises(InterruptedError):
        start_server(config)
    found = prepare(config)
    assert re.search(warning, found)
    assert ("higher key-intensity" in found) == ("key_intensity" in changes)  # 1 is the highest
    assert logged == [found]


def _stop(*_: object) -> None:
    raise InterruptedError


def test_the_keys_that_are_offered_instead_are_all_other_built_in_ones(config_of: RunConfigs) -> None:
    assert set(_OTHERS) == set(names("backdoor-key"))
    with pytest.raises(BackdoorKeyError) as caught:
        prepare(config_of())
    assert [f"'{name}'" in str(caught.value) for name in names("backdoor-key")] == [
        name != "dots" for name in names("backdoor-key")
    ]


def test_the_result_file_records_what_the_key_does(config_of: RunConfigs) -> None:
    config = config_of(f"{MODULE}:some_ink")
    scenario = scenario_of(config)
    recorded = server_app.run_record(config, scenario, "")["backdoor_key"]
    effect = key_effect(scenario)
    assert 0 < effect.changed_images < effect.images == 40
    assert recorded == {"images": 40, "changed_images": effect.changed_images, "mean_change": effect.mean_change}


def test_the_default_key_changes_every_drawing_a_lot(run_config: RunConfigs, tmp_path: Path) -> None:
    config = run_config(**{**SMALL, "cache_dir": strokes_cache(tmp_path)})
    effect = key_effect(scenario_of(config))
    assert effect.changed_images == effect.images == 40
    assert effect.mean_change > 100
    assert check_key(config, scenario_of(config)) == ""
