"""Named configurations: defaults, then a TOML file, then the command line, merged and checked."""

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fedmeta_flwr.config import ConfigError, RunConfig
from fedmeta_flwr.config.registry import expected_names, is_custom, names
from fedmeta_flwr.plain_text import TextError, decoded

APP_DIR = Path(__file__).resolve().parent.parent
"""The checkout: the Flower App that is submitted."""

CONFIGS_DIR = Path(__file__).resolve().parent / "configs"

_KEY = "backdoor-key"


class SettingsError(ValueError):
    """A configuration file or a ``key=value`` cannot be read; the message says which, and what was expected."""


def load_config(
    config: str, overrides: Sequence[str] = (), *, folders: Mapping[str, Path | None] | None = None, app_dir: Path
) -> RunConfig:
    """Merge and check a configuration.

    Parameters
    ----------
    config : str
        A name in ``experiments/configs``, or the path of a TOML file.
    overrides : sequence of str
        ``key=value`` each; later ones override earlier ones; see `parse_override`.
    folders : mapping of str to Path or None
        ``data-dir`` and the like from separate options; they override everything else. None keeps the setting.
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
    return parse_settings(
        read_defaults(app_dir),
        read_settings(find_config(config)),
        parse_overrides(overrides),
        {key: str(folder) for key, folder in (folders or {}).items() if folder is not None},
    )


def merge_settings(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Return all settings, with absolute paths; later layers override earlier ones."""
    return _with_absolute_paths({key: value for layer in layers for key, value in layer.items()})


def parse_settings(*layers: Mapping[str, Any]) -> RunConfig:
    """Merge and check settings.

    Raises
    ------
    ConfigError
        With every problem of the merged settings, including a missing image file of the backdoor key.
    """
    values = merge_settings(*layers)
    missing = _missing_key(values)
    try:
        config = RunConfig.parse(values)
    except ConfigError as error:
        is_told = any(problem.startswith(f"{_KEY}:") for problem in error.problems)
        raise ConfigError([*error.problems, *([] if is_told else missing)]) from None
    if missing:
        raise ConfigError(missing)
    return config


def find_config(config: str) -> Path:
    """Return the file of a configuration, given as a path or as a name in ``experiments/configs``."""
    named = CONFIGS_DIR / f"{config.removesuffix('.toml')}.toml"
    if "/" not in config and named.is_file() and not Path(config).is_file():
        return named
    if Path(config).is_file():
        return Path(config)
    names = ", ".join(sorted(path.stem for path in CONFIGS_DIR.glob("*.toml")))
    raise SettingsError(f"configuration: expected a TOML file or one of {names}, found {config!r}")


def read_project(app_dir: Path) -> dict[str, Any]:
    """Return the content of an app's pyproject.toml."""
    file = app_dir / "pyproject.toml"
    if not file.is_file():
        raise SettingsError(
            f"{file}: expected the file with all defaults, found none. It is in a checkout but not in an installed "
            "package: install from the checkout with `pip install -e .`, or, to run, give its folder with --app"
        )
    return _read_toml(file)


def read_defaults(app_dir: Path) -> dict[str, Any]:
    """Return ``[tool.flwr.app.config]`` of an app's pyproject.toml."""
    file = app_dir / "pyproject.toml"
    values: Any = read_project(app_dir)
    for table in ("tool", "flwr", "app", "config"):
        values = values.get(table) if isinstance(values, dict) else None
    if not isinstance(values, dict):
        raise SettingsError(f"{file}: expected a table [tool.flwr.app.config] with the defaults, found none")
    return values


def read_settings(file: Path) -> dict[str, Any]:
    """Return the flat settings of a configuration file."""
    values = _read_toml(file)
    if tables := [key for key, value in values.items() if isinstance(value, dict)]:
        found = f"the table{'s' * (len(tables) > 1)} {', '.join(f'[{table}]' for table in tables)}"
        raise SettingsError(f"{file}: expected flat settings, found {found}")
    return values


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """Return settings from ``key=value`` each, later ones first in rank; raises `SettingsError` with all others."""
    parsed, problems = {}, []
    for override in overrides:
        try:
            key, value = parse_override(override)
            parsed[key] = value
        except SettingsError as error:
            problems.append(str(error))
    if problems:
        raise SettingsError("\n".join(problems))
    return parsed


def parse_override(override: str) -> tuple[str, Any]:
    """Split ``key=value`` at its first ``=``.

    The value is read as a TOML literal (``3``, ``0.5``, ``true``, ``"text"``), or as plain text if it is none.
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
        return tomllib.loads(decoded(file.read_bytes()))
    except OSError as error:
        raise SettingsError(f"{file}: expected a TOML file, cannot read it: {error.strerror}") from error
    except TextError as error:
        raise SettingsError(f"{file}: {error}") from error
    except ValueError as error:
        raise SettingsError(f"{file}: expected TOML: {error}") from error


def _with_absolute_paths(values: Mapping[str, Any]) -> dict[str, Any]:
    """Make paths absolute, because Flower starts the app in another folder."""
    absolute = dict(values)
    for key in (*RunConfig.paths(), _KEY):
        path = values.get(key)
        if isinstance(path, str) and path and not (key == _KEY and not _is_key_file(path)):
            absolute[key] = str(Path(path).expanduser().absolute())
    return absolute


def _missing_key(values: Mapping[str, Any]) -> list[str]:
    """Return the problem, as a line for `ConfigError`, if the backdoor key is a file that does not exist."""
    name = values.get(_KEY)
    if not isinstance(name, str) or not _is_key_file(name) or Path(name).is_file():
        return []
    return [f"{_KEY}: expected {expected_names(_KEY, 'an image file')}, found no file {name}"]


def _is_key_file(name: str) -> bool:
    return bool(name) and name not in names(_KEY) and not is_custom(name)
