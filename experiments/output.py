"""What a command hands over: text for people, or, with ``--json``, one JSON document on standard output."""

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
"""What exit codes mean; any other is that of an interruption."""


@dataclass
class Output:
    """Where a command tells what.

    Attributes
    ----------
    command : str
        Its name.
    as_json : bool
        Whether standard output is for one JSON document; all else goes to standard error then.
    document : dict
        What the command has found so far; what is in it when the command ends, however it ends, is handed over.
    """

    command: str
    as_json: bool = False
    document: Document = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Let names of files be printed whose bytes are no text: escaped, as they always are on standard error."""
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")

    @property
    def console(self) -> Console:
        """Return where lines for people go, of any length."""
        return Console(stderr=self.as_json, highlight=False, soft_wrap=True)

    def show(self, renderable: RenderableType) -> None:
        """Print a table, fitted to the terminal's width; nothing with ``--json``, whose document has its numbers."""
        if not self.as_json:
            Console(highlight=False).print(renderable)

    @contextmanager
    def kept_clean(self) -> Iterator[None]:
        """Send to standard error what anything but `hand_over` prints, where standard output is for the document."""
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
