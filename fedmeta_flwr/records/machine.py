"""Describes the machine of a run for its result file."""

import os
import platform
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")


def describe_machine() -> dict[str, Any]:
    """Return ``cores``, ``system``, and ``processor``: its name and the instruction sets that PyTorch uses.

    Results are bit-identical only on processors of the same kind, because PyTorch's choice of kernels depends on it.
    """
    import torch  # takes seconds, and the command line imports this module

    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "processor": ", ".join([_processor_name(), torch.backends.cpu.get_cpu_capability(), *_amx()]),
    }


def _amx() -> list[str]:
    import torch

    return ["AMX"] if torch.cpu.get_capabilities().get("amx_bf16") else []


def _processor_name() -> str:
    """Return the name of the processor; on Linux from the kernel, because Python reports only the architecture."""
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
