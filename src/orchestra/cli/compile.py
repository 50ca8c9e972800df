"""``orchestra compile``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Colour, Config, EnvFile


def compile_(
    pipelines: Annotated[
        list[str], typer.Argument(metavar="PIPELINE...", help="One or more .dot files, or - for standard input.")
    ],
    format_: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="text, json, dot, svg, github or sarif.")
    ] = "text",
    as_json: AsJson = False,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    models: Annotated[
        bool, typer.Option("--models", help="Show each agent's model, provider and backend, and what decided them.")
    ] = False,
    prompt: Annotated[
        str, typer.Option("--prompt", metavar="NODE", help="Show a node's prompt.", show_default=False)
    ] = "",
    config: Config = None,
    env_file: EnvFile = None,
    color: Colour = "auto",
) -> None:
    """Check pipelines: parse, transform, lint. Exit code 0 when they may be run, 3 when not."""
    from orchestra.cli._compile import Wanted, compile_files

    if as_json and format_ not in ("text", "json"):
        raise typer.BadParameter(f"--json and --format {format_} exclude each other; use one")
    if (models or prompt) and (format_ not in ("text", "json") or len(pipelines) > 1):
        raise typer.BadParameter("--models and --prompt take one pipeline, and no other --format than json")
    if models and prompt:
        raise typer.BadParameter("--models and --prompt exclude each other; use one")
    wanted = Wanted(strict=strict, models=models, prompt=prompt, config=config)
    raise typer.Exit(compile_files(pipelines, "json" if as_json else format_, wanted, color=color))
