r"""A custom ServerApp, with a strategy that is set in code as in Flower's docs: see the last lines.

Name it in pyproject.toml, `serverapp = "examples.custom_server:app"` below `[tool.flwr.app.components]`, then

    uv run flwr run . --stream --federation-config "num-supernodes=4" \
        --run-config "num-server-rounds=3 pretrain-rounds=0 attack-round=0"

It writes no result file, only the final model, into the current folder or `results-dir`.
"""

from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedMedian

from fedmeta_flwr.apps.assembly import initial_arrays
from fedmeta_flwr.apps.scenario import load_scenario
from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.protocol import from_record, to_record
from fedmeta_flwr.records.checkpoint import save_checkpoint
from strategies import Federation, FirstArrivals

app = ServerApp()


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Aggregate by the median of the first three updates."""
    config = RunConfig.parse(context.run_config)
    arrays = to_record(initial_arrays(config, load_scenario(config)))

    strategy = FirstArrivals(FedMedian(), Federation(num_clients=4, quorum=3))
    result = strategy.start(grid, arrays, num_rounds=config.num_server_rounds)
    save_checkpoint(Path(config.results_dir, "median.safetensors"), from_record(result.arrays), {})
