"""Which files of a data folder or an archive are read, for all loaders.

Files that operating systems, file servers and notebooks leave behind are skipped. Here, the suffix of a file decides
whether it is an image; later, the decoder checks its content.
"""

from pathlib import PurePath, PurePosixPath

_SKIPPED = frozenset(
    {
        *("__macosx", "icon\r", "thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "picasa.ini"),
        *("$recycle.bin", "system volume information", "lost+found", "@eadir", "#recycle", "#snapshot"),
        *("@recycle", "@recently-snapshot", "__pycache__"),
    }
)

PHOTO_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP", "AVIF", "JPEG2000", "PPM")
"""Pillow's names of the formats that are read; its other decoders are never used. An MPO file is also a JPEG file."""

_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo"),
        *(".png", ".apng", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".avif"),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"),
        *(".heic", ".heif", ".hif", ".jxl"),  # photos that Pillow cannot read: reported as errors, not skipped
    }
)


def is_skipped(name: str) -> bool:
    """Return whether a file or folder is hidden (``.ipynb_checkpoints``) or system clutter (``Thumbs.db``).

    Parameters
    ----------
    name
        A name, or a path with ``/``; it is skipped if any part of it is. Upper and lower case are treated alike.
    """
    return any(
        part.casefold() in _SKIPPED or (part.startswith(".") and part != "..") for part in PurePosixPath(name).parts
    )


def is_photo(name: str) -> bool:
    """Return whether a file has the suffix of an image, in upper or lower case, and is not skipped."""
    return PurePath(name).suffix.lower() in _SUFFIXES and not is_skipped(PurePath(name).name)
