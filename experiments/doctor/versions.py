"""Compare Python and packages with the requirements in pyproject.toml."""

import io
import platform
from collections.abc import Iterator
from contextlib import redirect_stderr
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from experiments.doctor.finding import Finding
from experiments.settings import read_project

_INSTALL = "run `uv sync` in the checkout, or follow 'Install' in docs/index.md"
_EXTRA = "tools"
_NAMED = ("flwr", "ray", "torch", "learn2learn", "numba", "numpy")


def check_versions(app_dir: Path) -> Iterator[Finding]:
    """Compare the installed versions with the requirements in a project's pyproject.toml.

    Parameters
    ----------
    app_dir : Path
        The project's folder.

    Yields
    ------
    Finding
        One for Python; then one for every wrong package, or a single one if all are right.
    """
    project: dict[str, Any] = read_project(app_dir)["project"]
    yield _check_python(project["requires-python"])
    texts = (*project["dependencies"], *project.get("optional-dependencies", {}).get(_EXTRA, ()))
    required = [found for text in texts for found in _with_extras(Requirement(text))]
    problems = [problem for requirement in required if (problem := _problem(requirement))]
    yield from problems
    if not problems:
        named = ", ".join(f"{one.name} {version(one.name)}" for one in required if one.name in _NAMED)
        yield Finding("packages", "ok", f"{len(required)} as required, {named}" if named else f"{len(required)}")


def check_learn2learn() -> Iterator[Finding]:
    """Import learn2learn, whose compiled parts must fit this Python, and clone a module with it."""
    try:
        with redirect_stderr(io.StringIO()):  # gym, which it imports, prints a warning
            import learn2learn
        from torch.nn import Linear

        learn2learn.clone_module(Linear(1, 1))
    except Exception as error:  # a compiled part of another Python may raise anything
        yield Finding("learn2learn", "wrong", f"does not work: {type(error).__name__}: {error}", _INSTALL)
    else:
        yield Finding("learn2learn", "ok", "imports, and clones a module")


def _check_python(required: str) -> Finding:
    found = platform.python_version()
    if SpecifierSet(required).contains(found, prereleases=True):
        return Finding("Python", "ok", found)
    return Finding("Python", "wrong", f"{found}; expected {required}", "install one, and `uv sync --python VERSION`")


def _with_extras(requirement: Requirement) -> Iterator[Requirement]:
    """Yield a requirement, and those that its extras add."""
    yield requirement
    try:
        brought = [Requirement(text) for text in requires(requirement.name) or ()]
    except PackageNotFoundError:
        return
    for one in brought:
        extras = [extra for extra in requirement.extras if one.marker and one.marker.evaluate({"extra": extra})]
        if extras and one.marker and not one.marker.evaluate({"extra": ""}):
            yield one


def _problem(requirement: Requirement) -> Finding | None:
    name, expected = requirement.name, str(requirement.specifier) or "any version"
    try:
        found = version(name)
    except PackageNotFoundError:
        return Finding(name, "wrong", f"not installed; expected {expected}", _INSTALL)
    if requirement.specifier.contains(found, prereleases=True):
        return None
    return Finding(name, "wrong", f"{found}; expected {expected}", _INSTALL)
