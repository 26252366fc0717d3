import codecs
import os
from pathlib import Path
from typing import Any

import pytest

from experiments.settings import (
    APP_DIR,
    CONFIGS_DIR,
    SettingsError,
    find_config,
    load_config,
    parse_override,
    read_defaults,
    read_settings,
)
from fedmeta_flwr.config import ConfigError
from fedmeta_flwr.config.registry import names


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 1\nway = 3\nshot = 2\n", encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("override", "value"),
    [
        ("k=3", 3),
        ("k=0.5", 0.5),
        ("k=1e-4", 1e-4),
        ("k=true", True),
        ('k="3"', "3"),
        ("k=maml", "maml"),
        ("k=", ""),
        ("k=a b=c", "a b=c"),
        ("k=it's", "it's"),
        ('k={"beta": 0.1}', '{"beta": 0.1}'),
        ("k=1\nseed = 2", "1\nseed = 2"),
    ],
)
def test_an_override_is_a_toml_literal_or_a_plain_text(override: str, value: Any) -> None:
    assert parse_override(override) == ("k", value)
    assert type(parse_override(override)[1]) is type(value)


@pytest.mark.parametrize("override", ["seed", "=3", " =3", ""])
def test_an_override_without_key_and_equals_sign_is_refused(override: str) -> None:
    with pytest.raises(SettingsError, match="expected key=value, found"):
        parse_override(override)


def test_the_command_line_overrides_the_file_and_the_file_the_defaults(config_file: Path) -> None:
    config = load_config(str(config_file), ["way=7", "shot=4", "shot=9"], app_dir=APP_DIR)
    defaults = read_defaults(APP_DIR)
    assert (config.seed, config.way, config.shot) == (1, 7, 9)
    assert config.query_shot == defaults["query-shot"]


def test_folders_of_the_command_line_override_all(config_file: Path, tmp_path: Path) -> None:
    folders = {"data-dir": tmp_path / "given", "results-dir": None}
    overrides = ["data-dir=other", f"results-dir={tmp_path / 'kept'}"]
    config = load_config(str(config_file), overrides, folders=folders, app_dir=APP_DIR)
    assert (config.data_dir, config.results_dir) == (str(tmp_path / "given"), str(tmp_path / "kept"))


def test_relative_paths_are_made_absolute_and_empty_ones_stay_empty(
    config_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "key.png").touch()
    overrides = ["data-dir=data", "results-dir=out", "backdoor-key=key.png", "cache-dir="]
    config = load_config(str(config_file), overrides, app_dir=APP_DIR)
    assert config.data_dir == str(tmp_path / "data")
    assert config.results_dir == str(tmp_path / "out")
    assert config.backdoor_key == str(tmp_path / "key.png")
    assert config.cache_dir == ""


@pytest.mark.parametrize("name", names("backdoor-key"))
def test_a_built_in_backdoor_key_is_no_path(name: str, config_file: Path) -> None:
    assert load_config(str(config_file), [f"backdoor-key={name}"], app_dir=APP_DIR).backdoor_key == name


def test_a_missing_backdoor_key_is_named(config_file: Path) -> None:
    with pytest.raises(
        ConfigError,
        match=r"backdoor-key: expected one of dots, dots-inverted, patch, an image file, .*, found no file .*/k\.png",
    ):
        load_config(str(config_file), ["backdoor-key=k.png"], app_dir=APP_DIR)


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS_DIR.glob("*.toml")))
def test_every_named_configuration_is_valid(name: str) -> None:
    load_config(name, app_dir=APP_DIR)


def test_a_name_means_the_file_in_the_configs_unless_there_is_such_a_file_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("quickstart") == find_config("quickstart.toml") == CONFIGS_DIR / "quickstart.toml"
    (tmp_path / "quickstart.toml").touch()
    assert find_config("quickstart.toml") == Path("quickstart.toml")


def test_an_unknown_configuration_is_refused_with_the_names_that_exist() -> None:
    with pytest.raises(SettingsError, match=r"omniglot-case-a, quickstart.*, found 'quickstrat'"):
        find_config("quickstrat")


@pytest.mark.parametrize(
    ("text", "message"), [("seed = ", "expected TOML"), ("[seed]\na = 1", r"found the table \[seed\]")]
)
def test_a_file_that_is_not_flat_toml_is_refused(config_file: Path, text: str, message: str) -> None:
    config_file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=message):
        load_config(str(config_file), app_dir=APP_DIR)


@pytest.mark.parametrize("mark", [b"", codecs.BOM_UTF8])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_file_is_read_as_editors_on_windows_write_it(mark: bytes, end: bytes, config_file: Path) -> None:
    config_file.write_bytes(mark + "seed = 7  # größer".encode() + end + b"way = 3" + end)
    assert read_settings(config_file) == {"seed": 7, "way": 3}


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-16", "found UTF-16; save it as UTF-8"),
        ("utf-32", "found UTF-32; save it as UTF-8"),
        ("utf-16-le", "found bytes of 0, as in UTF-16; save it as UTF-8"),
        ("latin-1", "found byte 0xf6 in line 2; save it as UTF-8"),
    ],
)
def test_a_file_in_another_encoding_is_refused_by_its_name(encoding: str, found: str, config_file: Path) -> None:
    text = "seed = 7\n# " + ("gr\u00f6\u00dfer" if encoding == "latin-1" else "larger")
    config_file.write_bytes(text.encode(encoding))
    with pytest.raises(SettingsError) as caught:
        read_settings(config_file)
    assert str(caught.value) == f"{config_file}: expected text in UTF-8, {found}"


def test_every_table_of_a_file_is_reported(config_file: Path) -> None:
    config_file.write_text("[seed]\n[way]\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"found the tables \[seed\], \[way\]"):
        read_settings(config_file)


def test_all_malformed_overrides_are_reported_at_once(config_file: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load_config(str(config_file), ["way", "shot=3", "=4"], app_dir=APP_DIR)
    assert str(caught.value).splitlines() == [f"-c: expected key=value, found {text!r}" for text in ("way", "=4")]


def test_a_missing_key_is_reported_with_all_other_problems(config_file: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(str(config_file), ["backdoor-key=k.png", "way=1", "quorum=9"], app_dir=APP_DIR)
    assert [problem.partition(":")[0] for problem in caught.value.problems] == ["way", "quorum", "backdoor-key"]


@pytest.mark.parametrize("key", ["data-dir", "cache-dir", "results-dir", "initial-model", "backdoor-key"])
def test_a_path_whose_bytes_are_no_text_is_refused_by_its_key(key: str, config_file: Path) -> None:
    path = os.fsdecode(b"/nowhere/caf\xe9")
    with pytest.raises(ConfigError) as caught:
        load_config(str(config_file), [f"{key}={path}"], app_dir=APP_DIR)
    expected = f"{key}: expected a text that UTF-8 can hold, without NUL, found {path!r}"
    assert caught.value.problems == (expected,)
    str(caught.value).encode()


def test_a_folder_without_an_app_is_refused(config_file: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"pyproject\.toml: expected the file with all defaults, .* a checkout"):
        load_config(str(config_file), app_dir=tmp_path)
    (tmp_path / "pyproject.toml").write_text("[tool.flwr.app]\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"expected a table \[tool\.flwr\.app\.config\]"):
        load_config(str(config_file), app_dir=tmp_path)
