"""``orchestra compile``."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Colour


def compile_(
    pipelines: Annotated[
        list[str], typer.Argument(metavar="PIPELINE...", help="One or more .dot files, or - for standard input.")
    ],
    format_: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="text, json, dot, svg, github or sarif.")
    ] = "text",
    as_json: AsJson = False,
    strict: Annotated[bool, typer.Option("--strict", help="Treat warnings as errors.")] = False,
    color: Colour = "auto",
) -> None:
    """Check pipelines: parse, transform, lint. Exit code 0 when they may be run, 3 when not."""
    from orchestra.cli._compile import compile_files

    if as_json and format_ not in ("text", "json"):
        raise typer.BadParameter(f"--json and --format {format_} exclude each other; use one")
    raise typer.Exit(compile_files(pipelines, "json" if as_json else format_, strict=strict, color=color))
