"""The documentation against the code: commands parse, settings exist, links lead somewhere, references are complete."""

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from click import Context, Group
from conftest import ROOT, default_values
from flwr.serverapp.strategy import FedAvg
from typer.main import get_command

from experiments.cli.commands import app
from experiments.settings import parse_override
from mkdocs_hooks import api_pages, command_line, links, settings_page
from strategies import FirstArrivals

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
_COMMAND = re.compile(r"python -m experiments (?P<arguments>[^`#\n]*)")
_PLACEHOLDERS = {"NAME": "update"}


def commands_in(text: str) -> list[str]:
    """Return the arguments of every complete command line; lines that a backslash continues are joined."""
    joined = re.sub(r"\\\n\s*", "", text)
    # In running text a command may continue on the next line.
    spans = [re.sub(r"\s+", " ", span) for span in re.findall(r"(?<!`)`(python -m experiments [^`]+)`", joined)]
    blocks = re.findall(r"^```\n(.*?)^```", joined, re.DOTALL | re.MULTILINE)
    return [match["arguments"].strip() for part in [*spans, *blocks] for match in _COMMAND.finditer(part)]


def parse(arguments: str) -> Context:
    """Parse as the command line would, and run nothing."""
    group = get_command(app)
    assert isinstance(group, Group)
    words = [_PLACEHOLDERS.get(word, word) for word in shlex.split(arguments)]
    context = group.make_context("python -m experiments", words)
    rest = [*context._protected_args, *context.args]
    name, command, remaining = group.resolve_command(context, rest)
    assert command is not None
    is_mention = not remaining  # of the command itself, as in a changelog
    return command.make_context(name, remaining, parent=context, resilient_parsing=is_mention)


COMMANDS = sorted({(page.name, arguments) for page in PAGES for arguments in commands_in(page.read_text("utf-8"))})


def test_the_documentation_has_commands() -> None:
    names = {arguments.split()[0] for _, arguments in COMMANDS}
    assert {"quickstart", "run", "reproduce", "figures", "claims", "catalog", "bench"} <= names


@pytest.mark.parametrize(("page", "arguments"), COMMANDS)
def test_every_command_of_the_documentation_parses_and_sets_what_exists(page: str, arguments: str) -> None:
    if arguments == "--help":
        return
    overrides = parse(arguments).params.get("overrides") or ()
    unknown = {parse_override(override)[0] for override in overrides} - settings_page.keys()
    assert not unknown, f"{page}: {arguments}"


@pytest.mark.parametrize("arguments", ["run quickstart --no-such-option", "bench walk", "no-such-command"])
def test_a_command_that_does_not_exist_is_noticed(arguments: str) -> None:
    with pytest.raises(Exception, match=r"No such|is not one of"):
        parse(arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_every_setting_that_a_page_assigns_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    assigned = set(re.findall(r"-c '?([a-z][a-z-]*)=", text))
    assigned |= set(re.findall(r"(?<!`)`([a-z]+(?:-[a-z]+)+) = [^`]+`", text))
    assert assigned <= settings_page.keys()


def test_every_configuration_file_that_a_page_shows_has_settings_that_exist() -> None:
    blocks = [
        tomllib.loads(block)
        for page in PAGES
        for block in re.findall(r"^```toml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE)
    ]
    settings = {
        key for block in blocks if not any(isinstance(value, dict) for value in block.values()) for key in block
    }
    assert settings
    assert settings - {"partition-id"} <= settings_page.keys()  # which is of a node's configuration


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.name))
def test_every_relative_link_leads_to_a_file(page: Path) -> None:
    generated = {f"docs/{uri}" for uri in ("configuration.md", "command-line.md", *api_pages.texts(ROOT))}
    for target in filter(links.is_relative, links.targets(page.read_text("utf-8"))):
        path = (page.parent / target.partition("#")[0]).resolve()
        assert path.exists() or str(path.relative_to(ROOT)) in generated, f"{page.name}: {target}"


def test_the_configuration_reference_lists_each_setting_once_with_its_default() -> None:
    text = settings_page.text(ROOT)
    rows = re.findall(
        r"^\| \[`([a-z-]+)`\]\(#[a-z-]+\)\{ #([a-z-]+) \} \| `(.*?)` \| [^|]+ \| [^|]+ \|$", text, re.MULTILINE
    )
    assert [key for key, _, _ in rows] == [anchor for _, anchor, _ in rows]
    assert {key: tomllib.loads(f"value = {default}")["value"] for key, _, default in rows} == default_values()
    assert len(rows) == len(default_values())


