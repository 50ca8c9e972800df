"""What ``orchestra export`` and ``orchestra import`` do."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

from orchestra.app.archives import export_session, import_sessions
from orchestra.app.rundirs import write_run_directory
from orchestra.app.stores import open_store
from orchestra.cli._json import say_json
from orchestra.cli._progress import progress
from orchestra.cli._stores import aimed, hint, reading, settings_for
from orchestra.cli._terminal import one_line, say
from orchestra.engine.sessions import Row, find
from orchestra.errors import ConfigError, StoreError
from orchestra.ports import Store


def export_to(session: str, to: Path | None, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Write a session to a new file; the exit code."""
    settings = settings_for(store, config)

    async def write(opened: Store) -> tuple[Path, list[Row]]:
        row = await find(opened, session)
        file = _new(to or Path(f"{row.session}.orchestra"))
        return file, await export_session(opened, row.session, file)

    file, rows = asyncio.run(reading(settings, write, session, flag=store))
    if as_json:
        say_json({"file": str(file), "bytes": file.stat().st_size, "sessions": _as_json(rows)}, indent=2)
        return 0
    say(f"{_named(rows)} in {one_line(str(file), 1000)}, {file.stat().st_size} bytes")
    say(f"  put it into a store: orchestra import {one_line(str(file), 1000)} --store DIR")
    return 0


def export_logs(session: str, folder: Path, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Write a session as a run directory; the exit code."""
    settings = settings_for(store, config)

    async def write(opened: Store) -> Row:
        return await write_run_directory(opened, session, folder)

    row = asyncio.run(reading(settings, write, session, flag=store))
    if as_json:
        say_json({"folder": str(folder), "sessions": _as_json([row])}, indent=2)
        return 0
    say(f"session {row.session} in {one_line(str(folder), 1000)}")
    return 0


def import_from(file: Path, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Put what is in a file into the store; the exit code."""
    settings = settings_for(store, config)
    if settings.place == "memory":
        raise ConfigError("a store in memory keeps nothing", fix="name a store with --store DIR")

    async def put() -> list[Row]:
        with progress() as tell:
            opened = open_store(settings, progress=tell)
        try:
            return await import_sessions(opened, file)
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
    say(f"{_named(rows)} from {one_line(str(file), 1000)}")
    newest = [row for row in rows if row.why != "child"][-1]
    say(f"  look: orchestra status{aim} {newest.session} --detail")
    return 0


def _new(file: Path) -> Path:
    if os.path.lexists(file):
        raise ConfigError(f"{file} is there already", fix="name another one with --to FILE")
    return file


def _named(rows: Sequence[Row]) -> str:
    return f"session{'s' if len(rows) > 1 else ''} {', '.join(row.session for row in rows)}"


def _as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [{"session": row.session, "context": row.context_id, "pipeline": row.pipeline} for row in rows]
