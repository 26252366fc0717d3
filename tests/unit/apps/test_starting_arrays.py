"""What a run starts from: new weights, or those of a file."""

from pathlib import Path

import numpy as np
import pytest
from unit.small_federation import SMALL, RunConfigs, bits, scenario_of

from fedmeta_flwr.apps.preflight import starting_point
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.checkpoint import CheckpointError, save_checkpoint

ROUND_2 = {"server-round": "2"}


@pytest.fixture
def configured(run_config: RunConfigs, tmp_path_factory: pytest.TempPathFactory) -> RunConfigs:
    cache = str(tmp_path_factory.getbasetemp() / "strokes")
    return lambda **changes: run_config(**{**SMALL, "cache_dir": cache, **changes})


def starting(config: RunConfig) -> dict[str, np.ndarray]:
    return starting_point(config, scenario_of(config))[0]


def test_a_defended_federation_starts_from_the_embedding_of_an_undefended_one_and_has_no_head(
    configured: RunConfigs,
) -> None:
    undefended, defended = starting(configured()), starting(configured(defense="federation"))
    assert bits(starting(configured(defense="rescue"))) == bits(undefended)
    assert {f"embedding.{name}": array for name, array in bits(defended).items()} == {
        name: array for name, array in bits(undefended).items() if not name.startswith("head.")
    }
    assert {name for name in undefended if name.startswith("head.")} == {"head.weight", "head.bias"}


@pytest.mark.parametrize("defense", ["none", "rescue", "federation"])
def test_a_run_resumes_from_the_arrays_and_the_round_of_its_file(
    configured: RunConfigs, tmp_path: Path, defense: str
) -> None:
    config = configured(defense=defense, initial_model=str(tmp_path / "model.safetensors"))
    new = starting(configured(defense=defense))
    save_checkpoint(tmp_path / "model.safetensors", {name: a + np.float32(0.5) for name, a in new.items()}, ROUND_2)
    found, first_round = starting_point(config, scenario_of(config))
    assert first_round == 3
    assert list(found) == list(new)
    assert bits(found) == {name: (array + np.float32(0.5)).tobytes() for name, array in new.items()}


def test_a_new_run_begins_with_round_1(configured: RunConfigs) -> None:
    config = configured()
    assert starting_point(config, scenario_of(config))[1] == 1


def test_a_file_of_another_architecture_is_refused_by_name(configured: RunConfigs, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    with pytest.raises(CheckpointError, match=str(path)):
        starting(configured(initial_model=str(path)))
    save_checkpoint(path, starting(configured(defense="federation")), ROUND_2)
    with pytest.raises(CheckpointError, match=f"{path}: expected the 14 arrays of this architecture"):
        starting(configured(initial_model=str(path)))
    save_checkpoint(path, starting(configured(filters=4)), ROUND_2)
    with pytest.raises(CheckpointError, match=f"{path}: array .*: expected float32 of shape"):
        starting(configured(initial_model=str(path)))


@pytest.mark.parametrize("metadata", [{}, {"server-round": "6"}, {"server-round": "7"}, {"server-round": "x"}])
def test_a_file_of_no_round_before_the_last_is_refused(
    configured: RunConfigs, tmp_path: Path, metadata: dict[str, str]
) -> None:
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, starting(configured()), metadata)
    with pytest.raises(CheckpointError, match=r"before num-server-rounds = 6, found round (6|7|x|unknown)"):
        starting(configured(initial_model=str(path)))
