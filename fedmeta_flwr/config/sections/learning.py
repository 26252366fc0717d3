"""The settings of learning: episodes, network, and optimisers."""

from dataclasses import dataclass

from fedmeta_flwr.config.setting import name_of, options_of, setting


@dataclass(frozen=True, kw_only=True)
class EpisodeSettings:
    """The tasks of meta-training."""

    way: int = setting("Classes in an episode.", minimum=2)
    shot: int = setting("Support images per class.", minimum=1)
    query_shot: int = setting("Query images per class.", minimum=1)
    rotation_augmentation: bool = setting("Whether each class is rotated by a random multiple of 90 degrees.")


@dataclass(frozen=True, kw_only=True)
class MetaLearningSettings:
    """The network, and how a client trains it."""

    embedding: str = name_of(
        "embedding",
        "Network in front of the classifier head: four convolution blocks, with stride 2 (conv4, for drawings) or "
        "pooling (conv4-pool, for photos).",
    )
    embedding_options: str = options_of("embedding")
    filters: int = setting("Filters of each convolution.", minimum=1)
    batch_norm: str = setting(
        "Statistics that normalise a query: those of its query batch (transductive), or those of the support set.",
        choices=("transductive", "support"),
    )
    precision: str = setting(
        "Type of activations, and of what convolutions multiply; bfloat16 is faster on processors with AMX. Weights, "
        "statistics, and the steps of both loops stay in float32.",
        choices=("float32", "bfloat16"),
        absent="float32",
    )
    algorithm: str = setting("Meta-learning algorithm.", choices=("maml", "fomaml", "reptile"))
    inner_lr: float = setting("Learning rate of fine-tuning (plain SGD).", above=0)
    inner_steps: int = setting("Fine-tuning steps in an episode.", minimum=1)
    outer_optimizer: str = setting("Optimiser of the client's outer loop.", choices=("adam", "sgd"))
    outer_lr: float = setting("Learning rate of the outer loop.", above=0)
    meta_batch_size: int = setting("Episodes per outer step.", minimum=1)
    pretrain_outer_steps: int = setting("Outer steps of a client in a pre-training round.", minimum=1)
    outer_steps: int = setting("Outer steps of a benign client in every later round.", minimum=1)
