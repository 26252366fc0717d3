"""The command line reference, from the commands themselves."""

import html

import typer
from typer.cli import get_docs_for_click
from typer.main import get_command

from experiments.__main__ import app

PROGRAM = "python -m experiments"


def text() -> str:
    """Return the page."""
    command = get_command(app)
    page = get_docs_for_click(obj=command, ctx=typer.Context(command), name=PROGRAM, title="Command line")
    return html.unescape(page)
