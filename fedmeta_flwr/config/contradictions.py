"""Settings that are valid one by one but not together.

The parameters of a rule are the settings that it checks. A rule is applied if each of these is valid by itself, even if
other settings are not: so all problems of a configuration are reported at once. A rule may also take `made_defense`,
the defense that the settings name, and `known_curves`, the names of the step curves that it allows.

A custom defense is not made here, because settings are also read from result files of others.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from fedmeta_flwr.config.registry import RegistryError, is_custom, resolve
from fedmeta_flwr.config.schedule import attack_length


def contradictions(values: Mapping[str, Any]) -> list[str]:
    """Return the contradictions between settings, one line each.

    Parameters
    ----------
    values : mapping of str to value
        The settings that are valid by themselves: field of `RunConfig` to its value.
    """
    if {"defense", "defense_options"} <= values.keys() and (
        made := _made(values["defense"], values["defense_options"])
    ):
        curves_of = resolve("defense", "fedmeta_flwr.defenses.step_curves:curves_of")
        values = {**values, "made_defense": made, "known_curves": tuple(curves_of(made))}
    return _broken(_RULES, values)


def defense_contradictions(values: Mapping[str, Any], made_defense: Any, known_curves: Iterable[str]) -> list[str]:
    """Return the contradictions of settings with a custom defense, one line each.

    Parameters
    ----------
    values : mapping of str to value
        All settings: field of `RunConfig` to its value.
    made_defense : Defense
        The defense that they name.
    known_curves : iterable of str
        The names of the step curves that it allows.
    """
    return _broken(_DEFENSE_RULES, {**values, "made_defense": made_defense, "known_curves": tuple(known_curves)})


def _broken(rules: Iterable[Callable[..., str | None]], values: Mapping[str, Any]) -> list[str]:
    problems = []
    for rule in rules:
        names = inspect.signature(rule).parameters
        if names.keys() <= values.keys() and (problem := rule(**{name: values[name] for name in names})):
            problems.append(problem)
    return problems


def _quorum_of_clients(*, quorum: int, num_clients: int) -> str | None:
    if quorum <= num_clients:
        return None
    return f"quorum: expected at most num-clients = {num_clients}, found {quorum}"


def _adversaries_among_clients(*, num_adversaries: int, num_clients: int) -> str | None:
    if num_adversaries < num_clients:
        return None
    return f"num-adversaries: expected fewer than num-clients = {num_clients}, found {num_adversaries}"


def _quorum_without_adversaries(
    *, quorum: int, num_clients: int, num_adversaries: int, adversary_between_attacks: str
) -> str | None:
    others = num_clients - num_adversaries
    is_reported_elsewhere = quorum > num_clients or others < 1
    if adversary_between_attacks != "abstain" or quorum <= others or is_reported_elsewhere:
        return None
    return (
        f"quorum: expected at most num-clients - num-adversaries = {others} while adversaries abstain between attacks, "
        f"found {quorum}"
    )


def _attack_images_for_each(
    *, attack_images: str, num_adversaries: int, backdoor_classes: int, attack_training_instances: int
) -> str | None:
    images = backdoor_classes * attack_training_instances
    if attack_images == "shared" or num_adversaries <= images:
        return None
    return (
        f"num-adversaries: expected at most backdoor-classes * attack-training-instances = {images} where "
        f"attack-images = 'divided', found {num_adversaries}"
    )


def _pretraining_within_run(*, pretrain_rounds: int, num_server_rounds: int) -> str | None:
    if pretrain_rounds <= num_server_rounds:
        return None
    return f"pretrain-rounds: expected at most num-server-rounds = {num_server_rounds}, found {pretrain_rounds}"


def _attack_within_run(*, attack_round: int, num_server_rounds: int) -> str | None:
    if attack_round <= num_server_rounds:
        return None
    return f"attack-round: expected at most num-server-rounds = {num_server_rounds}, found {attack_round}"


def _attacks_in_turn_within_run(
    *, attack_order: str, attack_round: int, num_adversaries: int, num_server_rounds: int
) -> str | None:
    last = attack_round + attack_length(attack_order, num_adversaries) - 1
    is_reported_elsewhere = attack_round > num_server_rounds
    if attack_round == 0 or last <= num_server_rounds or is_reported_elsewhere:
        return None
    latest = num_server_rounds - num_adversaries + 1
    return (
        f"attack-round: expected at most num-server-rounds - num-adversaries + 1 = {latest} where "
        f"attack-order = 'in-turn', found {attack_round}"
    )


def _interval_of_attacks_in_turn(*, attack_order: str, attack_interval: int, num_adversaries: int) -> str | None:
    if attack_interval == 0 or attack_interval >= attack_length(attack_order, num_adversaries):
        return None
    return (
        f"attack-interval: expected 0 or at least num-adversaries = {num_adversaries} where attack-order = 'in-turn', "
        f"found {attack_interval}"
    )


def _attack_after_pretraining(*, attack_round: int, pretrain_rounds: int) -> str | None:
    if not 0 < attack_round <= pretrain_rounds:
        return None
    return f"attack-round: expected 0 or more than pretrain-rounds = {pretrain_rounds}, found {attack_round}"


def _made(defense: str, defense_options: str) -> Any:
    """Return the defense; None if it is custom or cannot be made, which `_defense` reports."""
    if is_custom(defense):
        return None
    try:
        return resolve("defense", "fedmeta_flwr.defenses:make_defense")(defense, defense_options)
    except RegistryError:
        return None


def _defense(*, defense: str, defense_options: str) -> str | None:
    """Return why a built-in defense cannot be made."""
    if is_custom(defense):
        return None
    try:
        resolve("defense", "fedmeta_flwr.defenses:make_defense")(defense, defense_options)
    except RegistryError as error:
        return str(error)
    return None


def _curves_of_the_defense(
    *, made_defense: Any, known_curves: tuple[str, ...], defense: str, step_curves: str
) -> str | None:
    if not (unknown := [name for name in step_curves.split() if name not in known_curves]):
        return None
    known = ", ".join(known_curves) or "none"
    if made_defense.has_head:
        return f"step-curves: expected any of {known}, found {', '.join(map(repr, unknown))}"
    found = ", ".join(sorted(set(unknown)))
    return f"step-curves: expected only {known} where defense = {defense!r} (there is no head), found {found}"


def _examples_of_training(
    *,
    made_defense: Any,
    way: int,
    shot: int,
    query_shot: int,
    matching_way: int,
    meta_batch_size: int,
    pretrain_outer_steps: int,
    outer_steps: int,
    poison_outer_steps: int,
    max_num_examples: int,
) -> str | None:
    most_steps = max(outer_steps, pretrain_outer_steps, poison_outer_steps)
    classes = made_defense.classes_per_step(way=way, meta_batch_size=meta_batch_size, matching_way=matching_way)
    return _too_many_examples(most_steps * classes * (shot + query_shot), "(the adversary included)", max_num_examples)


def _examples_of_evaluation(
    *, way: int, evaluate_every: int, evaluate_episodes: int, evaluate_query_shot: int, max_num_examples: int
) -> str | None:
    evaluated = evaluate_episodes * way * evaluate_query_shot if evaluate_every else 0
    return _too_many_examples(evaluated, "of an evaluation", max_num_examples)


def _too_many_examples(examples: int, which: str, max_num_examples: int) -> str | None:
    if examples <= max_num_examples:
        return None
    return (
        f"max-num-examples: expected at least {examples}, which these settings make a client report {which}, "
        f"found {max_num_examples}"
    )


def _curves_without_evaluation(*, evaluate_every: int, step_curves: str) -> str | None:
    if evaluate_every or not step_curves:
        return None
    return f"step-curves: expected none where evaluate-every = 0, found {step_curves!r}"


def _key_within_image(*, key_size: int, image_size: int) -> str | None:
    if key_size <= image_size:
        return None
    return f"key-size: expected at most image-size = {image_size}, found {key_size}"


_DEFENSE_RULES = (_curves_of_the_defense, _examples_of_training)

_RULES = (
    _quorum_of_clients,
    _adversaries_among_clients,
    _quorum_without_adversaries,
    _attack_images_for_each,
    _pretraining_within_run,
    _attack_within_run,
    _attacks_in_turn_within_run,
    _interval_of_attacks_in_turn,
    _attack_after_pretraining,
    _defense,
    *_DEFENSE_RULES,
    _examples_of_evaluation,
    _curves_without_evaluation,
    _key_within_image,
)
