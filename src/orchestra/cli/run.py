"""``orchestra run``."""

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
    EnvFile,
    JsonStream,
    MaxCost,
    NoInput,
    Plain,
    Quiet,
    Store,
    Verbose,
    one_amount,
    one_json,
    people,
)


def run(
    pipeline: Annotated[
        str, typer.Argument(metavar="PIPELINE", help="Pipeline (.dot file), or - for standard input.")
    ],
    variables: Annotated[
        list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Set variables of the run.", show_default=False)
    ] = None,
    simulate: Annotated[
        Path | None,
        typer.Option("--simulate", metavar="FILE", help="Scripted results (YAML)."),
    ] = None,
    label: Annotated[str, typer.Option("--label", help="Name of this run.", show_default=False)] = "",
    auto_approve: AutoApprove = False,
    answers: Answers = None,
    approve_tools: ApproveTools = False,
    no_input: NoInput = False,
    max_cost: MaxCost = None,
    detach: Detach = False,
    store: Store = None,
    config: Config = None,
    env_file: EnvFile = None,
    as_json: AsJson = False,
    json_stream: JsonStream = False,
    plain: Plain = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    color: Colour = "auto",
) -> None:
    """Check a pipeline and run it. Every step is recorded.

    Exit codes: 0: it succeeded; 1: it failed; 2: wrong usage or settings; 3: the pipeline is invalid; 4: a key is
    missing; 5: waiting for an answer; 6: the store cannot be used; 7: stopped by a limit or a full disk; 130:
    paused by an interrupt.
    """
    from orchestra.cli._ended import Shown
    from orchestra.cli._run import Options, run_pipeline

    one_amount(quiet, verbose)
    options = Options(
        pipeline=pipeline,
        variables=tuple(variables or ()),
        simulate=simulate,
        label=label,
        detach=detach,
        max_cost=max_cost,
        shown=Shown(
            store=store,
            config=config,
            json=one_json(as_json, json_stream),
            plain=plain,
            quiet=quiet,
            verbose=verbose,
            color=color,
            people=people(auto_approve, answers, no_input, approve_tools),
        ),
    )
    raise typer.Exit(run_pipeline(options))
