"""The command line: one file per command, thin (cli.md). Only Typer is imported until a command runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, NoReturn

import typer

COMMANDS = {
    "run": "orchestra.cli.run:run",
    "compile": "orchestra.cli.compile:compile_",
    "resume": "orchestra.cli.resume:resume",
    "replay": "orchestra.cli.replay:replay",
    "attach": "orchestra.cli.attach:attach",
    "pause": "orchestra.cli.asking:pause",
    "cancel": "orchestra.cli.asking:cancel",
    "steer": "orchestra.cli.asking:steer",
    "answer": "orchestra.cli.answer:answer",
    "inbox": "orchestra.cli.answer:inbox",
    "status": "orchestra.cli.status:status",
    "show": "orchestra.cli.show:show",
    "log": "orchestra.cli.log:log",
    "merge": "orchestra.cli.branches:merge",
    "discard": "orchestra.cli.branches:discard",
    "pr": "orchestra.cli.branches:pr",
    "compare": "orchestra.cli.branches:compare",
    "cleanup": "orchestra.cli.branches:cleanup",
    "export": "orchestra.cli.export:export",
    "import": "orchestra.cli.export:import_",
    "doctor": "orchestra.cli.doctor:doctor",
    "explain": "orchestra.cli.explain:explain",
    "config": "orchestra.cli.config:config",
    "init": "orchestra.cli.init:init",
    "demo": "orchestra.cli.demo:demo",
    "cxdb": "orchestra.cli.cxdb:cxdb",
    "tools": "orchestra.cli.tools:tools",
    "trust": "orchestra.cli.trust:trust",
    "mcp": "orchestra.cli.mcp:mcp",
    "model-server": "orchestra.cli.model_server:model_server",
}
"""Every command and the function that declares it, in the order in which help lists them."""


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"orchestra {version('orchestra-dot')}")
        raise typer.Exit


def top(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Run pipelines of AI agents, written in Graphviz DOT. Every step is recorded."""


def build(arguments: Sequence[str]) -> typer.Typer:
    """Return the program with all commands, or only the named one: Typer builds every command at each start."""
    app = typer.Typer(name="orchestra", no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(top)
    wanted = arguments[0] if arguments and arguments[0] in COMMANDS else None
    for name in [wanted] if wanted is not None else COMMANDS:
        module, _, function = COMMANDS[name].partition(":")
        app.command(name)(getattr(import_module(module), function))
    return app


def main() -> None:
    """The entry point of the ``orchestra`` program."""
    try:
        build(sys.argv[1:])()
    except KeyboardInterrupt:
        raise
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Click ends with 1 where nobody reads its help
            _end(end.__context__)
        raise
    except BaseException as error:  # noqa: BLE001  translated into a message and an exit code, once
        _end(error)


def _end(error: BaseException) -> NoReturn:
    from orchestra.cli._errors import exit_code

    sys.exit(exit_code(error))
