"""No secret of a defended client leaves it: every byte of every message of a run is searched for its secrets."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import default_values
from flwr.app import Context, Message, RecordDict
from unit.small_federation import SMALL
from unit.strategies.in_memory_grid import InMemoryGrid

from clients.memory import ClientMemory
from fedmeta_flwr.apps import server as server_app
from fedmeta_flwr.apps.client import app
from fedmeta_flwr.learning.matching_network import Attention
from fedmeta_flwr.learning.models import Conv4, get_arrays
from fedmeta_flwr.protocol import messages
from fedmeta_flwr.protocol.flower_private import message_to_proto

pytestmark = pytest.mark.usefixtures("task_identity")

WINDOW = 8  # numbers
Recorded = list[np.ndarray]


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> tuple[Recorded, Recorded]:
    """Images that any client embeds, support sets among them, and the features that come out."""
    images: Recorded = []
    features: Recorded = []
    forward = Conv4.forward

    def recording(self: Conv4, pixels: torch.Tensor, **others: Any) -> torch.Tensor:
        embedded = forward(self, pixels, **others)
        images.extend(pixels.detach().numpy()[::5].copy())
        features.extend(embedded.detach().numpy()[::5].copy())
        return embedded

    monkeypatch.setattr(Conv4, "forward", recording)
    return images, features


def replies_of_a_run(settings: dict[str, Any]) -> tuple[list[bytes], dict[str, Any]]:
    """Run the app in this process; return replies as the bytes that Flower sends, and the last instruction's config."""
    replies: list[bytes] = []
    config: dict[str, Any] = {}

    def client(partition: int, message: Message) -> Message:
        config.update(messages.message_config(message))
        reply = app(message, Context(7, partition, {"partition-id": partition}, RecordDict(), settings))
        replies.append(bytes(message_to_proto(reply).SerializeToString()))
        return reply

    server_app.main(InMemoryGrid(client, settings["num-clients"]), Context(7, 1, {}, RecordDict(), settings))
    return replies, config


def needles(arrays: Recorded) -> set[bytes]:
    """Return a window of each array that no chance produces, as it is, as doubles, and as the bytes of an image."""
    found = set()
    for array in arrays:
        flat = array.ravel()
        starts = range(0, flat.size - WINDOW + 1, WINDOW)
        window = max((flat[start : start + WINDOW] for start in starts), key=lambda values: len(set(values.tolist())))
        if len(set(window.tolist())) >= WINDOW - 2:
            found |= {window.tobytes(), window.astype(np.float64).tobytes()}
            if window.min() >= 0 and window.max() <= 1:
                found.add(np.rint(window * 255).astype(np.uint8).tobytes())
    return found


def test_no_message_of_a_run_holds_an_attention_an_image_or_a_feature(
    seen: tuple[Recorded, Recorded], tmp_path: Path
) -> None:
    overrides = {"image_size": 28, "defense": "federation", "num_server_rounds": 4, "step_curves": "matching"}
    changes = {**SMALL, **overrides, "results_dir": str(tmp_path / "run"), "checkpoint_every": 10}
    settings = {**default_values(), **{name.replace("_", "-"): value for name, value in changes.items()}}
    replies, config = replies_of_a_run(settings)
    assert len(replies) >= 4 + 4 * 3  # the registration, and three or four clients in each round
    expected = get_arrays(Attention(32, 0.1))
    kept = [
        ClientMemory.of(tmp_path / "run" / "clients", client).of_run(config).recall(expected, server_round + 1)
        for client in (1, 2, 3)
        for server_round in range(1, 5)
    ]
    attentions = [arrays["weight"] for arrays in kept if arrays is not None]
    assert len(attentions) >= 9
    images, features = seen
    for secrets, least in ((attentions, 9), (images, 100), (features, 100)):
        searched = needles(secrets)
        assert len(searched) > least
        assert not [needle for needle in searched for reply in replies if needle in reply]
        # The same search finds secrets that are smuggled into a message.
        smuggled = Message(RecordDict({"arrays": messages.to_record({"x": secrets[-1]})}), 3, "train")
        smuggled_needles = needles(secrets[-1:])
        assert smuggled_needles
        assert any(needle in bytes(message_to_proto(smuggled).SerializeToString()) for needle in smuggled_needles)
