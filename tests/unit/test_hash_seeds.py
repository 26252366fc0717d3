"""What is shown to a person, or written to a file, does not depend on the process's hash seed."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

SEEDS = (0, 3)
ERRORS = {
    "ConfigError",
    "DatasetError",
    "NodeConfigError",
    "RegistryError",
    "ResultsError",
    "SettingsError",
    "StrategyError",
}
NAMES = (["train", "test"], ["one", "two", "three"], ["left", "over", "rest", "train", "test"])


def test_sets_come_in_another_order_with_the_other_seed() -> None:
    code = f"import json; print(json.dumps([list(set(names)) for names in {NAMES}]))"
    first, second = (json.loads(run_with(seed, "-c", code).communicate()[0]) for seed in SEEDS)
    assert all(one != other for one, other in zip(first, second, strict=True))


def run_with(seed: int, *arguments: str) -> "subprocess.Popen[str]":
    environment = {**os.environ, "PYTHONHASHSEED": str(seed)}
    return subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, text=True)


def test_messages_are_the_same_with_every_hash_seed() -> None:
    script = str(Path(__file__).with_name("hash_seed_messages.py"))
    processes = [run_with(seed, "-W", "ignore", script) for seed in SEEDS]
    texts = [process.communicate()[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * len(SEEDS)
    first, *others = (json.loads(text) for text in texts)
    for other in others:
        assert other == first
    assert "Traceback" not in texts[0]
    raised = {name: found[1] for name, text in first.items() if (found := re.match(r"(\w+(?:Error|Exception)):", text))}
    assert {name: error for name, error in raised.items() if error not in ERRORS} == {}, "defects, no messages"
