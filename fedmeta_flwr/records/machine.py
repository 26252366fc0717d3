"""What a result file says of the machine that ran."""

import os
import platform
from pathlib import Path
from typing import Any

_CPUINFO = Path("/proc/cpuinfo")


def describe_machine() -> dict[str, Any]:
    """Return ``cores``, ``system``, and ``processor``: its name and the vector instructions that PyTorch uses.

    Results are equal to the bit only on processors of one kind: which kernels PyTorch takes depends on the processor.
    """
    import torch  # takes seconds, and the command line imports this module

    return {
        "cores": os.cpu_count(),
        "system": platform.platform(),
        "processor": f"{_processor_name()}, {torch.backends.cpu.get_cpu_capability()}",
    }


def _processor_name() -> str:
    """Return the name; on Linux from the kernel, for Python knows the architecture alone there."""
    if _CPUINFO.is_file():
        for line in _CPUINFO.read_text(encoding="utf-8").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()
