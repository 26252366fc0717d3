"""The table printed at the end of a run, its remark on the attack, and the table of the catalog."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from experiments.analysis.roles import recorded_attack, recorded_attackers
from experiments.catalog import EXPERIMENTS
from fedmeta_flwr.records import CURVES, LABELS, ResultsError, RoundRecord, RunResults


def milestones(results: RunResults) -> dict[str, RoundRecord]:
    """Return the evaluated rounds that summarise a run.

    Returns
    -------
    dict of str to RoundRecord
        ``before the attack``, ``right after`` (the last round of the first one), ``at the end``; without an attack only
        the end.

    Raises
    ------
    ResultsError
        If no round was evaluated.
    """
    evaluated = results.evaluated()
    if not evaluated:
        raise ResultsError("expected an evaluated round in the results, found none")
    rounds = recorded_attack(results.run["config"])
    before = [record for record in evaluated if record.server_round < rounds.start]
    attack = [record for record in evaluated if record.server_round in rounds[-1:]]
    found = {"before the attack": before[-1:], "right after": attack, "at the end": evaluated[-1:]}
    return {name: records[0] for name, records in found.items() if records}


def missed_attack(results: RunResults) -> str:
    """Return a sentence for each attack round in which no attack counted, and one if the run begins after the attack.

    An attack counts if an update of an adversary that was to attack in this round was aggregated in it.
    """
    config = results.run["config"]
    attack_round = config["attack-round"]
    missed = []
    if attack_round and results.rounds and (first := results.rounds[0].server_round) > attack_round:
        missed.append(f"The attack of round {attack_round} did not take place: the run begins with round {first}.")
    for record in results.rounds:
        planned = recorded_attackers(config, record.server_round)
        aggregated = [one.partition_id for one in record.arrivals if one.sent_in_round == record.server_round]
        if planned and record.arrivals and not set(planned).intersection(aggregated):
            reasons = [one.describe() for one in record.dropped if one.partition_id in planned]
            told = "; ".join(reasons) or "no update came"
            missed.append(f"The attack of round {record.server_round} did not count: {told}.")
    return " ".join(missed)


def results_table(results: RunResults) -> Table:
    """Return the accuracies at the milestones, in percent, one row each."""
    case = f" in case ({results.run['config']['case']})" if "cases" in results.run else ""
    table = Table(title=f"Accuracy{case}, %", title_justify="left", box=SIMPLE_HEAD)
    table.add_column(no_wrap=True)
    for heading in ("round", *(LABELS[curve] for curve in CURVES)):
        table.add_column(heading, justify="right", min_width=max(map(len, heading.split())))
    for name, record in milestones(results).items():
        table.add_row(name, str(record.server_round), *percentages(record).values())
    return table


def catalog_table() -> Table:
    """Return the experiments of the catalog: name, what it shows, claims, and runs of the full profile."""
    table = Table(box=SIMPLE_HEAD)
    for heading, whole in (("experiment", True), ("shows", False), ("claims", False), ("runs", False)):
        table.add_column(heading, no_wrap=whole)
    for experiment in EXPERIMENTS.values():
        table.add_row(experiment.name, experiment.text, " ".join(experiment.claims), " ".join(experiment.runs))
    return table


def percentages(record: RoundRecord) -> dict[str, str]:
    """Return the accuracies of an evaluated round as percent, one decimal, by curve."""
    return {curve: f"{100 * accuracy:.1f}" for curve, accuracy in (record.accuracies() or {}).items()}
