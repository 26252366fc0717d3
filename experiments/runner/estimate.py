"""How long the rounds to come will take, by those that have ended."""

from statistics import fmean

from fedmeta_flwr.config import RunConfig
from fedmeta_flwr.records.results import RoundRecord

RECENT_ROUNDS = 10


def remaining_seconds(config: RunConfig, rounds: tuple[RoundRecord, ...], current_seconds: float = 0.0) -> float | None:
    """Estimate the time of the rounds to come, None before the first ordinary one has ended.

    The first of them has been going on for `current_seconds`; if that is longer than expected, it is about to end.

    Rounds differ by phase and by whether they end with an evaluation. A kind that was seen already costs what its
    last rounds took. Another costs its outer steps, at the mean price of a step so far, and an evaluation what
    evaluated rounds took more than others of their phase. Rounds with curves along local steps tell nothing of others,
    and the second of them costs what the first did.
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
    """Return whether curves along local steps are to come, and none tell yet what they take."""
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
