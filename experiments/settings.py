"""Named configurations: defaults, then a TOML file, then the command line, merged and checked."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedmeta_flwr.config import ConfigError, RunConfig

APP_DIR = Path(__file__).resolve().parent.parent
"""The checkout: the Flower App that is submitted."""

CONFIGS_DIR = Path(__file__).resolve().parent / "configs"

_PATHS = ("data-dir", "cache-dir", "results-dir", "client-state-dir", "initial-model")
_KEY = "backdoor-key"


class SettingsError(ValueError):
    """A configuration file or a ``key=value`` that cannot be read; says which, and what was expected."""


def load_config(
    config: str, overrides: Sequence[str] = (), *, folders: Mapping[str, Path | None] | None = None, app_dir: Path
) -> RunConfig:
    """Merge and check a configuration.

    Parameters
    ----------
    config : str
        A name in ``experiments/configs``, or the path of a TOML file.
    overrides : sequence of str
        ``key=value`` each, later ones first in rank; see `parse_override`.
    folders : mapping of str to Path or None
        ``data-dir`` and the like from options of their own; above all else; None leaves the setting.
    app_dir : Path
        Folder with the pyproject.toml that holds the defaults.

    Returns
    -------
    RunConfig
        With absolute paths; relative ones are taken from the current folder.

    Raises
    ------
    SettingsError
        If a file or an override cannot be read.
    ConfigError
        With every problem of the merged settings.
    """
    return RunConfig.parse(
        merge_settings(
            read_defaults(app_dir),
            read_settings(find_config(config)),
            dict(parse_override(override) for override in overrides),
            {key: str(folder) for key, folder in (folders or {}).items() if folder is not None},
        )
    )


def merge_settings(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings, later layers above earlier ones, with absolute paths."""
    return _with_absolute_paths({key: value for layer in layers for key, value in layer.items()})


def find_config(config: str) -> Path:
    """Return the file of a configuration: a path as it is, a bare name from ``experiments/configs``."""
    named = CONFIGS_DIR / f"{config.removesuffix('.toml')}.toml"
    if "/" not in config and named.is_file() and not Path(config).is_file():
        return named
    if Path(config).is_file():
        return Path(config)
    names = ", ".join(sorted(path.stem for path in CONFIGS_DIR.glob("*.toml")))
    raise SettingsError(f"configuration: expected a TOML file or one of {names}, found {config!r}")


def read_defaults(app_dir: Path) -> dict[str, Any]:
    """Return ``[tool.flwr.app.config]`` of an app's pyproject.toml."""
    file = app_dir / "pyproject.toml"
    values: Any = _read_toml(file)
    for table in ("tool", "flwr", "app", "config"):
        values = values.get(table) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        raise SettingsError(f"{file}: expected a table [tool.flwr.app.config] with the defaults, found none")
    return values


def read_settings(file: Path) -> dict[str, Any]:
    """Return the flat settings of a configuration file."""
    values = _read_toml(file)
    if tables := [key for key, value in values.items() if isinstance(value, dict)]:
        raise SettingsError(f"{file}: expected flat settings, found the table [{tables[0]}]")
    return values


def parse_override(override: str) -> tuple[str, Any]:
    """Split ``key=value`` at its first ``=``.

    The value is read as a TOML literal (``3``, ``0.5``, ``true``, ``"text"``), and as plain text where it is none.
    """
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise SettingsError(f"-c: expected key=value, found {override!r}")
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return key.strip(), text
    return key.strip(), parsed["value"] if len(parsed) == 1 else text


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{file}: expected a TOML file, cannot read it: {error.strerror}") from error
    except ValueError as error:
        raise SettingsError(f"{file}: expected TOML: {error}") from error


def _with_absolute_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Flower starts the app in another folder: a relative path would mean another file there."""
    from fedmeta_flwr.backdoor import BUILT_IN_KEYS  # brings PyTorch along, which --help and Tab do without

    absolute = dict(values)
    for key in (*_PATHS, _KEY):
        path = values.get(key)
        if isinstance(path, str) and path and not (key == _KEY and path in BUILT_IN_KEYS):
            absolute[key] = str(Path(path).expanduser().absolute())
    if (key_file := absolute.get(_KEY)) != values.get(_KEY) and not Path(str(key_file)).is_file():
        expected = f"one of {', '.join(BUILT_IN_KEYS)} or an image file"
        raise ConfigError([f"{_KEY}: expected {expected}, found no file {key_file}"])
    return absolute
