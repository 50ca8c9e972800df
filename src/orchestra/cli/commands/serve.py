"""``orchestra cxdb`` and ``orchestra model-server``: servers for a store and for scripted answers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from msgspec import to_builtins

from orchestra.app.mirroring import MirrorResult, follow, mirror_fix, run_ended, send_now
from orchestra.app.serving import ServerSetup
from orchestra.app.serving import serve as serve_store
from orchestra.cli.errors import FAILED
from orchestra.cli.stores import OutputOptions, StoreOptions, complete_session, exists
from orchestra.cli.terminal import complain, one_line, say, say_json
from orchestra.config.server import Server
from orchestra.config.settings import Settings
from orchestra.cxdb.server.serve import Addresses
from orchestra.errors import ConfigError, StoreError
from orchestra.graph.report import plural
from orchestra.modelserver import Exchange, ModelServer, read


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeOptions:
    """What ``cxdb serve`` serves, and to whom."""

    path: Annotated[
        Path | None,
        typer.Option("--path", metavar="DIR", help="serve: the folder (default: the configured store)."),
    ] = None
    bind: Annotated[str, typer.Option(metavar="HOST:PORT", help="serve: address of the binary protocol.")] = (
        "127.0.0.1:9009"
    )
    http: Annotated[str, typer.Option(metavar="HOST:PORT", help="serve: address of the HTTP API.")] = (
        "127.0.0.1:9010"
    )
    token_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="serve: require the token in this file; needed for a non-loopback address."
        ),
    ] = None
    host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="serve: accept this Host header too (repeatable).")
    ] = None
    origin: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help="serve: allow this web origin to read responses (repeatable)."),
    ] = None

    def setup(self, options: StoreOptions) -> ServerSetup:
        """Return the server to start. Raises ``ConfigError`` if the store is not a folder."""
        folder = self.path.absolute() if self.path is not None else options.access().settings.store
        if folder is None:
            raise ConfigError(
                "the configured store is not a folder, so it cannot be served", fix="name a folder with --path DIR"
            )
        return ServerSetup(
            folder=folder,
            bind=self.bind,
            http=self.http,
            token_file=self.token_file,
            hosts=tuple(self.host or ()),
            origins=tuple(self.origin or ()),
        )


def cxdb(
    action: Annotated[
        str,
        typer.Argument(
            metavar="serve|mirror",
            help="serve: run a CXDB server on a store's folder. mirror: send new turns to the mirror.",
        ),
    ],
    sessions: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SESSION", help="mirror: send only these sessions.", autocompletion=complete_session
        ),
    ] = None,
    following: Annotated[bool, typer.Option("--follow", hidden=True)] = False,
    *,
    served: ServeOptions,
    options: OutputOptions,
) -> int:
    """Run a CXDB server on a store, or send a store to its mirror.

    `serve` speaks CXDB's binary protocol and HTTP API, also while runs write to the store. `mirror` sends new turns
    to the server named by cxdb.mirror in orchestra.yaml.

    Exit codes of mirror: 0: the mirror has everything; 1: a session could not be sent completely; 6: the server
    cannot be used.
    """
    if action == "mirror":
        return _follow_run(options) if following else _mirror(tuple(sessions or ()), options)
    if action != "serve":
        raise typer.BadParameter(f"{action!r} is not serve or mirror")
    if sessions:
        raise typer.BadParameter("serve takes no SESSION; name the folder with --path DIR")
    setup = served.setup(options)
    new = " (new, empty store)" if setup.is_new else ""

    def tell(addresses: Addresses) -> None:
        if options.as_json:
            say_json({"folder": str(setup.folder), "binary": addresses.binary, "http": addresses.http})
            return
        say(f"serving {setup.folder}{new}")
        say(f"binary {addresses.binary}   http {addresses.http}   (Ctrl-C to stop)")

    asyncio.run(serve_store(setup, tell, lambda fault: complain(f"warning: {fault}")))
    return 0


NICE = 19
"""Niceness of the mirror process that accompanies a run."""


def _mirror(sessions: tuple[str, ...], options: OutputOptions) -> int:
    """Send what the mirror lacks and print it; return 0 if it is complete, 1 if something failed."""
    at = options.access()
    folder, server = _ends(at.settings)
    if sessions:
        at.check(sessions[0])
    elif not exists(at.settings):
        say(f"no store in {folder} yet: nothing to send")
        return 0

    def tell(one: MirrorResult) -> None:
        if not options.as_json and (one.sent or one.trouble):
            say(_line(one))

    with at.aiming():
        try:
            done, too_large = asyncio.run(send_now(folder, server, sessions, tell))
        except StoreError as error:
            error.fix = mirror_fix(error.fix)
            raise
    failed = sum(1 for one in done if one.trouble)
    if options.as_json:
        what = {"mirror": str(server), "sessions": to_builtins(done), "blobs_too_large": too_large}
        say_json({**what, "exit_code": FAILED if failed else 0}, indent=2)
    else:
        for line in _summary(done, too_large, server):
            say(line)
    return FAILED if failed else 0


def _follow_run(options: StoreOptions) -> int:
    """Send new turns until the run that started this process ends, then what is still missing."""
    folder, server = _ends(options.access().settings)
    os.nice(NICE)
    asyncio.run(follow(folder, server, run_ended))
    return 0


def _ends(settings: Settings) -> tuple[Path, Server]:
    """The folder that is mirrored, and the server. Raises ``ConfigError``."""
    if settings.store is None:
        raise ConfigError(f"the store {settings.place} is not a folder: only a folder can have a mirror")
    if settings.mirror is None:
        raise ConfigError(
            "no mirror is configured",
            fix="set cxdb: {mirror: 'http://host:9010'} in orchestra.yaml, or ORCHESTRA_CXDB_MIRROR",
        )
    return settings.store, settings.mirror


def _line(one: MirrorResult) -> str:
    told = f"{one.session}  {plural(one.sent, 'turn')} sent" + (f" of {one.turns}" if one.turns > one.sent else "")
    return told + (f"; stopped: {one_line(one.trouble, 500)}" if one.trouble else "")


def _summary(done: list[MirrorResult], too_large: int, server: Server) -> list[str]:
    turns = sum(one.turns for one in done)
    failed = [one for one in done if one.trouble]
    whole = f"{server} is up to date: {plural(len(done) - len(failed), 'session')}, {plural(turns, 'turn')}"
    lines = [whole if not failed else f"{plural(len(failed), 'session')} not completely sent"]
    if too_large:
        lines.append(f"  {plural(too_large, 'blob')} skipped: larger than CXDB's protocol allows")
    return lines


def model_server(
    script: Annotated[Path, typer.Argument(metavar="SCRIPT", help="Scripted answers (YAML).")],
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="-- COMMAND",
            help="Run this command with the providers' variables set to the server, then stop with its exit code.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")
    ] = 0,
    requests: Annotated[
        Path | None,
        typer.Option("--requests", metavar="FILE", help="Write all requests to a file, as JSON, at the end."),
    ] = None,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Do not show the requests.")] = False,
) -> int:
    """Serve scripted answers as a model provider does, to test pipelines without a key or a cost.

    It speaks Anthropic Messages, OpenAI Chat Completions and Responses (Azure's addresses too), Gemini (Vertex AI's
    too) and Bedrock's Converse, on this machine only. Its first line of output is its address; GET /_requests there
    returns the requests that it received.
    """
    if sys.argv[-1] == "--":
        raise typer.BadParameter("name a command after --")
    with ModelServer(read(script), port=port, told=None if quiet else _show) as server:
        try:
            if command:
                return _run(tuple(command), server.url)
            say(server.url)
            _until_stopped()
            return 0
        finally:
            if requests is not None:
                _write(requests, server.requests)


NO_KEY = "model-server"
"""The key that a command is given: clients insist on one, and no real one shall reach a test."""


def _run(command: tuple[str, ...], url: str) -> int:
    if command[0] == "orchestra" and shutil.which("orchestra") is None:
        command = (sys.executable, "-m", *command)
    with tempfile.TemporaryDirectory(prefix="orchestra-codex-") as home:
        Path(home, "config.toml").write_text(_CODEX.format(url=url), encoding="utf-8")
        try:
            process = subprocess.Popen(command, env={**os.environ, **_variables(url), "CODEX_HOME": home})
        except OSError as error:
            raise ConfigError(f"cannot run {command[0]}: {error.strerror or error}") from error
        with process:
            while True:
                try:
                    code = process.wait()
                except KeyboardInterrupt:  # the command has it too, and says how it ends
                    continue
                return code if code >= 0 else 128 - code


_CODEX = """\
model_provider = "model-server"
[model_providers.model-server]
name = "model-server"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "CODEX_API_KEY"
"""
"""Settings of Codex, which has no variable for an address."""


def _variables(url: str) -> dict[str, str]:
    """The variables that make the clients of every provider ask the server."""
    return {
        "ANTHROPIC_BASE_URL": url,
        "ANTHROPIC_API_KEY": NO_KEY,
        "OPENAI_BASE_URL": f"{url}/v1",
        "OPENAI_API_KEY": NO_KEY,
        "CODEX_API_KEY": NO_KEY,
        "GOOGLE_GEMINI_BASE_URL": url,
        "GOOGLE_API_KEY": NO_KEY,
        "GEMINI_API_KEY": NO_KEY,
        "GOOGLE_VERTEX_BASE_URL": url,
        "OPENROUTER_BASE_URL": f"{url}/api/v1",
        "OPENROUTER_API_KEY": NO_KEY,
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
