"""How fast a benign client learns, compared with a bare loop in PyTorch and with learn2learn's example."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarks import bare_loop
from experiments.benchmarks.learn2learn_way import own_way
from experiments.benchmarks.race import Contender, Tell, Turn, race
from experiments.benchmarks.workload import CPU, META_BATCH_SIZE, SHOT, WAY, Workload, as_task, drawings, photos
from fedmeta_flwr.data import Episode
from fedmeta_flwr.learning import fast_layout, meta_gradient, multiplies_bfloat16, set_precision
from fedmeta_flwr.seeding import generator

_OUTER_STEPS = 2
_EPISODES = _OUTER_STEPS * META_BATCH_SIZE
_MATRIX_SIDE = 1024
_IMAGES_PER_EPISODE = 2 * WAY * SHOT
OURS, BARE, OWN, PEAK = "this project", "bare loop", "learn2learn's own way", "matrix multiplication"
ROUNDED = "this project, bfloat16"


def measure(repetitions: int, tell: Tell) -> list[dict[str, Any]]:
    """Return a row for each contender of each case; one thread.

    The bare loop is handed ready-made tensors; this project draws its episodes from a memory-mapped array, as a client
    does; learn2learn reads, scales and batches image files. learn2learn knows no normalisation by the support set.
    First-order learning in bfloat16 takes part where the processor multiplies it.
    """
    torch.set_num_threads(1)
    rows = []
    with drawings() as drawn, photos() as photographed:
        for workload in (drawn, photographed):
            for algorithm, batch_norm in (("fomaml", "support"), ("fomaml", "transductive"), ("maml", "transductive")):
                rows += _race(workload, algorithm, batch_norm, repetitions, tell)
    return rows


def _race(workload: Workload, algorithm: str, batch_norm: str, repetitions: int, tell: Tell) -> list[dict[str, Any]]:
    case = f"{workload.name}, {algorithm}, {batch_norm}"
    flops = count_flops(workload, algorithm, batch_norm)
    with ExitStack() as stack:
        contenders = [
            Contender(OURS, partial(_ours, workload, algorithm, batch_norm), _EPISODES),
            Contender(BARE, _bare(workload, algorithm, batch_norm), _EPISODES),
        ]
        if algorithm == "fomaml" and multiplies_bfloat16(CPU):
            contenders.append(
                Contender(ROUNDED, partial(_ours, workload, algorithm, batch_norm, "bfloat16"), _EPISODES)
            )
        if batch_norm == "transductive":
            run = stack.enter_context(own_way(workload, algorithm == "maml", _OUTER_STEPS))
            contenders.append(Contender(OWN, run, _EPISODES))
        matrices = torch.rand(2, _MATRIX_SIDE, _MATRIX_SIDE)
        contenders.append(Contender(PEAK, lambda: matrices[0] @ matrices[1], 2 * _MATRIX_SIDE**3 / flops))
        rows = race(contenders, repetitions, lambda number: tell(Turn(case, number, repetitions)))
    share = {row["contender"]: row["ratio"] for row in rows}[PEAK]
    return [{"case": case, **row} | _more(row, flops, share) for row in rows]


def _more(row: dict[str, Any], flops: int, share_of_peak: dict[str, float]) -> dict[str, Any]:
    """Return further numbers of a contender; the peak, a matrix multiplication, is counted in equivalent episodes."""
    more: dict[str, Any] = {"flops_per_second": row["per_second"] * flops}
    if row["contender"] != PEAK:
        more["images_per_second"] = row["per_second"] * _IMAGES_PER_EPISODE
    if row["contender"] == OURS:
        more["share_of_peak"] = share_of_peak
    return more


def _ours(workload: Workload, algorithm: str, batch_norm: str, precision: str = "float32") -> None:
    training = workload.training(algorithm, batch_norm)
    model = workload.model().to(memory_format=fast_layout(CPU))
    set_precision(model, precision, workload.embedding)
    training.train(
        model,
        partial(training.sample, workload.holdings),
        server_round=1,
        outer_steps=_OUTER_STEPS,
        outer_lr=0.001,
        proximal_mu=0.0,
    )


def _bare(workload: Workload, algorithm: str, batch_norm: str) -> partial[None]:
    tasks = [[as_task(episode) for episode in batch] for batch in meta_batches(workload, _OUTER_STEPS)]
    parameters = list(workload.model().parameters())
    optimizer = torch.optim.Adam(parameters, 0.001)
    return partial(bare_loop.update, parameters, tasks, workload.recipe(algorithm, batch_norm), optimizer)


def meta_batches(workload: Workload, outer_steps: int) -> Sequence[Sequence[Episode]]:
    """Draw meta-batches without a client."""
    training = workload.training("fomaml", "support")
    return [
        [training.sample(workload.holdings, generator(0, "benchmark", step, index)) for index in range(META_BATCH_SIZE)]
        for step in range(outer_steps)
    ]


def count_flops(workload: Workload, algorithm: str, batch_norm: str) -> int:
    """Return the floating-point operations of convolutions and matrix products in an episode's meta-gradient."""
    ((episode, *_),) = meta_batches(workload, 1)
    with FlopCounterMode(display=False) as counter:
        meta_gradient(workload.model().to(CPU), episode, algorithm, workload.inner(batch_norm))
    return int(counter.get_total_flops())
