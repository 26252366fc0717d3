"""A run for Ray actors, as one process hands it to another."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class RayJob:
    """A run to carry out.

    Attributes
    ----------
    app_dir : str
        Folder of the Flower App.
    settings : mapping
        A complete run config.
    run_id : int
        The id of the run.
    nodes : int
        Number of clients.
    actors, gpus : int
        Processes that play them, and GPUs that these share, of a local Ray.
    gpus_per_actor : float
        Share of a GPU for each actor.
    first_actors : int
        How many actors start at once.
    is_local : bool
        Whether to start a local Ray; otherwise the one at ``RAY_ADDRESS`` has an actor for each of its cores.
    """

    app_dir: str
    settings: Mapping[str, Any]
    run_id: int
    nodes: int
    actors: int
    gpus: int
    gpus_per_actor: float
    first_actors: int
    is_local: bool

    def write(self, file: Path) -> None:
        """Write the job to a file."""
        file.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, file: Path) -> "RayJob":
        """Return the job of a file."""
        return cls(**json.loads(file.read_text(encoding="utf-8")))
