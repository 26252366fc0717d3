"""The output of a command: text for people, or, with ``--json``, one JSON document on standard output."""

import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console, RenderableType

Document = dict[str, Any]
STATUS = {0: "completed", 1: "failed", 2: "bad-input"}
"""Meanings of exit codes; any other code is that of an interruption."""


@dataclass
class Output:
    """Where a command prints its results.

    Attributes
    ----------
    command : str
        Its name.
    as_json : bool
        Whether standard output is for one JSON document; everything else then goes to standard error.
    document : dict
        The command's results so far; printed when the command ends, however it ends.
    """

    command: str
    as_json: bool = False
    document: Document = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Escape file names that are not valid text when they are printed, as standard error always does."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")

    @property
    def console(self) -> Console:
        """Return the console for lines of any length for people."""
        return Console(stderr=self.as_json, highlight=False, soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """Print a table, fitted to the terminal's width; with ``--json`` nothing, as the document has its numbers."""
        if not self.as_json:
            Console(highlight=False).print(renderable)

    @contextmanager
    def kept_clean(self) -> Iterator[None]:
        """With ``--json``, redirect to standard error everything that is printed in the block."""
        if self.as_json:
            with redirect_stdout(sys.stderr):
                yield
        else:
            yield

    def hand_over(self, exit_code: int, error: str | None) -> None:
        """Print the document; without ``--json``, nothing."""
        if self.as_json:
            status = STATUS.get(exit_code, "interrupted")
            envelope = {"command": self.command, "status": status, "exit_code": exit_code, "error": error}
            print(json.dumps(envelope | self.document, indent=1, ensure_ascii=False, allow_nan=False))
