"""One run on the page: its federation, example episodes, and the view of its features; what is missing says why."""

from dataclasses import dataclass

from experiments.report.episodes import EPISODES, ExampleEpisode, example_episode, ways_of
from experiments.report.features import project, projection_plot, undefended_network
from experiments.report.material import ShownRun
from experiments.report.plots import Plot
from experiments.report.provenance import SettingRow, environment_rows, setting_rows
from experiments.report.timeline import arrivals_plot, norms_plot
from experiments.report.witness import CLIENT, AbsentError, witness_of
from fedmeta_flwr.own_code import OwnCodeError
from fedmeta_flwr.scenario import Scenario


@dataclass(frozen=True)
class RunView:
    """A run with all that is shown of it.

    Attributes
    ----------
    run : ShownRun
        The run.
    timeline : tuple of Plot
        Arrivals and norms; none where no round is in the file.
    client : int
        Whose episodes they are.
    local_steps : int
        Of the defense.
    episodes : tuple of ExampleEpisode
        None where they cannot be drawn.
    projections : tuple of Plot
        Poisoned and defended model.
    problem : str
        Why there are neither episodes nor projections; empty where there are.
    settings, environment
        See `experiments.report.provenance`.
    """

    run: ShownRun
    timeline: tuple[Plot, ...]
    client: int
    local_steps: int
    episodes: tuple[ExampleEpisode, ...]
    projections: tuple[Plot, ...]
    problem: str
    settings: tuple[SettingRow, ...]
    environment: tuple[tuple[str, str], ...]


def run_view(run: ShownRun, scenario: Scenario | AbsentError) -> RunView:
    """Return all that is shown of a run.

    Parameters
    ----------
    run : ShownRun
        The run.
    scenario : Scenario or AbsentError
        Its images and who holds them, or why they are not here.
    """
    episodes: tuple[ExampleEpisode, ...] = ()
    projections: tuple[Plot, ...] = ()
    problem, steps = "", 0
    try:
        if isinstance(scenario, AbsentError):
            raise scenario
        witness = witness_of(run, scenario)
        steps = witness.after.measurement.matching_steps
        network = witness.after.measurement.defended(witness.after.model)
        ways = ways_of(witness, network)
        episodes = tuple(example_episode(witness, ways, number) for number in range(EPISODES))
        episodes = episodes[: witness.config.evaluate_episodes]
        target = ways.measurement.plan.attacked_episode(0).label_of(scenario.split.target_class)
        projections = tuple(
            projection_plot(project(ways.measurement, one, 0), title, target)
            for one, title in (
                (undefended_network(witness), "poisoned model"),
                (network, f"defended: {steps} local steps"),
            )
        )
    except (AbsentError, OwnCodeError) as error:
        problem = str(error)
    return RunView(
        run=run,
        timeline=_timeline(run),
        client=CLIENT,
        local_steps=steps,
        episodes=episodes,
        projections=projections,
        problem=problem,
        settings=tuple(setting_rows(run)),
        environment=tuple(environment_rows(run)),
    )


def _timeline(run: ShownRun) -> tuple[Plot, ...]:
    records = run.results.rounds
    if not any(record.arrivals or record.dropped for record in records):
        return ()
    return arrivals_plot(records, int(run.config["num-clients"])), norms_plot(records)
