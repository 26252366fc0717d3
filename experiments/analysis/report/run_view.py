"""One run on the page: its federation, example episodes, and features; a reason for each part that is missing."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from experiments.analysis.report.absence import AbsentError, Parts, part_or_reason
from experiments.analysis.report.episodes import (
    EPISODES,
    Defended,
    ExampleEpisode,
    Ways,
    example_episode,
    local_steps_of,
    ways_of,
)
from experiments.analysis.report.features import project, projection_plot, undefended_network
from experiments.analysis.report.material import ShownRun
from experiments.analysis.report.plots import Plot
from experiments.analysis.report.provenance import SettingRow, environment_rows, setting_rows
from experiments.analysis.report.timeline import arrivals_plot, dropped_counts, norms_plot
from experiments.analysis.report.witness import Witness, witness_of
from experiments.analysis.roles import recorded_roles
from experiments.analysis.table import missed_attack
from fedmeta_flwr.apps.scenario import Scenario
from fedmeta_flwr.learning import MatchingNetwork
from fedmeta_flwr.records.drops import DropReason


@dataclass(frozen=True)
class RunView:
    """A run with everything that is shown of it.

    Attributes
    ----------
    run : ShownRun
        The run.
    adversaries : tuple of int
        Its adversaries; none where the record of the settings does not tell.
    remarks : tuple of str
        Sentences on what happened to it: it has not ended, its attack did not count.
    timeline : tuple of Plot
        Arrivals and norms; none where no round is in the file.
    client : int or None
        Whose episodes they are; None where none are shown.
    headings : tuple of (str, str)
        The ways in which it classifies, see `Ways`.
    episodes : tuple of ExampleEpisode
        Some of its own.
    projections : tuple of Plot
        Poisoned and defended model.
    settings, environment
        See `experiments.analysis.report.provenance`.
    left_out : mapping of str to str
        ``remarks``, ``timeline``, ``episodes``, ``defense`` (of the episodes), ``features``, ``compared`` (of the
        features, the defended model's), ``settings``, ``environment`` to the reason why they are not shown; empty where
        they are.
    """

    run: ShownRun
    adversaries: tuple[int, ...]
    remarks: tuple[str, ...]
    timeline: tuple[Plot, ...]
    client: int | None
    headings: tuple[tuple[str, str], ...]
    episodes: tuple[ExampleEpisode, ...]
    projections: tuple[Plot, ...]
    settings: tuple[SettingRow, ...]
    environment: tuple[tuple[str, str], ...]
    left_out: Mapping[str, str]

    @property
    def has_unasked(self) -> bool:
        """Whether an adversary was to attack in a round, and the strategy did not select it."""
        return DropReason.UNASKED in dropped_counts(self.run.results.rounds)


@dataclass(frozen=True)
class _Looks:
    """A client's ways to classify, the one under the defense by itself; None where it has none."""

    witness: Witness
    ways: Ways
    defended: Defended | None


def run_view(run: ShownRun, scenario: Scenario | AbsentError) -> RunView:
    """Return everything that is shown of a run.

    Parameters
    ----------
    run : ShownRun
        The run.
    scenario : Scenario or AbsentError
        Its images and who holds them, or why they are not here.
    """
    parts = Parts(*run.paths)
    looks = parts.make("episodes", lambda: _looks(run, scenario, parts), None)
    episodes: tuple[ExampleEpisode, ...] = ()
    projections: tuple[Plot, ...] = ()
    if looks is not None:
        episodes = parts.make("episodes", lambda: _episodes(looks), episodes)
        projections = parts.make("features", lambda: _projections(looks, parts), projections)
    else:
        parts.left_out |= {"features": parts.left_out["episodes"], "defense": ""}
    return RunView(
        run=run,
        adversaries=part_or_reason(lambda: recorded_roles(run.config).colluders, ())[0],
        remarks=parts.make("remarks", lambda: tuple(_remarks(run)), ()),
        timeline=parts.make("timeline", lambda: _timeline(run), ()),
        client=looks.witness.client if looks else None,
        headings=looks.ways.headings if looks else (),
        episodes=episodes,
        projections=projections,
        settings=parts.make("settings", lambda: tuple(setting_rows(run)), ()),
        environment=parts.make("environment", lambda: tuple(environment_rows(run)), ()),
        left_out=parts.left_out,
    )


def _looks(run: ShownRun, scenario: Scenario | AbsentError, parts: Parts) -> _Looks:
    if isinstance(scenario, AbsentError):
        raise scenario
    witness = witness_of(run, scenario)
    defended = parts.make("defense", lambda: _defended(witness), None)
    return _Looks(witness, ways_of(witness, defended), defended)


def _defended(witness: Witness) -> Defended:
    """Return the client's defense; raises `AbsentError` if it needs more classes than the client has."""
    client, matching_way = witness.after, witness.config.matching_way
    defense = client.measurement.defense.remedy()
    needed, held = defense.classes_needed(matching_way=matching_way), len(client.holdings)
    if needed > held:
        asks = f"matching-way = {needed}" if needed == matching_way else f"the defense, with {needed},"
        raise AbsentError(f"{asks} asks for more classes than the {held} of client {witness.client}")
    return Defended(defense, defense.in_use(client.model, client.measurement.context))


def _episodes(looks: _Looks) -> tuple[ExampleEpisode, ...]:
    numbers = range(min(EPISODES, looks.witness.config.evaluate_episodes))
    return tuple(example_episode(looks.witness, looks.ways, number) for number in numbers)


def _projections(looks: _Looks, parts: Parts) -> tuple[Plot, ...]:
    """Return the poisoned model's, and the defended one's, or note why there is none."""
    poisoned = _projection(looks, undefended_network(looks.witness), "poisoned model")
    if looks.defended is None:
        return (poisoned,)
    defended = looks.defended
    return (poisoned, *parts.make("compared", lambda: _compared(looks, defended), ()))


def _compared(looks: _Looks, defended: Defended) -> tuple[Plot, ...]:
    if defended.compared is None:
        raise AbsentError(f"the defense ({defended.defense.label}) compares no features")
    title = ": ".join(filter(None, ("defended", local_steps_of(looks.ways.measurement, defended))))
    return (_projection(looks, defended.compared, title),)


def _projection(looks: _Looks, network: MatchingNetwork, title: str) -> Plot:
    plan = looks.ways.measurement.plan
    target = plan.attacked_episode(0).label_of(looks.witness.scenario.split.target_class)
    return projection_plot(project(plan, network, 0), title, target)


def _remarks(run: ShownRun) -> Iterator[str]:
    rounds, status = run.results.rounds, (run.results.end or {}).get("status")
    if status != "completed":
        how = "has not ended" if status is None else f"did not complete ({status})"
        reached = f"ends with round {rounds[-1].server_round}" if rounds else "has no round yet"
        yield f"The run {how}: its file {reached}, of {run.config['num-server-rounds']}."
    if rounds and not run.results.evaluated():
        yield "No round was evaluated: there are no accuracies."
    if missed := missed_attack(run.results):
        yield missed


def _timeline(run: ShownRun) -> tuple[Plot, ...]:
    records = run.results.rounds
    if not any(record.arrivals or record.dropped for record in records):
        return ()
    roles = recorded_roles(run.config)
    return arrivals_plot(records, roles), norms_plot(records, roles)
