"""The settings of the defense."""

from dataclasses import dataclass

from fedmeta_flwr.config.setting import name_of, options_of, setting


@dataclass(frozen=True, kw_only=True)
class DefenseSettings:
    """What clients do against a backdoor."""

    defense: str = name_of(
        "defense",
        "How a client uses the global model; none: as it is; fresh-head: with a new head, tuned on the support set of "
        "each episode; rescue: benign clients train as without a defense, and "
        "classify by matching features after local training; federation: all clients train by matching, and no "
        "classifier head is exchanged.",
    )
    defense_options: str = options_of("defense")
    attention: str = name_of(
        "attention",
        "How much a query attends to a support image; cosine: similarity of weighted features.",
        absent="cosine",
    )
    attention_options: str = options_of("attention")
    matching_way: int = setting("Classes in an episode that trains matching.", minimum=2)
    matching_steps: int = setting("Local steps on a client's own classes before it classifies by matching.", minimum=0)
    matching_lr: float = setting("Learning rate of these local steps.", above=0)
    local_head_lr: float = setting(
        "Learning rate of the same number of local steps with the fully-connected head (the control).", above=0
    )
    matching_temperature: float = setting("Initial temperature of the attention; it is learned.", above=0)
