"""What an adversary of a small federation knows, for tests of attacks."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from unit.small_federation import SMALL, client_of, strokes_cache

from clients import Adversary
from fedmeta_flwr.attacks.knowledge import Knowledge
from fedmeta_flwr.config import RunConfig


@pytest.fixture
def knowledge_of(run_config: Callable[..., RunConfig], tmp_path: Path) -> Callable[..., Knowledge]:
    """Return what an adversary knows, given its partition and settings."""

    def knowledge(partition_id: int = 0, **changes: Any) -> Knowledge:
        config = run_config(**{**SMALL, "cache_dir": strokes_cache(tmp_path), **changes})
        client = client_of(config, tmp_path, partition_id)
        assert isinstance(client, Adversary)
        return client.attack.knowledge

    return knowledge
