"""Estimate the time of the remaining rounds from the finished ones."""

from statistics import fmean

from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records import RoundRecord

RECENT_ROUNDS = 10


def remaining_seconds(config: RunConfig, rounds: tuple[RoundRecord, ...], current_seconds: float = 0.0) -> float | None:
    """Estimate the time of the remaining rounds; None before the first round without step curves has ended.

    The current round has taken `current_seconds` so far; if that is longer than expected, it is taken to end now.

    Rounds differ by phase and by whether they end with an evaluation. If there were rounds of the same kind, the
    estimate is the mean of the last ones. Otherwise it is the number of outer steps times the mean time of a step so
    far, plus, for an evaluation, the mean extra time of evaluated rounds. Rounds with curves along local steps do not
    count in these means; another such round is taken to last as long as the last one.
    """
    curved = [record for record in rounds if _has_curves(config, record.server_round)]
    last_curved = curved[-1].seconds if curved else 0.0
    last_round = rounds[-1].server_round if rounds else 0
    rounds = tuple(record for record in rounds if record not in curved)
    if not rounds:
        return None
    seen: dict[tuple[str, bool], list[float]] = {}
    for record in rounds:
        seen.setdefault((record.phase, bool(record.evaluation)), []).append(record.seconds)
    costs = {kind: fmean(seconds[-RECENT_ROUNDS:]) for kind, seconds in seen.items()}
    evaluation = _evaluation_seconds(costs)
    trained = sum(record.seconds - evaluation * bool(record.evaluation) for record in rounds)
    per_step = max(0.0, trained) / sum(_outer_steps(config, record.server_round) for record in rounds)

    def cost(server_round: int) -> float:
        is_evaluated = config.is_evaluated(server_round)
        guess = per_step * _outer_steps(config, server_round) + evaluation * is_evaluated
        usual = costs.get((config.phase(server_round), is_evaluated), guess)
        return max(usual, last_curved) if _has_curves(config, server_round) else usual

    costs_to_come = [cost(number) for number in range(last_round + 1, config.num_server_rounds + 1)]
    return max(0.0, costs_to_come[0] - current_seconds) + sum(costs_to_come[1:]) if costs_to_come else 0.0


def awaits_first_curves(config: RunConfig, rounds: tuple[RoundRecord, ...]) -> bool:
    """Return whether rounds with curves along local steps remain, and none has been timed yet."""
    last_round = rounds[-1].server_round if rounds else 0
    to_come = any(_has_curves(config, number) for number in range(last_round + 1, config.num_server_rounds + 1))
    return to_come and not any(_has_curves(config, record.server_round) for record in rounds)


def _has_curves(config: RunConfig, server_round: int) -> bool:
    return bool(config.step_curve_names) and config.has_step_curves(server_round)


def _evaluation_seconds(costs: dict[tuple[str, bool], float]) -> float:
    phases = {phase for phase, _ in costs if (phase, True) in costs and (phase, False) in costs}
    differences = [costs[phase, True] - costs[phase, False] for phase in phases]
    return max(0.0, fmean(differences)) if differences else 0.0


def _outer_steps(config: RunConfig, server_round: int) -> int:
    benign = config.benign_outer_steps(server_round)
    return max(benign, config.poison_outer_steps) if config.is_attack(server_round) else benign
