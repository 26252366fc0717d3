"""Trials of custom networks before a run, to find mistakes that would spoil its results without an error.

The requirements: in evaluation mode, the same input must have the same output; draws in training must come from
PyTorch's global generators, which are seeded; and if queries are normalised by the support set, no query may depend on
another.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.learning.seeding import global_torch_seed

_SUPPORT, _QUERIES = 4, 3
_TOLERANCE = 1e-4  # relative to the largest number: admits another order of float32 sums, not another normalisation

Outputs = Callable[[Tensor], Tensor]
"""A function of rows of input, the first `_SUPPORT` of which are the support set; it returns an output row for each."""


def try_embedding(embedding: nn.Module, name: str, images: Tensor, batch_norm: str) -> None:
    """Try a custom embedding.

    Parameters
    ----------
    embedding : torch.nn.Module
        An `Embedding`; its weights are not changed.
    name : str
        ``"module:attribute"``, for messages.
    images : Tensor
        `trial_rows` images, shape (rows, channels, height, width).
    batch_norm : str
        ``"support"`` or ``"transductive"``; in the latter mode, a query may depend on others.

    Raises
    ------
    RegistryError
        If it keeps statistics, or does not meet a requirement in the docstring of this module.
    """

    def features(rows: Tensor) -> Tensor:
        found: Tensor = embedding(rows, reference_rows=_SUPPORT)
        return found

    def with_and_without_reference() -> Tensor:
        return torch.cat([embedding(images), features(images)])

    with torch.no_grad():
        _require_constant_buffers("embedding", name, embedding, with_and_without_reference)
        _require_repeatable("embedding", name, embedding, with_and_without_reference)
        if batch_norm == "support":
            _require_independent("embedding", name, embedding, features, images)


def try_attention(attention: nn.Module, name: str, features: int, batch_norm: str) -> None:
    """Try a custom attention on features of length `features`; otherwise as `try_embedding`."""
    rows = torch.rand(trial_rows(), features)
    support, queries = rows[:_SUPPORT], rows[_SUPPORT:]
    with torch.no_grad():
        found = tuple(attention(queries, support).shape)
        if found != (expected := (_QUERIES, _SUPPORT)):
            raise RegistryError(
                f"attention: expected {name!r} to return shape {expected} for {_QUERIES} queries and {_SUPPORT} "
                f"support rows, found {found}"
            )
        _require_constant_buffers("attention", name, attention, lambda: attention(queries, support))
        _require_repeatable("attention", name, attention, lambda: attention(queries, support))
        if batch_norm == "support":
            _require_independent("attention", name, attention, lambda rows: attention(rows[_SUPPORT:], support), rows)


def trial_rows() -> int:
    """Return the number of rows in a trial."""
    return _SUPPORT + _QUERIES


def _require_constant_buffers(key: str, name: str, network: nn.Module, run: Callable[[], Tensor]) -> None:
    before = {buffer_name: buffer.clone() for buffer_name, buffer in network.named_buffers()}
    network.train()
    run()
    for buffer_name, buffer in network.named_buffers():
        if buffer_name not in before or not torch.equal(buffer, before[buffer_name]):
            raise RegistryError(
                f"{key}: expected {name!r} to keep nothing from one pass to the next (no running statistics: a new "
                f"network answers each message), found that a pass in training mode changes {buffer_name!r}"
            )


def _require_repeatable(key: str, name: str, network: nn.Module, run: Callable[[], Tensor]) -> None:
    network.eval()
    if not _equal(run(), run()):
        raise RegistryError(
            f"{key}: expected {name!r} to return the same twice in evaluation mode (random draws must depend on "
            "self.training, as in torch.nn.Dropout), found two passes that differ"
        )
    network.train()
    if not _equal(_seeded(run), _seeded(run)):
        raise RegistryError(
            f"{key}: expected {name!r} to draw from PyTorch's global generator only, which is seeded, found two passes "
            "in training mode that differ after the same seed"
        )


def _require_independent(key: str, name: str, network: nn.Module, outputs: Outputs, rows: Tensor) -> None:
    """Raise `RegistryError` if the support set or a query depends on other queries, in either mode."""
    others = rows.clone()
    others[_SUPPORT + 1 :] = 0.1 * others[_SUPPORT + 1 :]  # much darker images
    kept = slice(0, 1 - _QUERIES)
    for is_training in (True, False):
        network.train(is_training)
        first, second = (_seeded(partial(outputs, given))[kept] for given in (rows, others))
        if not torch.allclose(first, second, _TOLERANCE, _TOLERANCE * float(first.abs().max()), equal_nan=True):
            raise RegistryError(
                f"{key}: expected {name!r} to compute each row from the support set and this query only, as "
                "batch-norm = 'support' requires (an embedding receives reference_rows, which "
                "fedmeta_flwr.learning.norm.EpisodeNorm takes into account), found that other queries change the "
                "result; batch-norm = 'transductive' admits that"
            )


def _seeded(run: Callable[[], Tensor]) -> Tensor:
    with global_torch_seed(0):
        return run()


def _equal(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)
