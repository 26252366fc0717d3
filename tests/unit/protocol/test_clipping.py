"""Clipping is Flower's, to the bit, but for updates whose norm is 0."""

from typing import Any

import numpy as np
import pytest
from flwr.app import ConfigRecord, Context, Message, MessageType, RecordDict
from flwr.clientapp.mod import adaptiveclipping_mod, fixedclipping_mod
from flwr.serverapp.strategy import (
    DifferentialPrivacyServerSideAdaptiveClipping,
    DifferentialPrivacyServerSideFixedClipping,
    FedAvg,
    FedMedian,
    Strategy,
)
from unit.strategies.in_memory_grid import GLOBAL, Latencies, federate, honest_client

from fedmeta_flwr.apps.client import clip_update
from fedmeta_flwr.protocol import messages
from fedmeta_flwr.protocol.clipping import clip
from fedmeta_flwr.records.entries import TRAIN_LOSS
from strategies import make_strategy

pytestmark = pytest.mark.usefixtures("task_identity")

LATENCIES = Latencies([[0, 2.1, 1, 2], [0, 1, 2, 0.5], [3, 1, 0, 2]])
FIXED, ADAPTIVE = "dp-client-fixed-clipping", "dp-client-adaptive-clipping"
MODS = {FIXED: fixedclipping_mod, ADAPTIVE: adaptiveclipping_mod}


def answer(arrays: messages.Arrays) -> Any:
    def call_next(message: Message, _: Context) -> Message:
        return messages.train_reply(message, arrays, 1, {TRAIN_LOSS: 0.5})

    return call_next


def instruction(sent: messages.Arrays, clipping_norm: float) -> Message:
    content = {messages.ARRAYS: messages.to_record(sent), messages.CONFIG: ConfigRecord()}
    content[messages.CONFIG]["clipping_norm"] = clipping_norm  # type: ignore[index]
    return Message(RecordDict(content), dst_node_id=1, message_type=MessageType.TRAIN)  # type: ignore[arg-type]


def messages_config(message: Message) -> ConfigRecord:
    return message.content.config_records[messages.CONFIG]


def context_of(strategy: str) -> Context:
    return Context(run_id=7, node_id=1, node_config={}, state=RecordDict(), run_config={"strategy": strategy})


@pytest.mark.parametrize("strategy", MODS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_client_clips_as_flower_does(strategy: str, scale: float) -> None:
    rng = np.random.default_rng(3)
    for clipping_norm in (1e-3, 0.7, 1.0, 50.0):
        arrays = {
            name: np.asarray(array + scale * rng.normal(size=array.shape), np.float32) for name, array in GLOBAL.items()
        }
        sent, context = instruction(GLOBAL, clipping_norm), context_of(strategy)
        found = clip_update(sent, context, answer(arrays))
        expected = MODS[strategy](sent, context, answer(arrays))
        assert messages.message_metrics(found) == messages.message_metrics(expected)
        assert _bits(messages.message_arrays(found)) == _bits(messages.message_arrays(expected))


def _bits(arrays: messages.Arrays) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in arrays.items()}


@pytest.mark.parametrize("strategy", MODS)
@pytest.mark.parametrize("difference", [0.0, 1e-30])
def test_a_client_that_has_learnt_nothing_sends_its_model_as_it_is(strategy: str, difference: float) -> None:
    sent = {"zeros": np.zeros(3, np.float32), **GLOBAL}
    arrays = {**sent, "zeros": sent["zeros"] + np.float32(difference)}
    reply = clip_update(instruction(sent, 1.0), context_of(strategy), answer(arrays))
    assert _bits(messages.message_arrays(reply)) == _bits(arrays)
    assert messages.message_metrics(reply).get("norm_bit") == (0 if strategy == ADAPTIVE else None)
    assert clip(arrays, sent, 1.0)[1] is False


FAR = {name: array + np.float32(9) for name, array in GLOBAL.items()}


def test_without_a_norm_to_clip_to_nothing_is_clipped() -> None:
    asked = instruction(GLOBAL, 1.0)
    del messages_config(asked)["clipping_norm"]
    assert _bits(messages.message_arrays(clip_update(asked, context_of("fedavg"), answer(FAR)))) == _bits(FAR)


def test_a_custom_strategy_that_sends_a_norm_keeps_it_and_learns_who_was_clipped() -> None:
    reply = clip_update(instruction(GLOBAL, 1.0), context_of("mine:Adaptive"), answer(FAR))
    clipped, was_clipped = clip(FAR, GLOBAL, 1.0)
    assert was_clipped
    assert _bits(messages.message_arrays(reply)) == _bits(clipped)
    assert messages.message_metrics(reply)["norm_bit"] == 1


FLOWERS: dict[str, Any] = {
    "dp-server-fixed-clipping": lambda inner: DifferentialPrivacyServerSideFixedClipping(inner, 0.1, 1.0, 3),
    "dp-server-adaptive-clipping": lambda inner: DifferentialPrivacyServerSideAdaptiveClipping(inner, 0.1, 3),
}


@pytest.mark.parametrize("inner", [FedAvg, FedMedian])
@pytest.mark.parametrize("name", FLOWERS)
def test_a_server_clips_as_flower_does(name: str, inner: type[Strategy]) -> None:
    options = f'{{"strategy": "{inner.__name__.lower()}"}}'
    ours = federate(LATENCIES, 3, inner=make_strategy(name, options, 3, 4))
    flowers = federate(LATENCIES, 3, inner=FLOWERS[name](inner()))
    assert [_bits(arrays) for arrays in ours.arrays] == [_bits(arrays) for arrays in flowers.arrays]
    assert "norm_bit" not in ours.records[0].arrivals[1].metrics


@pytest.mark.parametrize("learns", [(), (0, 2)])
@pytest.mark.parametrize("name", FLOWERS)
def test_a_server_continues_if_clients_have_learnt_nothing(name: str, learns: tuple[int, ...]) -> None:
    def client(partition: int, message: Message) -> Message:
        if message.metadata.message_type == MessageType.TRAIN and partition not in learns:
            return messages.train_reply(message, messages.message_arrays(message), 1, {TRAIN_LOSS: 0.5})
        return honest_client(partition, message)

    run = federate(LATENCIES, 3, client, inner=make_strategy(name, '{"noise_multiplier": 0}', 3, 4))
    assert len(run.records) == 3
    assert (_bits(run.arrays[-1]) == _bits(GLOBAL)) is (not learns)
