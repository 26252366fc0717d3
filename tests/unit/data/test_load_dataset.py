from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.data import default_cache_dir, load_dataset, load_omniglot, load_strokes, loading

SETTINGS: dict[str, Any] = {
    "data_dir": None,
    "image_size": 14,
    "strokes_classes": 3,
    "strokes_instances": 2,
    "strokes_seed": 5,
}


def test_strokes_are_loaded_by_name_with_their_settings(tmp_path: Path) -> None:
    found = load_dataset("strokes", cache_dir=tmp_path, **SETTINGS)
    assert found.fingerprint == load_strokes(3, 2, 14, 5, tmp_path).fingerprint


def test_omniglot_is_loaded_by_name_from_the_data_folder(
    tmp_path: Path, official_files: dict[str, dict[str, bytes]], write_zips: Callable[..., Path]
) -> None:
    data_dir = write_zips(official_files)
    found = load_dataset("omniglot", cache_dir=tmp_path / "cache", **SETTINGS | {"data_dir": data_dir})
    assert found.fingerprint == load_omniglot(data_dir, tmp_path / "cache", 14).fingerprint


def test_without_a_cache_folder_the_users_folder_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "default_cache_dir", lambda: tmp_path / "users")
    load_dataset("strokes", cache_dir=None, **SETTINGS)
    assert len(list((tmp_path / "users").iterdir())) == 1


def test_the_default_cache_folder_is_named_after_the_project() -> None:
    assert "fedmeta_flwr" in default_cache_dir().parts


def test_an_unknown_name_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(
        RegistryError, match=r"dataset: expected one of strokes, omniglot, .*, or 'module:attribute', found 'mnist'"
    ):
        load_dataset("mnist", cache_dir=tmp_path, **SETTINGS)
    assert list(tmp_path.iterdir()) == []
