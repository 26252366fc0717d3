"""Tab, as a real bash asks for it."""

import os
import shutil
import subprocess
import sys
import sysconfig

import pytest

from experiments.benchmarks.running import BENCHMARKS
from experiments.cli.completion import complete_config, complete_setting

SCRIPT = """
eval "$(_FEDMETA_COMPLETE=source_bash fedmeta)"
tab() {
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    _fedmeta_completion fedmeta
    echo "${COMPREPLY[*]}"
}
tab fedmeta run om
tab fedmeta run quickstart -c pretrain-
tab fedmeta reproduce fine
tab fedmeta reproduce --dataset mini
tab fedmeta bench ''
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_is_offered_configurations_settings_experiments_data_sets_and_benchmarks() -> None:
    environment = {**os.environ, "PATH": os.pathsep.join([sysconfig.get_path("scripts"), os.environ["PATH"]])}
    process = subprocess.run(["bash", "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    assert [line.split() for line in process.stdout.splitlines()] == [
        ["omniglot-case-a"],
        ["pretrain-rounds=", "pretrain-outer-steps=", "pretrain-evaluate-every="],
        ["fine-tuning"],
        ["mini-imagenet"],
        list(BENCHMARKS),
    ]


def test_the_command_line_starts_without_what_takes_seconds_to_import() -> None:
    heavy = ("torch", "flwr", "numpy", "matplotlib", "learn2learn")
    commands = "experiments.cli.commands, experiments.doctor.examination"
    code = f"import sys, {commands}; print([m for m in {heavy} if m in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


def test_a_setting_with_few_values_offers_them_behind_its_key() -> None:
    assert [word for word, _ in complete_setting("batch-norm=")] == ["batch-norm=transductive", "batch-norm=support"]
    assert [word for word, _ in complete_setting("tensorboard=t")] == ["tensorboard=true"]
    assert [word for word, _ in complete_setting("backdoor-key=d")] == [
        "backdoor-key=dots",
        "backdoor-key=dots-inverted",
    ]
    assert [word for word, _ in complete_setting("strategy=krum")] == ["strategy=krum"]
    assert [word for word, _ in complete_setting("attention-o")] == ["attention-options="]
    assert complete_setting("seed=") == []
    assert complete_setting("seed") == [("seed=", "Seed of every random stream of the run.")]


def test_a_file_is_left_to_the_shell() -> None:
    assert complete_config("./my") == []
    assert "quickstart" in complete_config("")
