import random
from collections.abc import Callable

import numpy as np
import pytest
import torch

from strategies.global_random import seeded_global_random

DRAWS: list[Callable[[], float]] = [random.random, np.random.random, lambda: float(torch.rand(()))]


@pytest.mark.parametrize("draw", DRAWS)
def test_global_draws_are_those_of_the_round_and_leave_no_trace(draw: Callable[[], float]) -> None:
    def drawn(server_round: int) -> float:
        with seeded_global_random(0, "purpose", server_round):
            return draw()

    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    first, expected = drawn(1), draw()
    random.seed(0), np.random.seed(0), torch.manual_seed(0)
    assert draw() == expected
    assert drawn(1) == first != drawn(2)
