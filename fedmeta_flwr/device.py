"""Which device a process computes on, and how it is kept deterministic."""

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


def pin_threads() -> None:
    """Give this process one compute thread: an actor is one core, and sums are taken in one order."""
    if torch.get_num_threads() != 1:
        torch.set_num_threads(1)
