"""A Ray for this process, or a cluster that others started, for as long as a block runs."""

import logging
import os
import socket
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress

from experiments.runner.interruption import uninterrupted
from experiments.runner.outcome import RunFailedError
from experiments.runner.program import HOST, free_port, make_temporary_folder, start_program
from experiments.runner.simulation import LOCAL_RAY, SimulationSize, simulation_environment
from experiments.settings import SettingsError
from fedmeta_flwr.protocol.flower_private import ray_settings

_ANSWER_SECONDS = 10.0
_LONGEST_START_SECONDS = 120.0
_OBJECT_STORE_BYTES = 2**27  # 128 MiB; tasks exchange settings and texts


def require_cluster(address: str) -> None:
    """Raise `SettingsError` unless something answers at the address; Ray itself waits for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise SettingsError(f"--ray-address: expected a Ray cluster at {address!r}, found none ({error})") from error


@contextmanager
def ray_session(size: SimulationSize) -> Iterator[None]:
    """Start a local Ray, or connect to a cluster; leave no process and no file behind, even if this process is killed.

    What this process has started on a cluster ends with it.

    Parameters
    ----------
    size : SimulationSize
        Cores (one for each actor) and GPUs of a local Ray, or the address of a cluster.

    Raises
    ------
    RunFailedError
        If Ray does not start.
    """
    with ExitStack() as endings, _environment({} if size.ray_address else LOCAL_RAY):
        address = size.ray_address or _start(size, endings)
        import ray  # takes a second

        with uninterrupted(), warnings.catch_warnings(action="ignore"):  # it also takes SIGTERM back from Ray
            try:
                with ray_settings(one_machine=not size.ray_address):
                    ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (ConnectionError, RuntimeError) as error:
                raise RunFailedError(f"expected to connect to Ray at {address}, found: {error}") from error
        try:
            yield
        finally:
            with uninterrupted():
                ray.shutdown()


def _start(size: SimulationSize, endings: ExitStack) -> str:
    """Start Ray's servers, which `endings` ends, and return their address."""
    folder = make_temporary_folder(endings)
    (folder / "empty").mkdir()
    port, log = free_port(), folder / "ray.log"
    options = {
        "node-ip-address": HOST,
        "port": port,
        "num-cpus": size.actors,
        "num-gpus": size.gpus,
        "object-store-memory": _OBJECT_STORE_BYTES,
        "include-dashboard": "false",
        "temp-dir": folder,
    }
    command = [sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block"]
    arguments = [f"--{name}={value}" for name, value in options.items()]
    environment = simulation_environment(folder, "unknown")
    program = start_program([*command, *arguments], environment, work=folder / "empty", log=log, endings=endings)
    deadline = time.monotonic() + _LONGEST_START_SECONDS
    while program.process.poll() is None and time.monotonic() < deadline:
        program.descendants.look()
        with suppress(OSError):
            socket.create_connection((HOST, port), 1).close()
            return f"{HOST}:{port}"
        time.sleep(0.1)
    raise RunFailedError(f"expected Ray to start, found:\n{log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


@contextmanager
def _environment(changes: Mapping[str, str]) -> Iterator[None]:
    """Change environment variables for a block."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
