"""The device of a process: how it is chosen, which layout and types are fastest on it, and how many threads it uses."""

import torch
from torch import Tensor


def choose_device(name: str) -> torch.device:
    """Return the device of a setting.

    Parameters
    ----------
    name : str
        ``"auto"`` (a GPU if this process sees one), ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If `name` is ``"cuda"`` and no GPU is visible.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device: expected a visible GPU for device = 'cuda', found none")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def fast_layout(device: torch.device) -> torch.memory_format:
    """Return the memory layout of images and filters with which a device is fastest, as measured on a CPU.

    With channels innermost, convolution, normalisation and pooling of float32 take as little as half the time on a CPU.
    On a GPU, it is PyTorch's default.
    """
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def pin_threads() -> None:
    """Limit this process to one compute thread: an actor has one core, and the order of sums must not vary."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Return whether a device multiplies bfloat16 faster than float32: a CPU with AMX, or a GPU that says so."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))


def rounded_to_bfloat16(values: Tensor) -> Tensor:
    """Round values to bfloat16, and their gradient as well.

    The result has the type bfloat16 on a device that `multiplies_bfloat16`. On others PyTorch's functions of bfloat16
    are many times as slow as those of float32; there the result has the type of `values`.
    """
    rounded = values.to(torch.bfloat16)
    return rounded if multiplies_bfloat16(values.device) else rounded.to(values.dtype)
