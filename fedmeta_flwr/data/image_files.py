"""Which files of a data folder or an archive are looked at: the one place that says so, for every loader.

What operating systems, file servers and notebooks leave behind is skipped; what is an image is told by its suffix here,
and by its content where it is decoded.
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
"""Pillow's names of the formats that are read; its other decoders are not reached. An MPO file is a JPEG, too."""

_SUFFIXES = frozenset(
    {
        *(".jpg", ".jpeg", ".jpe", ".jfif", ".jif", ".pjpeg", ".pjp", ".mpo"),
        *(".png", ".apng", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".avif"),
        *(".jp2", ".j2k", ".j2c", ".jpc", ".jpf", ".jpx", ".ppm", ".pgm", ".pbm", ".pnm"),
        *(".heic", ".heif", ".hif", ".jxl"),  # photos that Pillow does not read: refused by name rather than left out
    }
)


def is_skipped(name: str) -> bool:
    """Return whether a file or folder is hidden (``.ipynb_checkpoints``) or system clutter (``Thumbs.db``).

    Parameters
    ----------
    name
        A name, or a path with ``/`` of which any part may be skipped. Upper and lower case are the same.
    """
    return any(
        part.casefold() in _SKIPPED or (part.startswith(".") and part != "..") for part in PurePosixPath(name).parts
    )


def is_photo(name: str) -> bool:
    """Return whether a file is an image by its suffix, in upper or lower case, and is not skipped."""
    return PurePath(name).suffix.lower() in _SUFFIXES and not is_skipped(PurePath(name).name)
