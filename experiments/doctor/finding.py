"""What a check has found."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "warning", "wrong"]
"""Fine; runs, but slower or not as expected; cannot run."""


@dataclass(frozen=True)
class Finding:
    """One line of the doctor's report.

    Attributes
    ----------
    name : str
        What was looked at.
    verdict : str
        ``"ok"``, ``"warning"`` or ``"wrong"``.
    found : str
        What is there.
    advice : str
        What to do about it; empty where there is nothing to do.
    """

    name: str
    verdict: Verdict
    found: str
    advice: str = ""
