"""What ``python -m experiments`` runs: the command line of `experiments.cli.commands`."""

import sys
from pathlib import Path

if __name__ == "__main__":  # Python looks into the current folder first, which may have another `clients`
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from experiments.cli.commands import app

if __name__ == "__main__":
    app(prog_name="python -m experiments")
