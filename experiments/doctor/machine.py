"""Check the machine's resources for a simulation: cores, memory, GPUs, ports."""

import shutil
import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from experiments.doctor.finding import Finding
from experiments.runner.simulation import count_cores, default_actors

_MEBIBYTE = 2**20
_MAIN_MEBIBYTES, _ACTOR_MEBIBYTES = 850, 950  # docs/performance.md
_SHARED_MEBIBYTES = 100  # of Ray's object store, at its smallest; a container has 64 by default
_CGROUP_FILES = (  # limit, use, and the part of the use that is file cache, which the system frees on demand
    ("memory.max", "memory.current", "inactive_file"),
    ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes", "total_inactive_file"),
)
_CLIENTS = 4
_LOOPBACK = "127.0.0.1"


def check_cores() -> Iterator[Finding]:
    """Count the cores that this process may use."""
    cores = count_cores()
    found = f"{cores} core(s), {default_actors(_CLIENTS)} actors for {_CLIENTS} clients"
    if cores > 1:
        yield Finding("cores", "ok", found)
    else:
        yield Finding("cores", "warning", found, "it works, but is faster with more than one core")


def check_memory(free_bytes: int | None = None) -> Iterator[Finding]:
    """Compare the free memory, within a container's limit, with the needs of a run of the poster's size."""
    free = (available_bytes() if free_bytes is None else free_bytes) // _MEBIBYTE
    actors = default_actors(_CLIENTS)
    enough, least = _MAIN_MEBIBYTES + actors * _ACTOR_MEBIBYTES, _MAIN_MEBIBYTES + _ACTOR_MEBIBYTES
    found = f"{free} MiB free; a run with {actors} actors takes {enough}"
    if free >= enough:
        yield Finding("memory", "ok", found)
    elif free >= least:
        fitting = (free - _MAIN_MEBIBYTES) // _ACTOR_MEBIBYTES
        yield Finding("memory", "warning", found, f"end other programs, or run with `--actors {fitting}`")
    else:
        yield Finding("memory", "wrong", f"{found}, with one {least}", "end other programs, or raise the limit")


def available_bytes(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return the free memory of the machine, or of a container up to its limit; 0 above the limit."""
    available = int(psutil.virtual_memory().available)
    for limit, used, cache in _CGROUP_FILES:
        with suppress(OSError, ValueError, KeyError):  # no such file, no limit, or another kind of statistics
            free = int((cgroup / limit).read_text(encoding="utf-8")) - int((cgroup / used).read_text(encoding="utf-8"))
            statistics = (cgroup / limit).with_name("memory.stat").read_text(encoding="utf-8").splitlines()
            freeable = dict(line.split() for line in statistics)[cache]
            available = min(available, max(0, free + int(freeable)))
    return available


def check_shared_memory(folder: Path = Path("/dev/shm")) -> Iterator[Finding]:
    """Check the size of the folder in which Ray's processes share arrays."""
    advice = "Ray uses a slower folder; start a container with `--shm-size=1g`"
    if not folder.is_dir():
        yield Finding("shared memory", "warning", f"no {folder}", advice)
        return
    size = shutil.disk_usage(folder).total // _MEBIBYTE
    if size < _SHARED_MEBIBYTES:
        yield Finding("shared memory", "warning", f"{folder} of {size} MiB", advice)
    else:
        yield Finding("shared memory", "ok", f"{folder} of {size} MiB")


def check_gpus() -> Iterator[Finding]:
    """Ask PyTorch for GPUs; without any, everything runs on the CPU."""
    import torch  # takes seconds

    names = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
    if names:
        yield Finding("GPUs", "ok", ", ".join(names))
    elif shutil.which("nvidia-smi"):
        advice = "install the PyTorch build that fits the driver; otherwise everything runs on the CPU"
        yield Finding("GPUs", "warning", "a driver, but no GPU that PyTorch can use", advice)
    else:
        yield Finding("GPUs", "ok", "none; everything runs on the CPU")


def check_loopback() -> Iterator[Finding]:
    """Listen on a free port of this machine and connect to it, as a run's SuperLink and its processes do."""
    try:
        with socket.create_server((_LOOPBACK, 0)) as server:
            port = server.getsockname()[1]
            socket.create_connection((_LOOPBACK, port), timeout=5).close()
    except OSError as error:
        advice = f"let programs listen on {_LOOPBACK} and connect to it; check the firewall and any sandbox"
        yield Finding("ports", "wrong", f"no port of {_LOOPBACK} can be used: {error}", advice)
    else:
        yield Finding("ports", "ok", f"{_LOOPBACK} has free ports, such as {port}")


def check_default_ports() -> Iterator[Finding]:
    """Check whether the ports that plain `flwr run` needs are free."""
    from fedmeta_flwr.protocol.flower_private import default_ports  # imports Flower

    for port in default_ports():
        yield check_port(port)


def check_port(port: int) -> Finding:
    """Check whether a port of this machine is free; only plain `flwr run` needs a fixed one."""
    name = f"port {port}"
    try:
        socket.create_server((_LOOPBACK, port)).close()
    except OSError:
        advice = (
            "plain `flwr run` would use the program that listens there as its SuperLink; `experiments run` uses "
            "another port"
        )
        return Finding(name, "warning", "in use", advice)
    return Finding(name, "ok", "free, for plain `flwr run`")
