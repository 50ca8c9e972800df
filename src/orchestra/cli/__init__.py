"""The command line. Only Typer is imported until a command is known (cli.md)."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup

from orchestra.cli.options import spread

COMMANDS = {
    "run": ("run:run", "Check a pipeline and run it. Every step is recorded."),
    "compile": (
        "compile:compile_",
        "Check pipelines: parse, transform, lint. Exit code 0 when they may be run, 3 when not.",
    ),
    "resume": ("resume:resume", "Resume a paused, crashed, canceled or failed session."),
    "replay": (
        "resume:replay",
        "Start a new session from a point in the history of another session, which is not changed.",
    ),
    "attach": (
        "control:attach",
        "Watch a session from its start until it ends. Ctrl-C stops watching; the session keeps running.",
    ),
    "pause": (
        "control:pause",
        "Pause a run after its current node, from any terminal or machine that can reach the store.",
    ),
    "cancel": (
        "control:cancel",
        "Cancel a session now, running or not. Its children are canceled too. `resume` can continue it later.",
    ),
    "steer": (
        "control:steer",
        "Send an instruction to the agents of a session: to a running one, else in the prompt of the next.",
    ),
    "answer": (
        "answer:answer",
        "Answer a question of a session, from any terminal or machine that can reach the store.",
    ),
    "inbox": ("answer:inbox", "List the open questions of all sessions; on a terminal, answer them one by one."),
    "status": ("status:status", "List sessions, those that need attention first, or show one session."),
    "show": ("show:show", "Show one recorded turn in full."),
    "log": (
        "show:log",
        "Show every recorded event of a session, oldest first; SESSION:DEPTH shows those from that depth on.",
    ),
    "merge": ("branches:merge", "Merge a session's branch into the branch that is checked out in its repository."),
    "discard": (
        "branches:discard",
        "Remove a session's branches and worktrees; they can be brought back for 14 days.",
    ),
    "pr": ("branches:pr", "Push a session's branch and open a pull request with gh, or print its title and text."),
    "compare": ("branches:compare", "Compare two sessions: outcome, nodes, cost, and how their code differs."),
    "cleanup": (
        "branches:cleanup",
        "List the branches and worktrees of ended sessions, and remove them with --yes.",
    ),
    "export": (
        "export:export",
        "Write a session and its complete history to one file, for an archive or a bug report.",
    ),
    "import": ("export:import_", "Import a session from a file written by `export`."),
    "doctor": ("doctor:doctor", "Check what works on this machine and in the store."),
    "explain": ("compile:explain", "Say what a diagnostic means, with a wrong and a right example."),
    "config": ("project:config", "Show the settings in force. Secrets are not shown."),
    "init": (
        "project:init",
        "Write a starter: a pipeline, orchestra.yaml and prompts. No existing file is overwritten.",
    ),
    "demo": ("selftest:demo", "Show a team of simulated agents on a scratch repository."),
    "selftest": (
        "selftest:selftest",
        "Run the shipped examples on scratch data and say what works on this machine.",
    ),
    "skill": (
        "project:skill",
        "Print a skill with which coding agents write, check, run and debug pipelines, or install it.",
    ),
    "cxdb": ("serve:cxdb", "Run a CXDB server on a store, or send a store to its mirror."),
    "tools": ("tools:tools", "List the tools that each agent of a pipeline has, and where each comes from."),
    "trust": ("tools:trust", "Allow a repository's own MCP servers (.mcp.json) and skills (.agents/skills)."),
    "mcp": (
        "tools:mcp",
        "Offer a running node's tools to the CLI agent that started this (an MCP server over stdio).",
    ),
    "model-server": (
        "serve:model_server",
        "Serve scripted answers as a model provider does, to test pipelines without a key or a cost.",
    ),
}
"""Every command: the function that declares it, and its help in the list of all, in the order of that list."""


def _show_plainly(parameters: list[Any]) -> list[Any]:
    """Leave out the types of arguments and flags, which other programs do not show."""
    for parameter in parameters:
        if isinstance(parameter, TyperArgument):
            setattr(parameter, "display_type_rich", lambda ctx: None)  # noqa: B010  a method
        elif parameter.is_flag:
            parameter.metavar = ""
    return parameters


class _Program(TyperGroup):
    def get_params(self, ctx: Any) -> list[Any]:
        return _show_plainly(super().get_params(ctx))


class _PlainCommand(TyperCommand):
    def get_params(self, ctx: Any) -> list[Any]:
        return _show_plainly(super().get_params(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        arguments = [each for each in self.get_params(ctx) if isinstance(each, TyperArgument)]
        return ["[OPTIONS]", *map(_usage, arguments)]


def _usage(argument: TyperArgument) -> str:
    """An argument in the usage line, optional ones in brackets."""
    name = argument.display_name_raw
    if not argument.required and not name.startswith("["):
        name = f"[{name}]"
    return name if argument.nargs == 1 or name.endswith("...") or " " in name else f"{name}..."


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
    """Return the program with the command that the arguments name, or with the names and helps of all."""
    app = typer.Typer(name="orchestra", cls=_Program, no_args_is_help=True, pretty_exceptions_enable=False)
    app.callback()(top)
    wanted = next((word for word in arguments if not word.startswith("-")), "")
    if wanted in COMMANDS:
        module, _, function = COMMANDS[wanted][0].partition(":")
        app.command(wanted, cls=_PlainCommand)(
            spread(getattr(import_module(f"orchestra.cli.commands.{module}"), function))
        )
    else:  # loading every command would make `--help` slow
        for name, (_place, text) in COMMANDS.items():
            app.command(name, help=text, cls=_PlainCommand)(_stand_in)
    return app


def _stand_in() -> None:
    """Stand for a command in the list of all: only its name and help are used."""


def _help_option(words: list[str]) -> list[str]:
    """Return ``help`` and ``help COMMAND`` as the option ``--help``; other arguments unchanged."""
    return [*words[1:2], "--help"] if words[:1] == ["help"] else words


def _words() -> list[str]:
    """Return the arguments, or while a shell completes a line, the words of that line."""
    if "_ORCHESTRA_COMPLETE" not in os.environ:
        return sys.argv[1:]
    return (os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")).split()[1:]


def main() -> None:
    """The entry point of the ``orchestra`` program."""
    if not os.environ.get("HOME"):
        os.environ.pop("HOME", None)  # an empty one would put folders at the root; without it, passwd says
    try:
        sys.argv[1:] = _help_option(sys.argv[1:])
        code = build(_words())(standalone_mode=False, prog_name="orchestra")
    except KeyboardInterrupt:
        raise
    except SystemExit as end:
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        code = _code(end.__context__)  # Click ends with 1 where nobody reads its help
    except BaseException as error:  # noqa: BLE001  translated into a message and an exit code, once
        code = _code(error)
    sys.exit(code)


def _code(error: BaseException) -> int:
    from orchestra.cli.errors import exit_code

    words = sys.argv[1:]
    options = words[: words.index("--")] if "--" in words else words
    return exit_code(error, as_json="--json" in options)
