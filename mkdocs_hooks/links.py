"""Links of the documentation: they work in the repository as written, and are rewritten for the site."""

import posixpath
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

_FENCE = re.compile(r"^\s*(```|~~~)")
_LINK = re.compile(r"(?<!!)\[(?P<text>[^\]]+)\]\((?P<target>[^)\s]+)\)")
_IMAGE = re.compile(r"!\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")
_CODE = re.compile(r"(?<![\[`])`(?P<key>[a-z][a-z-]*)(?P<value> = [^`]+)?`(?![\]`])")


@dataclass(frozen=True)
class Source:
    """Where a page comes from, and where it may link to.

    Attributes
    ----------
    root : Path
        The repository.
    file : str
        The page's file in the repository.
    page : str
        The page in the site, as a path from its top.
    pages : mapping of str to str
        Pages of the site, with anchors, by path in the repository outside ``docs/``.
    repository : str
        Web address of the repository. Empty: it has none, and links to files that the site lacks become plain text.
    """

    root: Path
    file: str
    page: str
    pages: Mapping[str, str]
    repository: str

    def to(self, page: str) -> str:
        """Return the relative path from this page to another one of the site."""
        return posixpath.relpath(page, posixpath.dirname(self.page) or ".")


class LinkError(ValueError):
    """A link leads to a file that does not exist."""


def targets(markdown: str) -> list[str]:
    """Return the targets of all links and pictures outside of code blocks."""
    found: list[str] = []

    def note(line: str) -> str:
        found.extend(match["target"] for pattern in (_LINK, _IMAGE) for match in pattern.finditer(line))
        return line

    _outside_code(markdown, note)
    return found


def is_relative(target: str) -> bool:
    """Return whether a target is a file, relative to the page with the link."""
    return not re.match(r"[a-z]+:|#", target)


def rewritten(markdown: str, source: Source) -> str:
    """Return a page with its relative links as the site needs them.

    Raises
    ------
    LinkError
        If a link leads to a file that does not exist.
    """

    def link(match: re.Match[str]) -> str:
        text, target = match["text"], match["target"]
        if not is_relative(target):
            return match[0]
        where = _for_site(target, source)
        return f"[{text}]({where})" if where else text

    return _outside_code(markdown, lambda line: _LINK.sub(link, line))


def with_settings(markdown: str, keys: Collection[str], source: Source) -> str:
    """Return a page with every setting's name in code format linked to the configuration reference."""
    page = source.to("configuration.md")

    def link(match: re.Match[str]) -> str:
        return f"[{match[0]}]({page}#{match['key']})" if match["key"] in keys else match[0]

    return _outside_code(markdown, lambda line: line if line.startswith("#") else _CODE.sub(link, line))


def _for_site(target: str, source: Source) -> str:
    """Return the target of a relative link on the site; empty if there is none."""
    path, _, anchor = target.partition("#")
    named = posixpath.normpath(posixpath.join(posixpath.dirname(source.file), path))
    if named.startswith("docs/") and not (source.root / named).is_dir():  # a folder is no page
        return source.to(named.removeprefix("docs/")) + (f"#{anchor}" if anchor else "")
    if not (source.root / named).exists():
        raise LinkError(f"{source.file}: expected a link to a file of the repository, found {target!r}")
    if named in source.pages:
        return source.to(source.pages[named])
    return f"{source.repository.rstrip('/')}/blob/main/{named}" if source.repository else ""


def _outside_code(markdown: str, change: Callable[[str], str]) -> str:
    lines, is_code = [], False
    for line in markdown.splitlines():
        is_fence = bool(_FENCE.match(line))
        lines.append(line if is_code or is_fence else change(line))
        is_code ^= is_fence
    return "\n".join(lines)
