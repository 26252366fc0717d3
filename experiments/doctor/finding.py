"""The result of a check."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "wrong"]
"""Fine; a run works, but is slower or not as expected; a run cannot work."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes
    ----------
    name : str
        What was checked.
    verdict : str
        ``"ok"``, ``"warning"`` or ``"wrong"``.
    found : str
        What was found.
    advice : str
        What to do about it; empty if there is nothing to do.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
