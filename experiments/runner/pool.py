"""Where jobs run side by side: Ray tasks, each a whole run in one process with one thread."""

import socket
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from experiments.runner.interruption import uninterrupted
from experiments.runner.ray_session import ray_session
from experiments.runner.simulation import SimulationSize, actor_environment
from fedmeta_flwr.records import read_failure, remove_failure, remove_progress

_LOOK_SECONDS = 0.05
_RUN_ID = 1

Settings = Mapping[str, bool | int | float | str]


class Pool(Protocol):
    """Runs a limited number of jobs at once; a job is known by the folder of its results."""

    @property
    def slots(self) -> int:
        """How many jobs can run at once."""

    def start(self, settings: Settings, git_revision: str) -> None:
        """Start a job."""

    def ended(self, seconds: float) -> dict[str, str | None]:
        """Wait for a job to end, for at most `seconds`; return folder to the reason of its failure, None for none."""


@contextmanager
def ray_pool(size: SimulationSize, jobs: int | None, *, root: Path, app_dir: Path) -> Iterator[Pool]:
    """Yield a pool of Ray tasks; at the end of the block, its jobs end, which can be resumed.

    Parameters
    ----------
    size : SimulationSize
        The resources; an actor stands for a job.
    jobs : int or None
        Jobs at once on a cluster; None: one for each of its cores.
    root : Path
        The results root, which all machines must see.
    app_dir : Path
        Folder of the app, at the same place on all machines.
    """
    with ray_session(size), _marked(root) as mark:
        import ray

        slots = size.actors or jobs or max(1, int(ray.cluster_resources().get("CPU", 1)))  # type: ignore[no-untyped-call]
        yield _RayPool(slots, size.gpus_per_actor, app_dir.absolute(), mark)


class _RayPool:
    def __init__(self, slots: int, gpu_share: float, app_dir: Path, mark: Path) -> None:
        self.slots = slots
        self._gpu_share = gpu_share
        self._app_dir, self._mark = str(app_dir), str(mark)
        self._folders: dict[Any, str] = {}

    def start(self, settings: Settings, git_revision: str) -> None:
        """Start a task; a process that has imported the app serves later ones as long as the revision is the same."""
        import ray

        environment = {**actor_environment(), "FEDMETA_GIT_REVISION": git_revision}
        task = ray.remote(_task(self._app_dir)).options(
            num_cpus=1, num_gpus=self._gpu_share, max_retries=0, runtime_env={"env_vars": environment}
        )
        with uninterrupted():
            self._folders[task.remote(dict(settings), self._mark)] = str(settings["results-dir"])

    def ended(self, seconds: float) -> dict[str, str | None]:
        import ray

        for look in range(max(1, round(seconds / _LOOK_SECONDS))):
            time.sleep(_LOOK_SECONDS if look else 0)
            with uninterrupted():  # Ray does not pass exceptions of signal handlers on
                done, _ = ray.wait(list(self._folders), num_returns=len(self._folders), timeout=0)
                if done:
                    return {self._folders.pop(reference): _outcome(reference) for reference in done}
        return {}


def _outcome(reference: Any) -> str | None:
    """Return why a task failed, None if it did not."""
    import ray

    try:
        reason: str | None = ray.get(reference)
    except ray.exceptions.RayError as error:  # its process died, or could not start
        return f"its process died, or could not start: {error}"
    return reason


def _task(app_dir: str) -> Callable[[dict[str, Any], str], str | None]:
    """Return the function of a task, which imports the app from its folder, and not from Ray's current one."""

    def execute(settings: dict[str, Any], mark: str) -> str | None:
        import sys

        if app_dir not in sys.path[:1]:
            sys.path.insert(0, app_dir)
        from experiments.runner.pool import run_marked

        return run_marked(settings, mark)

    return execute


def run_marked(settings: dict[str, Any], mark: str) -> str | None:
    """Run a job in this process; return why it failed, None if it completed."""
    if not Path(mark).is_file():
        where = f"{socket.gethostname()} does not see {Path(mark).parent}"
        return f"results-dir: expected a folder that all machines of the Ray cluster share, found that {where}"
    from experiments.engines.inline import run_inline

    folder = Path(str(settings["results-dir"]))
    remove_failure(folder)
    try:
        run_inline(settings, _RUN_ID)
    except Exception as error:
        failure = read_failure(folder, _RUN_ID)
        return "\n".join([failure.message, *failure.traceback]) if failure else f"{type(error).__name__}: {error}"
    finally:
        remove_progress(folder)
        remove_failure(folder)
    return None


@contextmanager
def _marked(root: Path) -> Iterator[Path]:
    """Put an empty file into the results root for the block, by which another machine recognises the folder."""
    mark = root / f".sweep-{uuid.uuid4().hex}"
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)
