"""The hooks listed in mkdocs.yml; MkDocs calls them by name."""

from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from mkdocs_hooks import api_pages, command_line, links, settings_page

ROOT = Path(__file__).resolve().parent.parent
REPOSITORY_PAGES = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages of the site whose files are outside ``docs/``."""


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Turn ``math`` fences, which GitHub shows as formulas, into MathML, which browsers draw without a script."""
    fences = config.mdx_configs.setdefault("pymdownx.superfences", {}).setdefault("custom_fences", [])
    fences.append({"name": "math", "class": "math", "format": _formula})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages, and those whose files are outside ``docs/``."""
    generated = {
        "configuration.md": settings_page.text(ROOT),
        "command-line.md": command_line.text(),
        **api_pages.texts(ROOT),
    }
    for uri, text in generated.items():
        files.append(File.generated(config, uri, content=text))
    for uri, name in REPOSITORY_PAGES.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Adapt links to the site, and link names of settings to the configuration reference."""
    uri = page.file.src_uri
    pages = {name: page_uri for page_uri, name in REPOSITORY_PAGES.items()}
    source = links.Source(
        root=ROOT,
        file=REPOSITORY_PAGES.get(uri, f"docs/{uri}"),
        page=uri,
        pages=pages | api_pages.pages_of_modules(ROOT),
        repository=str(config.repo_url or ""),
    )
    linked = links.rewritten(markdown, source)
    return linked if uri == "configuration.md" else links.with_settings(linked, settings_page.keys(), source)


@event_priority(-100)  # after the search plugin
def on_post_build(config: MkDocsConfig) -> None:
    """Also write the search index where the theme's script needs it on pages opened from disk."""
    folder = Path(config.site_dir) / "search"
    index = (folder / "search_index.json").read_text(encoding="utf-8")
    (folder / "search_index.js").write_text(f"var __index = {index}", encoding="utf-8")


def _formula(source: str, *_: Any, **__: Any) -> str:
    return f'<div class="formula">{convert(source, display="block")}</div>'
