"""The configuration reference: the fields of `RunConfig`, the defaults in pyproject.toml, and the named files."""

import dataclasses
import json
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from experiments.settings import CONFIGS_DIR, read_defaults
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config import sections as declared
from fedmeta_flwr.config.setting import key_of

_HEADINGS = {"ClassSplit": "Class split", "Episode": "Episodes", "MetaLearning": "Meta-learning"}
_TYPES = {bool: "true or false", int: "whole number", float: "number", str: "text"}
_INTRODUCTION = """# Configuration reference

Every setting of a run, generated from [fedmeta_flwr/config/sections](../fedmeta_flwr/config/sections/__init__.py) and
the defaults in `[tool.flwr.app.config]` of [pyproject.toml](../pyproject.toml). Change a setting on the command
line (`-c KEY=VALUE`) or in a TOML file. `-c` overrides the file, and the file overrides the defaults. All problems of a
configuration are reported at once, before anything starts.

*Free* settings change no result: a run may be resumed with other values of them. For each setting that names an
object, another one gives its options as [a JSON object](extending.md#options).
"""


def keys() -> frozenset[str]:
    """Return the names of all settings."""
    return frozenset(key_of(field) for field in dataclasses.fields(RunConfig))


def sections() -> dict[str, str]:
    """Return the heading for each field of `RunConfig`, after the class that declares it."""
    classes = {name.removesuffix("Settings"): getattr(declared, name) for name in declared.__all__}
    return {
        field.name: _HEADINGS.get(name, name)
        for name, section in classes.items()
        for field in dataclasses.fields(section)
    }


def text(root: Path) -> str:
    """Return the page; `root` is the folder with pyproject.toml."""
    defaults, section_of = read_defaults(root), sections()
    parts = [_INTRODUCTION]
    for section, fields in groupby(dataclasses.fields(RunConfig), lambda field: section_of[field.name]):
        parts.append(f"## {section}\n\n| setting | default | admits | meaning |\n| --- | --- | --- | --- |")
        parts[-1] += "".join(f"\n{_row(field, defaults)}" for field in fields) + "\n"
    return "\n".join([*parts, _named_configurations()])


def _row(field: "dataclasses.Field[Any]", defaults: Mapping[str, Any]) -> str:
    key = key_of(field)
    meaning = field.metadata["description"].replace("|", "\\|") + (" *Free.*" if field.metadata["is_free"] else "")
    return f"| [`{key}`](#{key}){{ #{key} }} | `{json.dumps(defaults[key])}` | {_admitted(field)} | {meaning} |"


def _admitted(field: "dataclasses.Field[Any]") -> str:
    path = ", the path of an image file" if field.metadata["admits_path"] else ""
    custom = ", or a custom one as `module:attribute`" if field.metadata["kind"] else ""
    return _built_in(field) + path + custom


def _built_in(field: "dataclasses.Field[Any]") -> str:
    limits: Mapping[str, Any] = field.metadata
    if limits["choices"]:
        return ", ".join(f"`{choice}`" for choice in limits["choices"])
    if limits["whole_numbers"]:
        return "ascending whole numbers"
    if limits["json_object"]:
        return "a JSON object"
    bounds = {"minimum": "at least", "above": "more than", "maximum": "at most"}
    words = [f"{bound} {limits[name]}" for name, bound in bounds.items() if limits[name] is not None]
    return ", ".join([_TYPES[field.type], *words])  # type: ignore[index]  # a class: annotations are not deferred


def _named_configurations() -> str:
    parts = [
        "## Named configurations\n\nThe settings with which `run NAME` overrides the defaults "
        "(`experiments/configs`). `reproduce` applies the data set's file, then the profile's, then the settings of "
        "the run in the catalog.\n"
    ]
    for file in [*sorted(CONFIGS_DIR.glob("*.toml")), *sorted(CONFIGS_DIR.glob("*/*.toml"))]:
        name = file.relative_to(CONFIGS_DIR).with_suffix("")
        parts.append(f"### {name}\n\n```toml\n{file.read_text(encoding='utf-8').strip()}\n```\n")
    return "\n".join(parts)
