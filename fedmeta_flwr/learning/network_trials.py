"""Trials of custom networks before a run: of what would spoil its results without an error.

What is asked of them: in evaluation mode the same input has the same output; draws in training come from PyTorch's
global generators, which are seeded; and where a query is normalised by the support set, it depends on no other query.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from fedmeta_flwr.config.registry import RegistryError
from fedmeta_flwr.learning.seeding import global_torch_seed

_SUPPORT, _QUERIES = 4, 3
_TOLERANCE = 1e-4  # of the largest number: float32 and another order of sums, not another normalisation

Outputs = Callable[[Tensor], Tensor]
"""Some rows of input, the first `_SUPPORT` of them the support set, to a row of output each."""


def try_embedding(embedding: nn.Module, name: str, images: Tensor, batch_norm: str) -> None:
    """Try a custom embedding.

    Parameters
    ----------
    embedding : torch.nn.Module
        An `Embedding`; its weights stay as they are.
    name : str
        ``"module:attribute"``, for messages.
    images : Tensor
        `trial_rows` of them, shape (rows, channels, height, width).
    batch_norm : str
        ``"support"`` or ``"transductive"``; in the latter a query may depend on the others.

    Raises
    ------
    RegistryError
        If it keeps statistics, or something is not as this module's first lines say.
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
    """Try a custom attention on features of length `features`; all else as `try_embedding`."""
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
    """Return how many rows a trial takes."""
    return _SUPPORT + _QUERIES


def _require_constant_buffers(key: str, name: str, network: nn.Module, run: Callable[[], Tensor]) -> None:
    before = {buffer_name: buffer.clone() for buffer_name, buffer in network.named_buffers()}
    network.train()
    run()
    for buffer_name, buffer in network.named_buffers():
        if buffer_name not in before or not torch.equal(buffer, before[buffer_name]):
            raise RegistryError(
                f"{key}: expected {name!r} to keep nothing from one pass to the next (no running statistics: each "
                f"message is answered by a new network), found that a pass in training mode changes {buffer_name!r}"
            )


def _require_repeatable(key: str, name: str, network: nn.Module, run: Callable[[], Tensor]) -> None:
    network.eval()
    if not _equal(run(), run()):
        raise RegistryError(
            f"{key}: expected {name!r} to return the same twice in evaluation mode (what is drawn must depend on "
            "self.training, as in torch.nn.Dropout), found two passes that differ"
        )
    network.train()
    if not _equal(_seeded(run), _seeded(run)):
        raise RegistryError(
            f"{key}: expected {name!r} to draw from PyTorch's global generator only, which is seeded, found two passes "
            "in training mode that differ after the same seed"
        )


def _require_independent(key: str, name: str, network: nn.Module, outputs: Outputs, rows: Tensor) -> None:
    """Raise `RegistryError` where the support set or a query depends on the other queries, in either mode."""
    others = rows.clone()
    others[_SUPPORT + 1 :] = 0.1 * others[_SUPPORT + 1 :]  # much darker images
    kept = slice(0, 1 - _QUERIES)
    for is_training in (True, False):
        network.train(is_training)
        first, second = (_seeded(partial(outputs, given))[kept] for given in (rows, others))
        if not torch.allclose(first, second, _TOLERANCE, _TOLERANCE * float(first.abs().max()), equal_nan=True):
            raise RegistryError(
                f"{key}: expected {name!r} to compute each row from the support set and this query only, as "
                "batch-norm = 'support' asks for (an embedding is told by reference_rows; "
                "fedmeta_flwr.learning.norm.EpisodeNorm heeds it), found that other queries change the result; "
                "batch-norm = 'transductive' admits that"
            )


def _seeded(run: Callable[[], Tensor]) -> Tensor:
    with global_torch_seed(0):
        return run()


def _equal(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first, second, rtol=0, atol=0, equal_nan=True)
