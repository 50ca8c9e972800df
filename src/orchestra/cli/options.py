"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from orchestra.cli._ended import People


def complete_session(ctx: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """The sessions of the store in force that begin so, with their titles, for the shell (C3)."""
    from orchestra.cli._complete import sessions

    return sessions(incomplete, ctx.params.get("store"), ctx.params.get("config"))


Store = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="DIR",
        help="Folder of the store, or http://host:9010 of a CXDB server; 'memory' keeps nothing.",
        show_default=False,
    ),
]
Config = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Settings to use instead of the nearest orchestra.yaml."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on standard output.")]
JsonStream = Annotated[
    bool, typer.Option("--json-stream", help="Print every event as a line of JSON as it happens.")
]
Plain = Annotated[bool, typer.Option("--plain", help="Plain lines, also on a terminal.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Only errors and how it ended.")]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Say why each edge was taken, and show what commands write.")
]
Detach = Annotated[bool, typer.Option("--detach", help="Run in the background; orchestra attach watches it.")]
AutoApprove = Annotated[
    bool, typer.Option("--auto-approve", help="Answer every question with yes or its first choice.")
]
Answers = Annotated[
    Path | None,
    typer.Option("--answers", metavar="FILE", help="Answers to questions (YAML), by node or in their order."),
]
NoInput = Annotated[
    bool, typer.Option("--no-input", help="Ask nothing here: the run waits for answers from elsewhere.")
]
Colour = Annotated[str, typer.Option("--color", metavar="WHEN", help="auto, always or never.", show_default=True)]
Session = Annotated[
    str,
    typer.Argument(
        metavar="SESSION",
        help="A session id, a beginning of one, '#42' for a context, or 'last'.",
        autocompletion=complete_session,
    ),
]


def people(auto_approve: bool, answers: Path | None, no_input: bool) -> People:
    """Who answers the questions of a run. Raises a usage error for two that exclude one another."""
    from orchestra.cli._ended import People

    if auto_approve and answers is not None:
        raise typer.BadParameter("--auto-approve and --answers both answer every question; name one")
    return People(auto_approve=auto_approve, answers=answers, no_input=no_input)


def one_json(as_object: bool, as_stream: bool) -> str:
    """Which form of JSON was asked for: ``object``, ``stream`` or none. Raises a usage error for both."""
    if as_object and as_stream:
        raise typer.BadParameter("--json and --json-stream are two forms; name one")
    return "object" if as_object else "stream" if as_stream else ""


def one_amount(quiet: bool, verbose: bool) -> None:
    """Raise a usage error where less and more than usual are both asked for."""
    if quiet and verbose:
        raise typer.BadParameter("-q and -v say the opposite of one another; name one")
