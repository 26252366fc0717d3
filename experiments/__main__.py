"""Entry point of ``python -m experiments`` and ``fedmeta``: the command line of `experiments.cli.commands`."""

import sys
from pathlib import Path

_PROJECT = ("fedmeta_flwr", "clients", "strategies", "experiments")

if __name__ == "__main__":  # Python looks into the current folder first, which may have another `clients`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))


def main(prog_name: str | None = None) -> None:
    """Run the command in the arguments; exits with 1 and a one-line message if a package is not installed."""
    try:
        from experiments.cli.commands import app

        app(prog_name=prog_name)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in _PROJECT:
            raise
        sys.exit(
            f"Error: expected the package {package}, found none: install the extra 'tools', with `uv sync` or "
            "`pip install -r requirements-pip.txt` in the checkout"
        )


if __name__ == "__main__":
    main("python -m experiments")
