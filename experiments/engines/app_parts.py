"""The two parts of a Flower App, as its pyproject.toml names them."""

import importlib
import tomllib
from pathlib import Path
from typing import Any


def read_components(app_dir: Path) -> dict[str, str]:
    """Return ``serverapp`` and ``clientapp`` of an app's ``[tool.flwr.app.components]``, each ``module:attribute``."""
    project = tomllib.loads((app_dir / "pyproject.toml").read_text(encoding="utf-8"))
    components: dict[str, str] = project["tool"]["flwr"]["app"]["components"]
    return components


def load_part(reference: str) -> Any:
    """Import and return ``module:attribute``."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)
