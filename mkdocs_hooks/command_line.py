"""The command line reference, generated from the commands."""

import html

import typer
from click import Group
from rich.markup import escape
from typer.cli import get_docs_for_click
from typer.main import get_command

from experiments.cli.commands import app

PROGRAM = "python -m experiments"


def text() -> str:
    """Return Typer's page, but with whole sentences, and with the defaults given in help texts."""
    group = get_command(app)
    assert isinstance(group, Group)
    for command in group.commands.values():
        command.short_help = (command.help or "").partition("\n\n")[0]
        for parameter in command.params:
            if help_text := getattr(parameter, "help", None):
                parameter.help = escape(help_text)  # "[default: ...]" is no markup
    page = get_docs_for_click(obj=group, ctx=typer.Context(group), name=PROGRAM, title="Command line")
    return html.unescape(page)
