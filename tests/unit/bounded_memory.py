"""Calls in a separate process with little memory and time, so that a bomb cannot take the machine down."""

import json
import subprocess
import sys

import pytest

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is bounded by Linux's means")

_SCRIPT = """
import json, resource, sys
from pathlib import Path
{imports}

def outcome(file):
    try:
        {call}
    except {error} as error:
        return str(error)
    return "accepted"

used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + {mebibytes} * 2**20,) * 2)
resource.setrlimit(resource.RLIMIT_CPU, (60, 60))
print(json.dumps([outcome(Path(file)) for file in sys.argv[1:]]))
"""


def outcomes(imports: str, call: str, error: str, files: list[str], mebibytes: int) -> list[str]:
    """Make a call for each `file`; return the words of its error, or ``"accepted"``.

    Any other error than `error`, and one of memory in particular, fails.
    """
    script = _SCRIPT.format(imports=imports, call=call, error=error, mebibytes=mebibytes)
    done = subprocess.run(
        [sys.executable, "-c", script, *files], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found: list[str] = json.loads(done.stdout)
    return found
