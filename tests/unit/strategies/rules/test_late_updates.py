"""A late update counts as what its client has learnt: the difference from the model that it started from."""

from typing import Any

import numpy as np
import pytest
from flwr.app import Message, MessageType
from unit.strategies.in_memory_grid import GLOBAL, Latencies, Run, federate, honest_client
from unit.strategies.test_resume import through_a_file

from fedmeta_flwr.protocol import messages
from fedmeta_flwr.records.entries import TRAIN_LOSS
from strategies import STRATEGY_NAMES, make_strategy

# Client 3 is asked in round 1, which ends at 2 s, and answers at 4 s, in round 2.
ONE_IS_LATE = Latencies([[0, 1, 2, 4], [0.5, 1, 2.5, 0]])
NOBODY_IS_LATE = Latencies([[0, 1, 2, 2.5], [0.5, 1, 2.5, 0]])


def adding_one(partition: int, message: Message) -> Message:
    """Train so that every number of the model grows by 1."""
    if message.metadata.message_type != MessageType.TRAIN:
        return honest_client(partition, message)
    arrays = {name: array + np.float32(1) for name, array in messages.message_arrays(message).items()}
    return messages.train_reply(message, arrays, 1, {TRAIN_LOSS: 0.5, "norm_bit": 0})


def two_rounds(name: str, latencies: Latencies, **options: Any) -> Run:
    return federate(latencies, 2, client=adding_one, inner=make_strategy(name, "", 3, 4), **options)


@pytest.mark.parametrize("name", STRATEGY_NAMES)
def test_where_everybody_learns_the_same_nothing_depends_on_who_is_late(name: str) -> None:
    late = two_rounds(name, ONE_IS_LATE, late_updates="next-round")
    assert late.arrived()[1] == [(0, 2), (1, 2), (3, 1)]
    punctual = two_rounds(name, NOBODY_IS_LATE)
    for array, other in zip(late.arrays[-1].values(), punctual.arrays[-1].values(), strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-6, atol=1e-6)


def test_a_mean_moves_by_the_mean_of_the_differences_also_after_a_resumption() -> None:
    states: list[Any] = []
    whole = two_rounds(
        "fedavg",
        ONE_IS_LATE,
        late_updates="next-round",
        on_checkpoint=lambda _, state: states.append(through_a_file(state)),
    )
    resumed = federate(ONE_IS_LATE, 1, client=adding_one, late_updates="next-round", state=states[0])
    assert resumed.arrived() == [[(0, 2), (1, 2), (3, 1)]]
    for run in (whole, resumed):
        for name, array in run.arrays[-1].items():
            np.testing.assert_allclose(array, GLOBAL[name] + 2, rtol=1e-6)
        norm = np.sqrt(sum(array.size for array in GLOBAL.values()))
        assert run.records[-1].arrivals[2].update_norm == pytest.approx(norm)
