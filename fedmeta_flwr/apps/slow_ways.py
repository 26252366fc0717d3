"""What a run would compute in a slower way than its settings suggest, on this machine."""

from collections.abc import Iterator
from textwrap import shorten

from fedmeta_flwr.apps.assembly import obstacle_to_batches
from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.learning import choose_device, is_compiled, multiplies_bfloat16


def slow_ways(config: RunConfig, scenario: Scenario) -> Iterator[str]:
    """Yield a warning for each. Nothing is said of a GPU that only the clients have (`device = "cuda"`)."""
    if not is_compiled():
        yield "numba: cannot be imported here; learning takes the slower way of plain PyTorch, with other roundings"
    if config.device == "cuda":
        return
    device = choose_device(config.device)
    if config.precision != "float32" and not multiplies_bfloat16(device):
        yield (
            f"precision: {config.precision} is not faster than float32 on this machine, whose processor has no AMX; "
            "the same roundings are computed in float32"
        )
    if config.episodes_at_once > 1 and device.type != "cpu" and (reason := obstacle_to_batches(config, scenario)):
        yield (
            "episodes-at-once: the GPU takes one episode after the other, because torch.func.vmap cannot compute "
            f"the network for several at once ({shorten(reason, 200)})"
        )
