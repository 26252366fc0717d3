"""One run on Ray actors, in a separate process: ``python -m experiments.engines.ray_job FILE``.

The first actors load the app while this process starts the server. The others follow when the first are ready, because
a server that waits for a core would delay the first message.
"""

import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import ray
from flwr.app import Context, RecordDict

from experiments.engines.app_parts import load_part, read_components
from experiments.engines.job import RayJob
from experiments.engines.nodes import Nodes
from experiments.engines.ray_actor import ClientAppActor
from experiments.engines.ray_grid import RayGrid
from fedmeta_flwr.protocol.flower_private import SUPERLINK_NODE_ID, as_server_task

_SWITCH_SECONDS = 0.0005  # by default, a thread with a reply waits 5 ms for a busy server


def main(file: Path) -> None:
    """Carry out the job in a file; raises whatever ends the run."""
    job = RayJob.read(file)
    components = read_components(Path(job.app_dir))
    nodes = Nodes(job.nodes, job.run_id, job.settings)
    grid = RayGrid(nodes)
    sys.setswitchinterval(_SWITCH_SECONDS)
    threading.Thread(target=_import, args=(components["serverapp"],), daemon=True).start()
    _connect(job)
    try:
        start = threading.Thread(target=_start_actors, args=(grid, job, components["clientapp"]), daemon=True)
        start.start()
        server_app = load_part(components["serverapp"])
        load_part(components["clientapp"])  # an app that cannot be imported ends the run with its traceback
        with as_server_task(job.run_id):
            server_app(grid, Context(job.run_id, SUPERLINK_NODE_ID, {}, RecordDict(), dict(job.settings)))
    finally:
        ray.shutdown()


def _import(reference: str) -> None:
    """Import an app while Ray starts; `main` imports it again, and reports what is wrong with it."""
    with suppress(Exception):
        load_part(reference)


def _connect(job: RayJob) -> None:
    if job.is_local:
        ray.init(num_cpus=job.actors, num_gpus=job.gpus, include_dashboard=False)
    else:  # its workers have another environment than this process
        ray.init(runtime_env={"env_vars": {"PYTHONPATH": ":".join(sys.path)}})


def _start_actors(grid: RayGrid, job: RayJob, app: str) -> None:
    try:
        _employ_actors(grid, job, app)
    except Exception as error:
        grid.fail(error)  # otherwise the server would wait for the nodes until the registration times out
        raise


def _employ_actors(grid: RayGrid, job: RayJob, app: str) -> None:
    number = job.actors if job.is_local else _cores_of_cluster()
    if number < 1:
        raise RuntimeError("ray-address: expected a cluster with CPUs, found none")
    nodes = grid.nodes
    actor: Any = ray.remote(num_cpus=1, num_gpus=job.gpus_per_actor)(ClientAppActor)
    told = (app, nodes.run_id, job.nodes, nodes.run_config)
    first = [actor.remote(*told) for _ in range(min(number, job.first_actors))]
    grid.employ(first)
    ray.wait([one.is_ready.remote() for one in first], num_returns=len(first))
    grid.employ(actor.remote(*told) for _ in range(number - len(first)))


def _cores_of_cluster() -> int:
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("CPU", 0))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
