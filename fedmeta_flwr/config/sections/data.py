"""The settings of the data: the images, and who holds them."""

from dataclasses import dataclass

from fedmeta_flwr.config.setting import name_of, options_of, setting


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """The images, the model to start from, and the folders of files."""

    dataset: str = name_of("dataset", "Which images.")
    dataset_options: str = options_of("dataset")
    data_dir: str = setting(
        "Folder with the data set's files; empty: download Omniglot into the cache.", is_free=True, is_path=True
    )
    cache_dir: str = setting(
        "Folder for decoded data sets; empty: the user's cache folder.", is_free=True, is_path=True
    )
    results_dir: str = setting(
        "Folder for the run's files; empty: a folder below the user's data folder.", is_free=True, is_path=True
    )
    client_state_dir: str = setting(
        "Folder for the clients' private arrays; empty: 'clients' in the run's results folder.",
        is_free=True,
        is_path=True,
    )
    resume: bool = setting(
        "Whether to resume from the newest checkpoint in the results folder; if there is none, the run starts anew.",
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
        "File of a model to start from, such as a run's model.safetensors; empty: new weights.", is_path=True
    )


@dataclass(frozen=True, kw_only=True)
class ClassSplitSettings:
    """Who holds which classes, and which images adversaries have."""

    case: str = setting(
        "Where benign clients have correctly labelled images of the backdoor classes: a: nowhere; b: in training; "
        "c: in training and in the support sets of fine-tuning; bc: one run that is evaluated in both b and c, with a "
        "folder of results for each.",
        choices=("a", "b", "c", "bc"),
    )
    partition: str = setting(
        "How the meta-training classes are distributed over the clients.", choices=("random", "alphabet")
    )
    meta_test_fraction: float = setting(
        "Share of the classes that are kept for meta-testing; mini-imagenet has a predefined split instead.",
        above=0,
        maximum=0.9,
    )
    backdoor_classes: int = setting("Number of backdoor classes.", minimum=1)
    attack_training_instances: int = setting("Images of each backdoor class that adversaries train on.", minimum=1)
    attack_validation_instances: int = setting("Images of each backdoor class that nobody trains on.", minimum=1)
