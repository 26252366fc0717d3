"""Remove the folders of a machine from texts before publication.

A path in quotes may contain spaces. A path without quotes is taken to end at a space, so text after a space stays.
"""

import re
from pathlib import Path
from typing import Any

_QUOTED = re.compile(r"""(['"])(?:file://|~)?/[^'"\n]*/([^'"/\n]*)\1""")
_FOLDERS = re.compile(r"""(?:…|(?<!\w)file://|(?<![\w/.…~])~?)/(?:[^\s/'":,;()<>]+/)+""")


def without_folders(text: str, *known: str) -> str:
    """Return a text with absolute paths cut to their last part; `known` paths may contain spaces."""
    for path in map(Path, known):
        if path.is_absolute() and path.name:  # a relative path reveals nothing, and may be part of any word
            text = text.replace(f"{path}/", "…/").replace(str(path), f"…/{path.name}")
    return _FOLDERS.sub("…/", _QUOTED.sub(r"\1…/\2\1", text))


def record_without_folders(record: dict[str, Any], *known: str) -> dict[str, Any]:
    """Return the record of a round or of the end without folders in its reasons, which may name files of any node."""
    shown = {key: without_folders(one, *known) if isinstance(one, str) else one for key, one in record.items()}
    if dropped := record.get("dropped"):
        shown["dropped"] = [record_without_folders(drop, *known) for drop in dropped]
    return shown
