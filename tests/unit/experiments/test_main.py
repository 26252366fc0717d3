"""The command line where packages of the extra `tools` are not installed."""

import subprocess
import sys

import pytest

RUN = """
import runpy, sys
sys.modules.update(dict.fromkeys({blocked}))
sys.argv = ["experiments", *{arguments}]
runpy.run_module("experiments", run_name="__main__")
"""


@pytest.mark.parametrize(
    ("blocked", "arguments"), [("typer", ("--help",)), ("rich", ("catalog",)), ("matplotlib", ("claims", "."))]
)
def test_a_package_that_is_missing_is_one_line_with_what_to_install(blocked: str, arguments: tuple[str, ...]) -> None:
    code = RUN.format(blocked=(blocked,), arguments=arguments)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (process.returncode, process.stdout) == (1, "")
    (line,) = process.stderr.splitlines()
    assert line.startswith(f"Error: expected the package {blocked}, found none: install the extra 'tools'")


def test_help_needs_none_of_the_packages_that_figures_need() -> None:
    code = RUN.format(blocked=("matplotlib", "plotly", "jinja2", "tensorboard", "ray"), arguments=("--help",))
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "reproduce" in process.stdout
