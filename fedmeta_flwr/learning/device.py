"""Which device a process computes on, how it is kept deterministic, and in which order it reads images fastest."""

import torch


def choose_device(name: str) -> torch.device:
    """Return the device of a setting.

    Parameters
    ----------
    name : str
        ``"auto"`` (a GPU when this process sees one), ``"cpu"`` or ``"cuda"``.

    Returns
    -------
    torch.device

    Raises
    ------
    ValueError
        If ``"cuda"`` is asked for where no GPU is visible.
    """
    available = torch.cuda.is_available()
    if name == "cuda" and not available:
        raise ValueError("device: expected a visible GPU for device = 'cuda', found none")
    return torch.device("cuda" if available and name != "cpu" else "cpu")


def fast_layout(device: torch.device) -> torch.memory_format:
    """Return the order in memory of images and filters that a device computes fastest on, as measured on a CPU.

    With channels innermost, convolution, normalisation and pooling of float32 take a CPU down to half the time.
    A GPU is left with PyTorch's default.
    """
    return torch.channels_last if device.type == "cpu" else torch.contiguous_format


def pin_threads() -> None:
    """Give this process one compute thread: an actor is one core, and sums are taken in one order."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
