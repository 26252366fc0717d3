"""A part of the page, or the reason why it is missing; the rest of the page is made in any case.

Runs may name custom code that is not here any more, data that have moved, or settings of another version; and custom
code may fail in any way. This is the only place that decides what becomes of it.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

from experiments.analysis.redaction import without_folders
from fedmeta_flwr.records.failure import is_of_project

_LOG = logging.getLogger(__name__)

_T = TypeVar("_T")
_Other = TypeVar("_Other")


class AbsentError(ValueError):
    """Something that a part of the report needs is missing; the message says what and where, for the page."""


def part_or_reason(make: Callable[[], _T], instead: _Other, *folders: str) -> tuple[_T | _Other, str]:
    """Return a part of the page, or the reason why it cannot be made.

    Parameters
    ----------
    make : callable
        Makes the part.
    instead : object
        Its replacement otherwise, such as an empty tuple.
    *folders : str
        Folders and files of which the reason must not tell where they lie, also if there are spaces in their names.

    Returns
    -------
    object
        The part, or `instead`.
    str
        Why there is no part, to be put behind a colon; empty where there is one. Of folders it tells the last part
        only: a page that is passed on need not tell where they lie.
    """
    try:
        return make(), ""
    except Exception as error:  # whatever custom code raises
        reason = without_folders(_reason(error), *folders)
        if not isinstance(error, ValueError):  # a defect, of custom code or of this project
            _LOG.warning("report: left out: %s", reason, exc_info=error)
        return instead, reason


def _reason(error: Exception) -> str:
    """Return the message of an exception, with its class unless it is one of the project's errors for people."""
    text = str(error).strip().rstrip(".")
    if isinstance(error, ValueError) and is_of_project(error):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


class Parts:
    """Makes parts of a page, and collects the reasons for those that cannot be made.

    Attributes
    ----------
    folders : tuple of str
        As in `part_or_reason`.
    left_out : dict of str to str
        Reason for which each part is left out, by name; empty if it is not.
    """

    def __init__(self, *folders: str) -> None:
        self.folders = folders
        self.left_out: dict[str, str] = {}

    def make(self, name: str, make: Callable[[], _T], instead: _Other) -> _T | _Other:
        """Return a part, or its replacement; see `part_or_reason`."""
        part, self.left_out[name] = part_or_reason(make, instead, *self.folders)
        return part
