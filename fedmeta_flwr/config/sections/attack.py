"""The settings of the attack."""

from dataclasses import dataclass

from fedmeta_flwr.config.setting import name_of, options_of, setting


@dataclass(frozen=True, kw_only=True)
class AttackSettings:
    """When adversaries attack, and how."""

    attack_round: int = setting("Round of the (first) attack; 0: no attack.", minimum=0)
    attack_interval: int = setting("Rounds from one attack to the next; 0: one-shot.", minimum=0)
    attack_order: str = setting(
        "Which adversaries attack when; together: all in each attack round, each with its share of the boost; in-turn: "
        "one in each round from the attack round on, in the order of partitions, with the whole boost.",
        choices=("together", "in-turn"),
        absent="together",
    )
    adversary_between_attacks: str = setting("What adversaries do in the other rounds.", choices=("abstain", "benign"))
    attack: str = name_of(
        "attack",
        "What adversaries upload in an attack round; model-replacement: a boosted update of poisoned local training; "
        "the others are described in the page 'Threat models and attacks'.",
        absent="model-replacement",
    )
    attack_options: str = options_of("attack")
    attack_layers: str = setting(
        "Layers that are added to the attack before its boost: a JSON object of their names (norm-bound, neurotoxin, "
        "or 'module:attribute') to their options, in the order in which they are applied; empty: none.",
        json_object=True,
        absent="",
    )
    attack_images: str = setting(
        "Whether all adversaries share the attack training images, or each has a part of them.",
        choices=("shared", "divided"),
        absent="shared",
    )
    poisoning: str = name_of(
        "poisoning",
        "How a clean episode is poisoned; replacement: stamped images replace some of the target's.",
        absent="replacement",
    )
    poisoning_options: str = options_of("poisoning")
    poison_fraction: float = setting(
        "Share of the target's images in a poisoned set that are replaced with stamped images.", above=0, maximum=1
    )
    poison_support_episodes: float = setting(
        "Share of poisoned episodes whose support set is also poisoned; the query set always is.",
        minimum=0,
        maximum=1,
    )
    poison_outer_steps: int = setting("Outer steps of the poisoned local training.", minimum=1)
    poison_outer_lr: float = setting("Learning rate of the poisoned outer loop.", above=0)
    poison_outer_lr_schedule: str = setting(
        "Whether the learning rate of the poisoned outer loop stays, or falls to 0 along half a cosine.",
        choices=("constant", "cosine"),
        absent="constant",
    )
    boost_factor: float = setting(
        "Factor on the difference to the global model before the upload, of all adversaries that attack in a round.",
        above=0,
    )
    backdoor_key: str = name_of(
        "backdoor-key",
        "The pattern: four dots, white or (for light backgrounds) black; a checker (for photos); or an image file, "
        "whose alpha channel is the mask.",
        admits_path=True,
    )
    backdoor_key_options: str = options_of("backdoor-key")
    key_position: str = setting("Corner of the key.", choices=("top-left", "top-right", "bottom-left", "bottom-right"))
    key_size: int = setting("Height and width of the key, in pixels.", minimum=1)
    key_intensity: float = setting("Opacity of the key.", above=0, maximum=1)
