"""``orchestra export`` and ``orchestra import``."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from orchestra.app.archives import Exported, export_session, import_sessions
from orchestra.app.rundirs import write_run_directory
from orchestra.app.stores import open_store
from orchestra.cli.options import AsJson, Config, Session, StoreOption
from orchestra.cli.stores import aimed, hint, reading, settings_for
from orchestra.cli.terminal import complain, deliver, one_line, progress, say, say_json
from orchestra.engine.sessions import Row, find
from orchestra.errors import ConfigError, StoreError
from orchestra.ports import Store


def export(
    session: Session,
    to: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--to",
            metavar="FILE",
            help="File to create, - for standard output (default: SESSION.orchestra).",
        ),
    ] = None,
    logs: Annotated[
        Path | None,
        typer.Option("--logs", metavar="DIR", help="Write an Attractor run directory to this new folder instead."),
    ] = None,
    store: StoreOption = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Write a session and its complete history to one file, for an archive or a bug report."""
    if logs is not None:
        if to is not None:
            raise typer.BadParameter("--to and --logs exclude each other; use one")
        raise typer.Exit(export_logs(session, logs, store=store, config=config, as_json=as_json))
    if as_json and to == Path("-"):
        raise typer.BadParameter("--json and --to - both write to standard output; use one")
    raise typer.Exit(export_to(session, to, store=store, config=config, as_json=as_json))


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File written by export, - for standard input.")],
    store: StoreOption = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Import a session from a file written by `export`."""
    raise typer.Exit(import_from(file, store=store, config=config, as_json=as_json))


STREAM = Path("-")
"""Standard output or input, as a file is named."""

PIECE = 1024 * 1024
"""Bytes that are written at once."""


def export_to(session: str, to: Path | None, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Write a session to a new file; the exit code."""
    if to == STREAM:
        return _export_to_stream(session, store=store, config=config)
    settings = settings_for(store, config)

    async def write(opened: Store) -> tuple[Path, Exported]:
        row = await find(opened, session)
        file = _new(to or Path(f"{row.session}.orchestra"))
        return file, await export_session(opened, row.session, file)

    file, exported = asyncio.run(reading(settings, write, session, flag=store))
    rows = exported.rows
    _stay_behind(exported)
    if as_json:
        say_json({"file": str(file), "bytes": file.stat().st_size, "sessions": _as_json(rows)}, indent=2)
        return 0
    say(f"exported {_named(rows)} to {one_line(str(file), 1000)}, {file.stat().st_size} bytes")
    say(f"  import: orchestra import {one_line(str(file), 1000)} --store DIR")
    return 0


def _export_to_stream(session: str, *, store: str | None, config: Path | None) -> int:
    """Write a session to standard output, for another program; what is said of it goes to standard error."""
    if sys.stdout.isatty():
        raise ConfigError(
            "an export cannot be written to a terminal", fix="redirect it, or name a file with --to FILE"
        )
    settings = settings_for(store, config)

    async def write(opened: Store) -> Exported:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "export"
            exported = await export_session(opened, session, file)
            with file.open("rb") as written:
                while piece := written.read(PIECE):
                    deliver(piece)
            return exported

    exported = asyncio.run(reading(settings, write, session, flag=store))
    complain(f"exported {_named(exported.rows)}")
    _stay_behind(exported)
    return 0


def _stay_behind(exported: Exported) -> None:
    if exported.branches:
        count = exported.branches
        complain(
            f"{count} parallel {'branch' if count == 1 else 'branches'}: results are exported, the branches' own"
            " records are not; an unfinished branch starts again after the import"
        )


def export_logs(session: str, folder: Path, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Write a session as a run directory; the exit code."""
    settings = settings_for(store, config)

    async def write(opened: Store) -> Row:
        return await write_run_directory(opened, session, folder)

    row = asyncio.run(reading(settings, write, session, flag=store))
    if as_json:
        say_json({"folder": str(folder), "sessions": _as_json([row])}, indent=2)
        return 0
    say(f"wrote session {row.session} to {one_line(str(folder), 1000)}")
    return 0


def import_from(file: Path, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Put what is in a file into the store; the exit code."""
    settings = settings_for(store, config)
    if settings.place == "memory":
        raise ConfigError("a store in memory saves nothing", fix="name a store with --store DIR")

    async def put() -> list[Row]:
        with progress() as tell:
            opened = open_store(settings, progress=tell)
        try:
            with _given(file) as there:
                return await import_sessions(opened, there)
        finally:
            await opened.close()

    aim = hint(settings, store)
    try:
        rows = asyncio.run(put())
    except StoreError as error:
        error.fix = aimed(error.fix, aim)
        raise
    if as_json:
        say_json({"file": str(file), "sessions": _as_json(rows)}, indent=2)
        return 0
    say(f"imported {_named(rows)} from {one_line(str(file), 1000)}")
    newest = [row for row in rows if row.why != "child"][-1]
    say(f"  details: orchestra status{aim} {newest.session} --detail")
    return 0


@contextmanager
def _given(file: Path) -> Iterator[Path]:
    """The file to be read; what comes on standard input is put into one."""
    if file != STREAM:
        yield file
        return
    if sys.stdin.isatty():
        raise ConfigError(
            "no file on standard input", fix="name a file, or redirect one: orchestra import - < FILE"
        )
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "standard input"
        with whole.open("wb") as out:
            shutil.copyfileobj(sys.stdin.buffer, out)
        yield whole


def _new(file: Path) -> Path:
    if os.path.lexists(file):
        raise ConfigError(f"{file} already exists", fix="name another file with --to FILE")
    return file


def _named(rows: Sequence[Row]) -> str:
    return f"session{'s' if len(rows) > 1 else ''} {', '.join(row.session for row in rows)}"


def _as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [{"session": row.session, "context": row.context_id, "pipeline": row.pipeline} for row in rows]
