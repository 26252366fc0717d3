"""What an actor holds: no second copy of the images, no module that a client does not need."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from clients import BenignClient
from fedmeta_flwr.apps.assembly import make_client
from fedmeta_flwr.apps.scenario import load_scenario
from fedmeta_flwr.config import RunConfig

# Numba looks at scipy's version, if there is one.
UNNEEDED = ("learn2learn", "matplotlib", "pandas", "scipy.stats", "tensorboard", "torch._dynamo", "torchvision")
TOOLS = ("jinja2", "matplotlib", "plotly", "psutil", "ray", "scipy", "tensorboard")
"""The packages of the extra `tools`, except those that Flower needs."""


def test_clients_read_the_memory_mapped_images_themselves(run_config: Callable[..., RunConfig], tmp_path: Path) -> None:
    config = run_config(cache_dir=str(tmp_path), strokes_classes=120)
    scenario = load_scenario(config)
    assert isinstance(scenario.dataset.images, np.memmap)
    for partition_id in range(config.num_clients):
        client = make_client(config, scenario, partition_id, torch.device("cpu"), tmp_path)
        assert isinstance(client, BenignClient)
        for images in (client.training.images, client.measurement.plan.images):
            assert np.shares_memory(images, scenario.dataset.images)


def test_neither_side_imports_more_than_it_needs() -> None:
    code = f"""
import sys
import fedmeta_flwr.apps.client
print([name for name in {UNNEEDED} if name in sys.modules])
import fedmeta_flwr.apps.server
print("tensorboard" in sys.modules)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.split() == ["[]", "False"]


def test_config_data_and_records_leave_pytorch_out() -> None:
    modules = "config, data, records.writer, records.progress, records.run_checkpoints"
    imports = "\n".join(f"import fedmeta_flwr.{module}" for module in modules.split(", "))
    code = f"import sys\n{imports}\nprint('torch' in sys.modules)"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "False"


def test_a_node_and_a_server_need_nothing_of_the_tools() -> None:
    code = f"""
import sys
sys.modules.update(dict.fromkeys({TOOLS}))
import fedmeta_flwr.apps.client
import fedmeta_flwr.apps.server
"""
    subprocess.run([sys.executable, "-c", code], check=True)
