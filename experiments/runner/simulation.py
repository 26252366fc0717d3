"""The resources and environment of a simulation: actors, GPUs, environment variables."""

import math
import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fedmeta_flwr.config import RunConfig

_THREADED = ("OMP", "MKL", "OPENBLAS", "NUMEXPR")
_LOCAL_ONLY = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"
LOCAL_RAY = {
    _LOCAL_ONLY: "0",  # on Linux, too, Ray's servers bind only to 127.0.0.1
    "RAY_USAGE_STATS_ENABLED": "0",
}
"""The environment of a local Ray."""

_SWITCHES = {
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",  # else every run starts with `uv sync`
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_TELEMETRY_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else Ray starts actors by `uv run`, if that started this program
    **LOCAL_RAY,
}
ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(32 * 2**20), "MALLOC_TRIM_THRESHOLD_": str(2**30)}
"""Variables of processes that train: these allocate and free some megabytes at every step.

By default glibc returns them to the system each time and gets them again page by page, which can take a third of the
time. glibc reads the variables when a process starts.
"""

# Variables that could bring other code, another SuperLink or another Ray cluster into the run.
_FOREIGN = ("PYTHONPATH", "PYTHONHOME", "RAY_ADDRESS", "RAY_NAMESPACE", "RAY_RUNTIME_ENV_HOOK")


@dataclass(frozen=True)
class SimulationSize:
    """The number of nodes, and the resources that they share.

    Attributes
    ----------
    nodes : int
        Simulated clients.
    actors : int
        Processes that play them, with one core each.
    gpus : int
        GPUs of the machine; each is shared by the same number of actors.
    ray_address : str or None
        Ray cluster to run on, as ``HOST:PORT``, with an actor for each of its cores; None: a separate local Ray.
    """

    nodes: int
    actors: int
    gpus: int = 0
    ray_address: str | None = None

    @property
    def gpus_per_actor(self) -> float:
        """Return an actor's share of a GPU, such that all actors fit; 0 without GPUs."""
        return 1 / math.ceil(self.actors / self.gpus) if self.gpus else 0.0

    def describe(self) -> str:
        """Return in words the resources of a run."""
        if self.ray_address:
            return f"{self.nodes} clients on the Ray cluster at {self.ray_address}"
        gpus = f", {self.gpus} GPU(s), {self.gpus_per_actor:.2g} of one for each actor" if self.gpus else ""
        return f"{self.nodes} clients on {self.actors} actor(s){gpus}"

    def to_federation_config(self) -> str:
        """Return the size as the value of ``flwr run --federation-config``."""
        settings = {
            "num-supernodes": self.nodes,
            "client-resources-num-cpus": 1,
            "client-resources-num-gpus": self.gpus_per_actor,
        }
        if not self.ray_address:  # a cluster has the resources that it was started with
            settings |= {"init-args-num-cpus": self.actors, "init-args-num-gpus": self.gpus}
        return " ".join(f"{key}={value}" for key, value in settings.items())


def simulation_size(config: RunConfig, actors: int | None, ray_address: str | None = None) -> SimulationSize:
    """Fit a run to this machine.

    Parameters
    ----------
    config : RunConfig
        With the number of clients and the device.
    actors : int or None
        Number of actors, from 1; None: 1.5 per core, but no more than there are clients.
    ray_address : str or None
        As in `SimulationSize`.

    Raises
    ------
    ValueError
        If a GPU is required and there is none, or a number of actors is given for a cluster.
    """
    if ray_address:
        if actors:
            raise ValueError(f"actors: expected none with a Ray cluster, which has one for each core, found {actors}")
        if config.device == "cuda":
            raise ValueError("device: expected cpu or auto with a Ray cluster, whose GPUs are not used, found 'cuda'")
        return SimulationSize(config.num_clients, 0, 0, ray_address)
    gpus = 0 if config.device == "cpu" else _count_gpus()
    if config.device == "cuda" and not gpus:
        raise ValueError("device: expected a GPU for device = 'cuda', found none on this machine")
    return SimulationSize(config.num_clients, actors or default_actors(config.num_clients), gpus)


def actor_environment() -> dict[str, str]:
    """Return the environment in which a process computes as an actor does: one thread, and the allocator's settings."""
    threads = {f"{library}_NUM_THREADS": "1" for library in _THREADED}
    return threads | {name: os.environ.get(name, value) for name, value in ALLOCATOR.items()}


def simulation_environment(folder: Path, git_revision: str, ray_address: str | None = None) -> dict[str, str]:
    """Return the environment of a SuperLink that keeps all files in one folder.

    Flower's home, Ray's session and temporary files go there. The programs of this Python environment come first in the
    path, requests to 127.0.0.1 use no proxy, and each process computes on one thread, because an actor has one core.
    """
    kept = {name: value for name, value in os.environ.items() if name not in _FOREIGN}
    programs = os.pathsep.join([sysconfig.get_path("scripts"), kept.get("PATH", os.defpath)])
    folders = {"FLWR_HOME": str(folder / "home"), "RAY_TMPDIR": str(folder), "TMPDIR": str(folder)}
    own = {"PATH": programs, "FEDMETA_GIT_REVISION": git_revision}
    switches = dict(_SWITCHES)
    if ray_address:  # the cluster has its session folder, and its nodes must reach this process
        del folders["RAY_TMPDIR"], switches[_LOCAL_ONLY]
        own["RAY_ADDRESS"] = ray_address
    return kept | actor_environment() | switches | _without_proxy(kept) | folders | own


def read_git_revision(folder: Path) -> str:
    """Return the commit of a checkout, with ``-dirty`` when it is modified; ``unknown`` outside git."""
    try:
        commit = _git(folder, "rev-parse", "HEAD")
        return f"{commit}-dirty" if _git(folder, "status", "--porcelain", "--", ".") else commit
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _git(folder: Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def _without_proxy(environment: Mapping[str, str]) -> dict[str, str]:
    exceptions = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    listed = ",".join(filter(None, (exceptions, "127.0.0.1", "localhost")))
    return {"no_proxy": listed, "NO_PROXY": listed}


def default_actors(clients: int) -> int:
    """Return about 1.5 actors per core: two cores then do the equal work of three clients in 1.5 turns instead of 2."""
    cores = count_cores()
    return min(cores + (cores + 1) // 2, clients)


def count_cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _count_gpus() -> int:
    import torch  # takes seconds; not for --help

    return torch.cuda.device_count()
