"""``orchestra replay``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.options import (
    Answers,
    ApproveTools,
    AsJson,
    AutoApprove,
    Colour,
    Config,
    Detach,
    JsonStream,
    NoInput,
    Plain,
    Quiet,
    Session,
    Store,
    Verbose,
    one_amount,
    one_json,
    people,
)


def replay(
    session: Session,
    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint",
            metavar="T",
            help="Start from this checkpoint: a depth, #ID or 'last'.",
            show_default=False,
        ),
    ] = "",
    turn: Annotated[
        str,
        typer.Option(
            "--turn",
            metavar="T",
            help="Start from this turn: a depth as shown by `log`, or #ID (also of a child's turn).",
            show_default=False,
        ),
    ] = "",
    node: Annotated[
        str, typer.Option("--node", metavar="NODE", help="Start from this node.", show_default=False)
    ] = "",
    visit: Annotated[
        int | None,
        typer.Option(
            "--visit", metavar="N", min=1, help="With --node: start from its N-th visit (default: the newest)."
        ),
    ] = None,
    variables: Annotated[
        list[str] | None,
        typer.Option("--var", metavar="KEY=VALUE", help="Set a variable of the new session (repeatable)."),
    ] = None,
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a context value of the new session (repeatable)."),
    ] = None,
    graph: Annotated[
        Path | None, typer.Option("--graph", metavar="FILE", help="Continue with this pipeline.")
    ] = None,
    simulate: Annotated[
        Path | None, typer.Option("--simulate", metavar="FILE", help="Continue with these scripted results.")
    ] = None,
    label: Annotated[str, typer.Option("--label", help="Name of the new session.", show_default=False)] = "",
    recorded: Annotated[
        bool,
        typer.Option("--recorded", help="Run nothing: repeat the recorded decisions and report any that differ."),
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="FILE", help="Like --recorded, with this pipeline: report where it diverges."
        ),
    ] = None,
    auto_approve: AutoApprove = False,
    answers: Answers = None,
    approve_tools: ApproveTools = False,
    no_input: NoInput = False,
    detach: Detach = False,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
    json_stream: JsonStream = False,
    plain: Plain = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    color: Colour = "auto",
) -> None:
    """Start a new session from a point in the history of another session, which is not changed.

    Without --checkpoint, --turn or --node it starts from the beginning. Exit codes are those of run and resume.

    With --recorded or --against nothing is run or written: the recorded results of agents and commands are used.
    Exit codes: 0: the same nodes, edges and prompts; 1: something differs.
    """
    from orchestra.cli._ended import Shown
    from orchestra.cli._replay import Asked, replay_session

    one_amount(quiet, verbose)
    if sum(map(bool, (checkpoint, turn, node))) > 1:
        raise typer.BadParameter("--checkpoint, --turn and --node exclude each other; use one")
    if visit is not None and not node:
        raise typer.BadParameter("--visit needs --node")
    if recorded or against is not None:
        begins = (checkpoint, turn, node, variables, values, graph, simulate, label, detach, json_stream)
        if any(begins) or (recorded and against is not None):
            wrong = "--recorded and --against start no session: combine them only with --store, --config and --json"
            raise typer.BadParameter(wrong)
        from orchestra.cli._rewalk import walk_again

        raise typer.Exit(walk_again(session, against, store=store, config=config, as_json=as_json))
    asked = Asked(
        checkpoint=checkpoint,
        turn=turn,
        node=node,
        visit=visit,
        variables=tuple(variables or ()),
        values=tuple(values or ()),
        graph=graph,
        simulate=simulate,
        label=label,
        detach=detach,
    )
    shown = Shown(
        store=store,
        config=config,
        json=one_json(as_json, json_stream),
        plain=plain,
        quiet=quiet,
        verbose=verbose,
        color=color,
        people=people(auto_approve, answers, no_input, approve_tools),
    )
    raise typer.Exit(replay_session(session, asked, shown))
