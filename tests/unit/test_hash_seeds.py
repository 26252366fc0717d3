"""What is shown to a person, or written to a file, does not depend on the process's hash seed."""

import json
import os
import subprocess
import sys
from pathlib import Path

SEEDS = (0, 1, 2)  # two names come in the same order with every second seed, three with every sixth


def test_messages_are_the_same_with_every_hash_seed() -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("hash_seed_messages.py"))],
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for seed in SEEDS
    ]
    texts = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(SEEDS)
    first, *others = (json.loads(text) for text in texts)
    for other in others:
        assert other == first
    assert "Traceback" not in texts[0]
    faults = ("AttributeError", "ImportError", "NameError", "TypeError")
    assert [name for name, text in first.items() if text.startswith(faults)] == []
