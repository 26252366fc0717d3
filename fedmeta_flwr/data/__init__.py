"""The data: images of many classes, who holds which classes, and the episodes drawn from them."""

from fedmeta_flwr.data.archives import read_entries
from fedmeta_flwr.data.episodes import Episode, EpisodeError, sample_episode
from fedmeta_flwr.data.image_files import is_photo, is_skipped
from fedmeta_flwr.data.image_folder import load_image_folder
from fedmeta_flwr.data.loading import load_dataset
from fedmeta_flwr.data.mini_imagenet import load_mini_imagenet
from fedmeta_flwr.data.omniglot import load_omniglot
from fedmeta_flwr.data.photos import decode_photo, read_photo
from fedmeta_flwr.data.roles import Holdings, Roles
from fedmeta_flwr.data.safe_files import read_file
from fedmeta_flwr.data.split import ClassSplit, SplitError, SplitSizes, split_classes
from fedmeta_flwr.data.store import BuiltDataset, DatasetError, ImageDataset, default_cache_dir
from fedmeta_flwr.data.strokes import load_strokes

__all__ = [
    "BuiltDataset",
    "ClassSplit",
    "DatasetError",
    "Episode",
    "EpisodeError",
    "Holdings",
    "ImageDataset",
    "Roles",
    "SplitError",
    "SplitSizes",
    "decode_photo",
    "default_cache_dir",
    "is_photo",
    "is_skipped",
    "load_dataset",
    "load_image_folder",
    "load_mini_imagenet",
    "load_omniglot",
    "load_strokes",
    "read_entries",
    "read_file",
    "read_photo",
    "sample_episode",
    "split_classes",
]
