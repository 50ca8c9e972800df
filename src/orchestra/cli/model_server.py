"""``orchestra model-server``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def model_server(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="What it answers (YAML).")],
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- COMMAND",
            help="Run this with the providers' variables set to the server, then stop; ends with its exit code.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    requests: Annotated[
        Path | None, typer.Option("--requests", metavar="FILE", help="Write what was asked, as JSON, at the end.")
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Do not show the requests.")] = False,
) -> None:
    """Serve scripted answers as a model provider does, to test pipelines without a key or a cost.

    It speaks Anthropic Messages, OpenAI Chat Completions and Responses, and Gemini, on this machine only. Its first
    line of output is its address; GET /_requests there shows what it was asked.
    """
    from orchestra.cli._model_server import serve

    raise typer.Exit(serve(script, tuple(command or ()), port=port, requests=requests, quiet=quiet))
