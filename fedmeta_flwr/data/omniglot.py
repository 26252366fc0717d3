"""Omniglot: 1623 handwritten characters of 50 alphabets, 20 drawings of each (Lake et al. 2015).

Both parts of the official release are read as one pool of classes, as the few-shot literature does.
"""

import logging
import re
import sys
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pooch
from numpy.typing import NDArray
from PIL import Image

from fedmeta_flwr.data.archives import content_digest, read_entries
from fedmeta_flwr.data.image_files import PHOTO_FORMATS, is_photo
from fedmeta_flwr.data.photos import open_image
from fedmeta_flwr.data.safe_files import list_folder, refuse_links
from fedmeta_flwr.data.store import BuiltDataset, DatasetError, ImageDataset, cache_key, cached_dataset, is_text

DOWNLOAD_URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python"
PART_MD5 = {
    "images_background": "68d2efa1b9178cc56df9314c21c6e718",
    "images_evaluation": "6b91aef0f799c5bb55b94e3f2daec811",
}
NUM_CHARACTERS = 1623

_LOADER_VERSION = 2  # version 1 left out files with suffixes other than .png
_DRAWING_MODE = "1"  # Pillow's name for 1 bit per pixel
_DRAWING_SIZE = (105, 105)
_LAYOUT = "<part>/<Alphabet>/characterNN/<id>_<drawer>.png"
_DRAWING_NAME = re.compile(r"[^/]+/(?P<alphabet>[^/]+)/(?P<character>character\d+)/\d+_(?P<drawer>\d+)\.\w+")

_logger = logging.getLogger(__name__)


def load_omniglot(data_dir: Path | None, cache_dir: Path, image_size: int = 28) -> ImageDataset:
    """Load all of Omniglot.

    Parameters
    ----------
    data_dir
        Folder with the two official parts, each as a zip archive (``images_background.zip``,
        ``images_evaluation.zip``) or unpacked. The archive is preferred if both exist; it need not be the official one.
        None downloads the official archives into ``<cache_dir>/downloads``.
    cache_dir
        Folder of decoded datasets.
    image_size
        Height and width to resize to, in pixels, 1 or above.

    Returns
    -------
    ImageDataset
        Images of shape (1623, 20, 1, image_size, image_size), where 0 is paper and 255 is ink. Classes are named
        ``<Alphabet>/characterNN``, sorted, and grouped by alphabet; instances are sorted by drawer.

    Raises
    ------
    DatasetError
        If a part is missing, damaged, empty, not in the official layout, or cannot be downloaded.

    Notes
    -----
    Source: B. M. Lake, R. Salakhutdinov, J. B. Tenenbaum, "Human-level concept learning through probabilistic
    program induction", Science 350, 2015.
    """
    if image_size < 1:
        raise DatasetError(f"expected an image size of 1 pixel or above for omniglot, found {image_size}")
    folder = _download(cache_dir / "downloads") if data_dir is None else data_dir
    try:
        sources = [_find_part(folder, part) for part in PART_MD5]
        key = cache_key(_LOADER_VERSION, image_size, *(content_digest(source) for source in sources))
        dataset = cached_dataset(cache_dir, "omniglot", key, lambda: _read_characters(sources, image_size))
    except OSError as error:
        raise DatasetError(f"expected folders and files that can be read, found: {error}") from error
    if dataset.num_classes != NUM_CHARACTERS:
        _logger.warning("%s holds %d characters, Omniglot has %d", folder, dataset.num_classes, NUM_CHARACTERS)
    return dataset


def _download(folder: Path) -> Path:
    for part, md5 in PART_MD5.items():
        url = f"{DOWNLOAD_URL}/{part}.zip"
        try:
            pooch.retrieve(url, f"md5:{md5}", fname=f"{part}.zip", path=folder, progressbar=sys.stderr.isatty())
        except (OSError, ValueError) as error:  # requests' errors are OSErrors; a wrong checksum is a ValueError
            raise DatasetError(
                f"expected to download {url} (md5 {md5}) into {folder} (in cache-dir), found: {error}. Without a "
                f"network, set data-dir to a folder with {' and '.join(f'{part}.zip' for part in PART_MD5)}, or use "
                'dataset="strokes", which needs no download'
            ) from error
    return folder


def _find_part(folder: Path, part: str) -> Path:
    archive, unpacked = folder / f"{part}.zip", folder / part
    refuse_links([archive, unpacked])
    if archive.is_file():
        return archive
    if unpacked.is_dir():
        return unpacked
    raise DatasetError(f"expected {archive.name} or {part}/ in data-dir {folder}, found: {list_folder(folder)}")


def _read_characters(sources: Sequence[Path], image_size: int) -> BuiltDataset:
    """Decode the drawings of all parts into one array."""
    characters: dict[tuple[str, str], dict[int, NDArray[np.uint8]]] = defaultdict(dict)
    for source in sources:
        is_empty = True
        for name, content in read_entries(source):
            if not is_photo(name):
                continue
            is_empty = False
            place = f"{name!r} in {source}"
            alphabet, character, drawer = _parse_name(name, place)
            drawings = characters[alphabet, character]
            if drawer in drawings:
                raise DatasetError(f"expected one drawing of a character per drawer, found another: {place}")
            drawings[drawer] = _decode(content, image_size, place)
        if is_empty:
            raise DatasetError(f"expected drawings named {_LAYOUT}, found none in {source}")
    _check_counts(characters, sources)
    order = sorted(characters)
    images = np.stack([[characters[key][drawer] for drawer in sorted(characters[key])] for key in order])
    names = tuple(f"{alphabet}/{character}" for alphabet, character in order)
    return BuiltDataset(images[:, :, None], names, tuple(alphabet for alphabet, _ in order))


def _parse_name(name: str, place: str) -> tuple[str, str, int]:
    match = _DRAWING_NAME.fullmatch(name)
    if match is None or not is_text(name):
        raise DatasetError(f"expected drawings named {_LAYOUT}, in UTF-8, found {place}")
    return match["alphabet"], match["character"], int(match["drawer"])


def _decode(content: bytes, image_size: int, place: str) -> NDArray[np.uint8]:
    """Return one drawing, resized, with bright ink.

    It is resized by Lanczos, as in learn2learn's Omniglot benchmarks: this filter averages over all pixels that shrink
    into one, and keeps thin strokes sharper than plain area averaging. Pillow resizes 1-bit images without any filter,
    so the drawing is converted to 8 bits first.
    """
    with open_image(content, PHOTO_FORMATS, place) as drawing:
        if drawing.size != _DRAWING_SIZE or drawing.mode != _DRAWING_MODE:
            raise DatasetError(
                f"expected a drawing of size {_DRAWING_SIZE} and mode {_DRAWING_MODE!r}, found size "
                f"{drawing.size} and mode {drawing.mode!r}: {place}"
            )
        grey = drawing.convert("L").resize((image_size, image_size), Image.Resampling.LANCZOS)
    return np.uint8(255) - np.asarray(grey, dtype=np.uint8)


def _check_counts(characters: dict[tuple[str, str], dict[int, NDArray[np.uint8]]], sources: Sequence[Path]) -> None:
    places = " and ".join(str(source) for source in sources)
    counts = Counter(len(drawings) for drawings in characters.values())
    usual = max(counts, key=lambda count: (counts[count], count))
    for (alphabet, character), drawings in sorted(characters.items()):
        if len(drawings) != usual:
            raise DatasetError(
                f"expected {usual} drawings of each character, as most have, found {len(drawings)} of "
                f"{alphabet}/{character} in {places}"
            )
