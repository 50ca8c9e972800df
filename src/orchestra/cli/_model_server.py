"""What ``orchestra model-server`` does."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

from orchestra.cli._terminal import complain, say
from orchestra.errors import ConfigError
from orchestra.modelserver import Asked, ModelServer, read

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
    }


def _until_stopped() -> None:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    stop.wait()


def _show(asked: Asked) -> None:
    tools = f", {len(asked.tools)} tools" if asked.tools else ""
    how = "streamed" if asked.stream else "whole"
    complain(
        f"{asked.number}  {asked.api}  {asked.model}  {len(asked.messages)} messages{tools}  {how}: {asked.rule}"
    )


def _write(file: Path, requests: list[Asked]) -> None:
    try:
        file.write_text(json.dumps({"requests": [asked.plain() for asked in requests]}, indent=2) + "\n")
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error
