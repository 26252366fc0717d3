"""The API reference: one page for each package, with all its public modules, which mkdocstrings fills."""

from pathlib import Path

PACKAGES = (
    "fedmeta_flwr",
    "fedmeta_flwr.apps",
    "fedmeta_flwr.attacks",
    "fedmeta_flwr.attacks.layers",
    "fedmeta_flwr.config",
    "fedmeta_flwr.config.sections",
    "fedmeta_flwr.data",
    "fedmeta_flwr.defenses",
    "fedmeta_flwr.defenses.matching",
    "fedmeta_flwr.learning",
    "fedmeta_flwr.learning.kernels",
    "fedmeta_flwr.protocol",
    "fedmeta_flwr.records",
    "clients",
    "strategies",
    "strategies.rules",
    "strategies.transport",
    "experiments",
    "experiments.analysis",
    "experiments.analysis.claims",
    "experiments.analysis.figures",
    "experiments.analysis.report",
    "experiments.audit",
    "experiments.benchmarks",
    "experiments.cli",
    "experiments.doctor",
    "experiments.engines",
    "experiments.runner",
)


def modules(package: str, root: Path) -> list[str]:
    """Return the public modules of a package, without those of its subpackages."""
    files = sorted((root / package.replace(".", "/")).glob("*.py"))
    return [f"{package}.{file.stem}" for file in files if not file.stem.startswith("_")]


def texts(root: Path) -> dict[str, str]:
    """Return the Markdown of the pages, by path in the site."""
    return {_page(package): _text(package, root) for package in PACKAGES}


def pages_of_modules(root: Path) -> dict[str, str]:
    """Return the page that describes each module and package, by path in the repository."""
    found = {}
    for package in PACKAGES:
        found[package.replace(".", "/")] = _page(package)
        found |= {f"{m.replace('.', '/')}.py": f"{_page(package)}#{m}" for m in modules(package, root)}
    return found


def _page(package: str) -> str:
    return f"api/{package}.md"


def _text(package: str, root: Path) -> str:
    head = f"# {package}\n\n::: {package}\n    options:\n      members: false\n      show_root_heading: false\n"
    return "\n".join([head, *(f"::: {module}\n" for module in modules(package, root))])
