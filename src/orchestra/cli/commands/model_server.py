"""``orchestra model-server``."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from orchestra.cli.terminal import complain, say
from orchestra.errors import ConfigError
from orchestra.graph.report import plural
from orchestra.modelserver import Exchange, ModelServer, read


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

    It speaks Anthropic Messages, OpenAI Chat Completions and Responses (Azure's addresses too), Gemini (Vertex AI's
    too) and Bedrock's Converse, on this machine only. Its first line of output is its address; GET /_requests there
    shows what it was asked.
    """
    raise typer.Exit(serve(script, tuple(command or ()), port=port, requests=requests, quiet=quiet))


NO_KEY = "model-server"
"""The key that a command is given: clients insist on one, and no real one shall reach a test."""


def serve(script: Path, command: tuple[str, ...], *, port: int, requests: Path | None, quiet: bool) -> int:
    """Serve until Ctrl-C or SIGTERM, or until the command ends. Returns the exit code."""
    with ModelServer(read(script), port=port, told=None if quiet else _show) as server:
        try:
            if command:
                return _run(command, server.url)
            say(server.url)
            _until_stopped()
            return 0
        finally:
            if requests is not None:
                _write(requests, server.requests)


def _run(command: tuple[str, ...], url: str) -> int:
    if command[0] == "orchestra" and shutil.which("orchestra") is None:
        command = (sys.executable, "-m", *command)
    try:
        process = subprocess.Popen(command, env={**os.environ, **_variables(url)})
    except OSError as error:
        raise ConfigError(f"cannot run {command[0]}: {error.strerror or error}") from error
    with process:
        while True:
            try:
                code = process.wait()
            except KeyboardInterrupt:  # the command has it too, and says how it ends
                continue
            return code if code >= 0 else 128 - code


def _variables(url: str) -> dict[str, str]:
    """What makes clients of every provider ask the server."""
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": NO_KEY,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": NO_KEY,
        "GOOGLE_GEMINI_BASE_URL": url,
        "GOOGLE_API_KEY": NO_KEY,
        "GEMINI_API_KEY": NO_KEY,
        "GOOGLE_VERTEX_BASE_URL": url,
        "AZURE_OPENAI_ENDPOINT": url,
        "AZURE_OPENAI_API_KEY": NO_KEY,
        "OPENAI_API_VERSION": os.environ.get("OPENAI_API_VERSION", "2024-10-21"),
        "AWS_ENDPOINT_URL_BEDROCK_RUNTIME": url,
        **{name: os.environ.get(name, value) for name, value in _AWS.items()},
    }


_AWS = {"AWS_ACCESS_KEY_ID": NO_KEY, "AWS_SECRET_ACCESS_KEY": NO_KEY, "AWS_DEFAULT_REGION": "us-east-1"}
"""Set only where they are not: a command may use more of AWS than its models."""


def _until_stopped() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


def _show(asked: Exchange) -> None:
    tools = f", {plural(len(asked.tools), 'tool')}" if asked.tools else ""
    how = "streamed" if asked.stream else "whole"
    messages = plural(len(asked.messages), "message")
    complain(f"{asked.number}  {asked.api}  {asked.model}  {messages}{tools}  {how}: {asked.rule}")


def _write(file: Path, requests: list[Exchange]) -> None:
    try:
        file.write_text(json.dumps({"requests": [asked.plain() for asked in requests]}, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error
