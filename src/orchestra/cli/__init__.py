"""The command line: one file per command, thin (cli.md). Only Typer is imported until a command runs."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from orchestra.cli.compile import compile_
from orchestra.cli.doctor import doctor
from orchestra.cli.explain import explain
from orchestra.cli.log import log
from orchestra.cli.run import run
from orchestra.cli.show import show
from orchestra.cli.status import status

app = typer.Typer(
    name="orchestra",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Run pipelines of AI agents: check a DOT file, run it, look at every recorded step.",
)
app.command("run")(run)
app.command("compile")(compile_)
app.command("status")(status)
app.command("show")(show)
app.command("log")(log)
app.command("doctor")(doctor)
app.command("explain")(explain)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"orchestra {version('orchestra-dot')}")
        raise typer.Exit


@app.callback()
def top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Run pipelines of AI agents: check a DOT file, run it, look at every recorded step."""


def main() -> None:
    """The entry point of the ``orchestra`` program."""
    try:
        app()
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:  # noqa: BLE001  translated into a message and an exit code, once
        from orchestra.cli._errors import exit_code

        sys.exit(exit_code(error))
