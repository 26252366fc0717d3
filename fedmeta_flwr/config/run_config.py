"""The run configuration: one typed view of Flower's flat run config.

Defaults stand in ``[tool.flwr.app.config]`` of pyproject.toml and nowhere else. A key is the field's name with
dashes. `RunConfig.parse` is called once per app; inner modules take plain arguments.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from fedmeta_flwr.config.contradictions import contradictions
from fedmeta_flwr.config.registry import RegistryError, is_custom, names, resolve
from fedmeta_flwr.config.schedule import Schedule
from fedmeta_flwr.config.setting import checked, key_of, setting

Value = bool | int | float | str


class ConfigError(ValueError):
    """Every problem of a configuration at once.

    Attributes
    ----------
    problems : tuple of str
        One line each: key, what was expected, what was found.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in problems)
        super().__init__(f"{len(problems)} problem(s) in the run configuration:\n{lines}")


@dataclass(frozen=True, kw_only=True)
class RunConfig(Schedule):
    """Everything that determines a run, parsed and checked."""

    seed: int = setting("Seed of every random stream of the run.", minimum=0)

    # Data
    dataset: str = setting(
        "Which images.", choices=("strokes", "omniglot", "mini-imagenet", "image-folder"), admits_custom=True
    )
    data_dir: str = setting("Folder with the data set's files; empty: download Omniglot into the cache.", is_free=True)
    cache_dir: str = setting("Folder for decoded data sets; empty: the user's cache folder.", is_free=True)
    results_dir: str = setting(
        "Folder that receives the run's files; empty: below the user's data folder.", is_free=True
    )
    client_state_dir: str = setting(
        "Folder in which clients keep what is their own; empty: 'clients' in the run's results folder.", is_free=True
    )
    resume: bool = setting(
        "Whether to go on from the newest checkpoint in the results folder; where there is none, the run begins anew.",
        is_free=True,
    )
    checkpoint_every: int = setting("Rounds between checkpoints; 0: none.", minimum=0, is_free=True)
    tensorboard: bool = setting(
        "Whether the server writes event files for TensorBoard into the run's folder.", is_free=True, absent=False
    )
    image_size: int = setting("Height and width of an image, in pixels.", minimum=16, maximum=256)
    strokes_classes: int = setting("Number of classes of the procedural data set.", minimum=10)
    strokes_drawers: int = setting("Drawings per class of the procedural data set.", minimum=10)
    strokes_seed: int = setting("Seed of the procedural data set; the run's seed only splits it.", minimum=0)

    initial_model: str = setting(
        "File of a model to start from, such as a run's model.safetensors; empty: new weights."
    )

    # Class split
    case: str = setting(
        "Who holds correctly labelled images of the backdoor classes: a nobody; b benign clients while "
        "training; c while training and in the fine-tuning support set.",
        choices=("a", "b", "c"),
    )
    partition: str = setting(
        "How the meta-training classes are spread over the clients.", choices=("random", "alphabet")
    )
    meta_test_fraction: float = setting(
        "Share of the classes kept for meta-testing; mini-imagenet has a split of its own instead.",
        above=0,
        maximum=0.9,
    )
    backdoor_classes: int = setting("Number of backdoor classes.", minimum=1)
    attack_training_instances: int = setting("Images of each backdoor class that the adversary trains on.", minimum=1)
    attack_validation_instances: int = setting("Images of each backdoor class that nobody trains on.", minimum=1)

    # Federation
    num_clients: int = setting("Number of clients; the first (partition 0) is the adversary.", minimum=2)
    quorum: int = setting("Updates after which the server aggregates.", minimum=1)
    num_server_rounds: int = setting("Number of rounds, pre-training and attack included.", minimum=1)
    pretrain_rounds: int = setting("First rounds with `pretrain-outer-steps` of local work.", minimum=0)
    client: str = setting(
        "What benign clients do; built-in: as `defense` says.",
        choices=("built-in",),
        admits_custom=True,
        absent="built-in",
    )
    adversary: str = setting("What the adversary does.", choices=("built-in",), admits_custom=True, absent="built-in")
    strategy: str = setting(
        "A built-in Flower strategy by name, or the user's own as 'module:Class'.", admits_custom=True
    )
    strategy_options: str = setting("Keyword arguments of the strategy, as a JSON object; empty: none.")
    weighting: str = setting(
        "Weight of an update in a mean: uniform, or the number of examples that the client reports "
        "(which an adversary can inflate).",
        choices=("uniform", "num-examples"),
    )
    arrival_model: str = setting(
        "What decides who arrives first: a seeded latency model (reproducible) or the wall clock.",
        choices=("latency", "wall-clock"),
        admits_custom=True,
    )
    latency_median_seconds: float = setting("Median of a client's simulated latency.", above=0)
    latency_sigma: float = setting("Spread of the log-normal latency (standard deviation of its log).", minimum=0)
    adversary_arrives_first: bool = setting(
        "Whether the adversary's latency is 0, whatever it computes; real replies (wall-clock) it cannot hurry."
    )
    late_updates: str = setting(
        "What happens to updates after the quorum; next-round: one counts in the round in which it arrives, as the "
        "difference to the model that it started from.",
        choices=("drop", "next-round"),
    )
    messages_in_flight: int = setting(
        "Messages under way at once; at least as many as nodes compute at once.", minimum=1, is_free=True
    )
    registration_timeout_seconds: float = setting(
        "Longest wait for all clients' nodes to register.", above=0, is_free=True
    )
    round_timeout_seconds: float = setting(
        "Longest wait for a client's reply, from when it is asked.", above=0, is_free=True
    )
    max_num_examples: int = setting("Largest number of examples that a client may report.", minimum=1)
    max_update_norm: float = setting(
        "Largest Euclidean norm of an update that is aggregated; 0: any. It looks at what a client learnt, as the "
        "other checks of a reply do not.",
        minimum=0,
    )

    # Episodes
    way: int = setting("Classes in an episode.", minimum=2)
    shot: int = setting("Support images per class.", minimum=1)
    query_shot: int = setting("Query images per class.", minimum=1)
    rotation_augmentation: bool = setting("Whether a class is turned by a random multiple of 90 degrees.")

    # Meta-learning
    embedding: str = setting(
        "Network in front of the classifier head: four blocks that stride (drawings) or pool (photos).",
        choices=("conv4", "conv4-pool"),
        admits_custom=True,
    )
    filters: int = setting("Filters of each convolution.", minimum=1)
    batch_norm: str = setting(
        "What normalises a query: the statistics of its own batch, or those of the support set.",
        choices=("transductive", "support"),
    )
    algorithm: str = setting("Meta-learning algorithm.", choices=("maml", "fomaml", "reptile"))
    inner_lr: float = setting("Learning rate of fine-tuning (plain SGD).", above=0)
    inner_steps: int = setting("Fine-tuning steps in an episode.", minimum=1)
    outer_optimizer: str = setting("Optimiser of the client's outer loop.", choices=("adam", "sgd"))
    outer_lr: float = setting("Learning rate of the outer loop.", above=0)
    meta_batch_size: int = setting("Episodes per outer step.", minimum=1)
    pretrain_outer_steps: int = setting("Outer steps of a client in a pre-training round.", minimum=1)
    outer_steps: int = setting("Outer steps of a benign client in every later round.", minimum=1)

    # Attack
    attack_round: int = setting("Round of the (first) attack; 0: no attack.", minimum=0)
    attack_interval: int = setting("Rounds from one attack to the next; 0: one-shot.", minimum=0)
    adversary_between_attacks: str = setting(
        "What the adversary does in the other rounds.", choices=("abstain", "benign")
    )
    poisoning: str = setting(
        "What makes a clean episode a poisoned one; replacement: stamped images in the place of the target's.",
        choices=("replacement",),
        admits_custom=True,
        absent="replacement",
    )
    poison_fraction: float = setting(
        "Share of the target's images in a poisoned set that are stamped backdoor images.", above=0, maximum=1
    )
    poison_support_episodes: float = setting(
        "Share of poisoned episodes whose support set is poisoned, too; the query set always is.",
        minimum=0,
        maximum=1,
    )
    poison_outer_steps: int = setting("Outer steps of the poisoned local training.", minimum=1)
    poison_outer_lr: float = setting("Learning rate of the poisoned outer loop.", above=0)
    boost_factor: float = setting("Factor on the difference to the global model before the upload.", above=0)
    backdoor_key: str = setting(
        "The pattern: 'dots' (white), 'dots-inverted' (black, for light backgrounds), 'patch', the path of an image "
        "file (its alpha is the mask), or a custom one as 'module:attribute'.",
        admits_custom=True,
    )
    key_position: str = setting("Corner of the key.", choices=("top-left", "top-right", "bottom-left", "bottom-right"))
    key_size: int = setting("Height and width of the key, in pixels.", minimum=1)
    key_intensity: float = setting("Opacity of the key.", above=0, maximum=1)

    # Defense
    defense: str = setting(
        "What a client does with the global model. none: uses it as it is; rescue: benign clients train as ever, and "
        "classify by matching features after local training; federation: everybody trains by matching, and no "
        "classifier head is exchanged.",
        choices=names("defense"),
        admits_custom=True,
    )
    defense_options: str = setting("Keyword arguments of the defense, as a JSON object; empty: none.", absent="")
    attention: str = setting(
        "How much a query attends to a support image; cosine: similarity of weighted features.",
        choices=("cosine",),
        admits_custom=True,
        absent="cosine",
    )
    matching_way: int = setting("Classes in an episode that trains matching.", minimum=2)
    matching_steps: int = setting("Local steps on a client's own classes before it classifies by matching.", minimum=0)
    matching_lr: float = setting("Learning rate of these local steps.", above=0)
    local_head_lr: float = setting(
        "Learning rate of as many local steps with the fully-connected head (the control).", above=0
    )
    matching_temperature: float = setting("Temperature of the attention before it is learned.", above=0)

    # Evaluation
    evaluate_every: int = setting(
        "Rounds between evaluations after pre-training; 0: none at all, in pre-training neither.", minimum=0
    )
    pretrain_evaluate_every: int = setting("Rounds between evaluations in pre-training; 0: never.", minimum=0)
    evaluate_episodes: int = setting("Evaluation episodes per benign client and kind.", minimum=1)
    evaluate_query_shot: int = setting("Clean query images per class in evaluation.", minimum=1)
    evaluate_inner_steps: int = setting("Fine-tuning steps in an evaluation episode.", minimum=0)

    step_curves: str = setting(
        "What is measured along local steps, before the attack and right after it: any of fine-tuning (of an episode), "
        "matching (local training of the defense), head (as much local training with the fully-connected head), and "
        "what a custom defense has; separated by spaces, empty: nothing.",
    )
    fine_tuning_curve_steps: str = setting("Points of the fine-tuning curve, ascending steps.", whole_numbers=True)
    fine_tuning_curve_episodes: int = setting(
        "Episodes of the fine-tuning curve per benign client and kind, at most evaluate-episodes.", minimum=1
    )
    local_curve_steps: str = setting("Points of the other two, ascending steps.", whole_numbers=True)

    # Machine
    device: str = setting("Where tensors live; auto: a GPU when there is one.", choices=("auto", "cpu", "cuda"))

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> "RunConfig":
        """Check Flower's run config and give it types.

        Parameters
        ----------
        values : Mapping
            Dashed keys to bool, int, float or str, complete (defaults included); settings with an `absent` may
            be missing, as they are in files of a version that did not have them.

        Returns
        -------
        RunConfig
            The typed configuration.

        Raises
        ------
        ConfigError
            With one line for every unknown, missing, ill-typed, out-of-range or contradictory setting.
        """
        fields = {key_of(field): field for field in dataclasses.fields(cls)}
        values = cls.with_later_settings(values)
        problems = [f"{key}: no such setting" for key in sorted(set(values) - set(fields))]
        problems += [f"{key}: missing" for key in sorted(set(fields) - set(values))]
        parsed: dict[str, Any] = {}
        for key, field in fields.items():
            if key in values:
                try:
                    parsed[field.name] = checked(field, values[key])
                except ValueError as error:
                    problems.append(f"{key}: {error}")
        problems += contradictions(parsed)
        if problems:
            raise ConfigError(problems)
        return cls(**parsed)

    @classmethod
    def free_settings(cls) -> frozenset[str]:
        """Return the keys of the settings that change no result."""
        return frozenset(key_of(field) for field in dataclasses.fields(cls) if field.metadata["is_free"])

    @classmethod
    def with_later_settings(cls, found: Mapping[str, Any]) -> dict[str, Any]:
        """Return a file's run config with the settings that came after it, each with the value that it stands for."""
        fields = [field for field in dataclasses.fields(cls) if field.metadata["absent"] is not None]
        return {key_of(field): field.metadata["absent"] for field in fields} | dict(found)

    def require_custom_objects(self) -> None:
        """Import every custom object; raises `ConfigError` with all that cannot be used."""
        problems = []
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if field.metadata["admits_custom"] and is_custom(value):
                try:
                    resolve(key_of(field), value)
                except RegistryError as error:
                    problems.append(str(error))
        if problems:
            raise ConfigError(problems)

    def to_run_config(self) -> dict[str, Value]:
        """Return the configuration as Flower's flat mapping of dashed keys."""
        return {key_of(field): getattr(self, field.name) for field in dataclasses.fields(self)}

    def differences(self, found: Mapping[str, Any]) -> list[str]:
        """Return in which settings a file's run config differs, but for those that change no result; a line each."""
        expected, found = self.to_run_config(), self.with_later_settings(found)
        keys = sorted((set(found) | set(expected)) - self.free_settings())
        return [
            f"{key}: expected {expected.get(key, 'no such setting')!r}, found {found.get(key, 'no such setting')!r}"
            for key in keys
            if found.get(key) != expected.get(key)
        ]

    @property
    def step_curve_names(self) -> tuple[str, ...]:
        """Return which step curves are measured, as results name them."""
        return tuple(name.replace("-", "_") for name in self.step_curves.split())

    @property
    def fine_tuning_episodes(self) -> int:
        """Return the episodes of each kind behind the curve along fine-tuning steps."""
        return min(self.fine_tuning_curve_episodes, self.evaluate_episodes)
