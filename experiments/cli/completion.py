"""Completions for the shell: names of configurations and experiments, settings and their values."""

import dataclasses
from collections.abc import Iterator

from experiments.audit.attacks import VARIANTS
from experiments.catalog import EXPERIMENTS
from experiments.settings import CONFIGS_DIR
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.config.setting import key_of

Offer = tuple[str, str]
"""A word and its meaning, which zsh, fish and PowerShell show."""


def complete_config(incomplete: str) -> list[str]:
    """Return the names of configurations; if none matches, the shell offers files."""
    return sorted(path.stem for path in CONFIGS_DIR.glob("*.toml") if path.stem.startswith(incomplete))


def complete_experiment(incomplete: str) -> list[Offer]:
    """Return the names of experiments."""
    return [(name, one.text) for name, one in EXPERIMENTS.items() if name.startswith(incomplete)]


def complete_attack(incomplete: str) -> list[Offer]:
    """Return the names of the attacks of an audit."""
    return [(name, one.text) for name, one in VARIANTS.items() if name.startswith(incomplete)]


def complete_setting(incomplete: str) -> list[Offer]:
    """Return matching keys as ``key=``; after the ``=``, the values of a setting with a fixed choice."""
    return [offer for offer in _settings("=" in incomplete) if offer[0].startswith(incomplete)]


def _settings(with_values: bool) -> Iterator[Offer]:
    for field in dataclasses.fields(RunConfig):
        values = field.metadata["choices"] or (("true", "false") if field.type is bool else ())
        for value in values if with_values else ("",):
            yield f"{key_of(field)}={value}", field.metadata["description"]