def test_the_configuration_reference_has_the_sections_of_the_source() -> None:
    headings = re.findall(r"^## (.+)$", settings_page.text(ROOT), re.MULTILINE)
    assert headings[:4] == ["Randomness", "Data", "Class split", "Federation"]
    assert {"Attack", "Defense", "Evaluation"} <= set(headings)


def test_the_command_line_reference_names_every_option_and_the_defaults_in_help_texts() -> None:
    text = command_line.text()
    group = get_command(app)
    assert isinstance(group, Group)
    for name, command in group.commands.items():
        section = text.partition(f"## `python -m experiments {name}`")[2].partition("\n## ")[0]
        hidden = {parameter.name for parameter in command.params if getattr(parameter, "hidden", False)}
        options = {
            option
            for parameter in command.params
            if parameter.param_type_name == "option" and parameter.name not in hidden
            for option in parameter.opts
        }
        assert {option for option in options if option not in section} == set(), name
    assert "[default: results/NAME-DATE-TIME]" in text


def test_every_public_module_is_in_the_api_reference() -> None:
    text = "\n".join(api_pages.texts(ROOT).values())
    folders = [ROOT / package for package in ("fedmeta_flwr", "clients", "strategies", "experiments")]
    files = [file for folder in folders for file in folder.rglob("*.py") if (file.parent / "__init__.py").exists()]
    modules = {".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files if file.stem[0] != "_"}
    assert modules == set(re.findall(r"^::: (\S+\.\S+)$", text, re.MULTILINE)) - set(api_pages.PACKAGES)


SOURCE = links.Source(
    root=ROOT,
    file="docs/results.md",
    page="results.md",
    pages={"clients/benign.py": "api/clients.md#clients.benign", "CHANGELOG.md": "changelog.md"},
    repository="",
)


@pytest.mark.parametrize(
    ("written", "rewritten"),
    [
        ("[a](../clients/benign.py)", "[a](api/clients.md#clients.benign)"),
        ("[a](../CHANGELOG.md)", "[a](changelog.md)"),
        ("[a](scaling.md#gpus)", "[a](scaling.md#gpus)"),
        ("[a](results/omniglot)", "a"),
        ("[a](results/claims.md)", "[a](results/claims.md)"),
        ("[a](https://flower.ai) [b](#here)", "[a](https://flower.ai) [b](#here)"),
        ("[`a`](../pyproject.toml)", "`a`"),
        ("```\n[a](../clients/benign.py)\n```", "```\n[a](../clients/benign.py)\n```"),
    ],
)
def test_links_lead_to_pages_of_the_site_or_are_none(written: str, rewritten: str) -> None:
    assert links.rewritten(written, SOURCE) == rewritten


def test_links_to_files_lead_to_the_repository_where_it_has_an_address() -> None:
    source = links.Source(
        root=ROOT, file="docs/results.md", page="results.md", pages={}, repository="https://example.org/a/"
    )
    assert links.rewritten("[a](../pyproject.toml)", source) == "[a](https://example.org/a/blob/main/pyproject.toml)"


def test_a_link_to_no_file_is_refused() -> None:
    with pytest.raises(links.LinkError, match=r"docs/results\.md: .* '\.\./no-such-file\.py'"):
        links.rewritten("[a](../no-such-file.py)", SOURCE)


def test_names_of_settings_lead_to_their_reference_except_in_headings_code_and_links() -> None:
    text = "`quorum = 3` and `nothing`\n# `quorum`\n[`quorum`](a.md)\n```\n`quorum`\n```"
    expected = text.replace("`quorum = 3`", "[`quorum = 3`](configuration.md#quorum)")
    assert links.with_settings(text, {"quorum"}, SOURCE) == expected


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("custom_*.py")), ids=lambda path: path.stem)
def test_every_example_stands_on_the_page_about_extending(example: Path) -> None:
    assert f'\n--8<-- "examples/{example.name}"\n' in (ROOT / "docs" / "extending.md").read_text("utf-8")


def test_the_strategy_swap_of_the_readme_is_accepted() -> None:
    sample = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL | re.MULTILINE)[0]
    built, call, _ = sample.partition("result = federation.start(grid, initial_arrays, ")
    names: dict[str, Any] = {"MyStrategy": lambda: FedAvg(min_available_nodes=4)}
    exec(built, names)
    assert call
    assert isinstance(names["federation"], FirstArrivals)
    assert names["federation"].inner is names["strategy"]
