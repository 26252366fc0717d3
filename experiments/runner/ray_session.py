"""A Ray of this process, or a cluster that others started, for as long as a block runs."""

import logging
import os
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from experiments.runner.interruption import uninterrupted
from experiments.runner.program import temporary_folder
from experiments.runner.simulation import LOCAL_RAY
from experiments.settings import SettingsError

_ANSWER_SECONDS = 10.0
_OBJECT_STORE_BYTES = 2**27  # 128 MiB; tasks exchange settings and texts


def require_cluster(address: str) -> None:
    """Raise `SettingsError` unless something answers at the address; Ray itself waits for minutes."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), _ANSWER_SECONDS).close()
    except (OSError, ValueError, OverflowError) as error:
        raise SettingsError(f"--ray-address: expected a Ray cluster at {address!r}, found none ({error})") from error


@contextmanager
def ray_session(cores: int, gpus: int = 0, address: str | None = None) -> Iterator[None]:
    """Start a local Ray, or connect to a cluster; leave no process and no file behind.

    If this process is killed, the kernel ends a local Ray with it. On a cluster, what this process has started ends.

    Parameters
    ----------
    cores, gpus : int
        Resources of a local Ray.
    address : str or None
        Ray cluster to connect to, as ``HOST:PORT``; None: a local Ray.
    """
    folder = None if address else tempfile.mkdtemp(prefix="fedmeta-", dir=temporary_folder())
    try:
        with _environment({} if address else LOCAL_RAY):
            import ray  # takes a second

            try:
                with uninterrupted(), warnings.catch_warnings(action="ignore"):  # it also takes SIGTERM back from Ray
                    if address:
                        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
                    else:
                        ray.init(
                            address="local",  # even if RAY_ADDRESS names a cluster
                            num_cpus=cores,
                            num_gpus=gpus,
                            object_store_memory=_OBJECT_STORE_BYTES,
                            include_dashboard=False,
                            log_to_driver=False,
                            logging_level=logging.ERROR,
                            _temp_dir=folder,
                        )
                yield
            finally:
                with uninterrupted():
                    ray.shutdown()
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)  # Ray's servers may still write their last lines


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
