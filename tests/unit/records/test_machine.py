from pathlib import Path

import pytest
import torch

from fedmeta_flwr.records import machine
from fedmeta_flwr.records.machine import describe_machine


@pytest.fixture(autouse=True)
def without_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx2": True, "amx_bf16": False})


def test_amx_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu.get_capabilities", lambda: {"avx512_bf16": True, "amx_bf16": True})
    assert describe_machine()["processor"].endswith(", AMX")


def test_the_processor_is_named_as_the_kernel_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: Some CPU @ 2.0GHz\n"
    (tmp_path / "cpuinfo").write_text(told, encoding="utf-8")
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "cpuinfo")
    assert describe_machine()["processor"] == f"Some CPU @ 2.0GHz, {torch.backends.cpu.get_cpu_capability()}"


def test_without_a_name_from_the_kernel_that_of_python_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_CPUINFO", tmp_path / "none")
    monkeypatch.setattr("platform.processor", lambda: "")
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    assert describe_machine()["processor"].startswith("aarch64, ")
