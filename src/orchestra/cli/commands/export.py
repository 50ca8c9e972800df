"""``orchestra export`` and ``orchestra import``."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from orchestra.app.archives import export_session, import_sessions
from orchestra.app.rundirs import write_run_directory
from orchestra.app.stopped import read_stopped
from orchestra.cli.commands.show import commit_text
from orchestra.cli.screen.page import Chapter, PageTurn, chapter, page
from orchestra.cli.screen.summary import summary_of
from orchestra.cli.screen.turn import whole
from orchestra.cli.stores import OutputOptions, Session, StoreAccess
from orchestra.cli.terminal import complain, deliver, one_line, say, say_json
from orchestra.config.settings import Settings
from orchestra.engine.gaps import Legible, with_branches
from orchestra.engine.loading import event_of
from orchestra.engine.sessions import Row, find
from orchestra.engine.sessions import rows as all_rows
from orchestra.errors import ConfigError, Damaged, OrchestraError
from orchestra.graph.report import plural
from orchestra.ports import Store, Turn
from orchestra.run.events import AgentCommitCreated, Recorded
from orchestra.run.secrets import Redactor


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
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FILE",
            help="Write an HTML page instead (- for standard output): graph, timeline, conversations, cost.",
        ),
    ] = None,
    *,
    options: OutputOptions,
) -> int:
    """Write a session and its complete history to one file, for an archive or a bug report."""
    if sum(file is not None for file in (to, logs, html)) > 1:
        raise typer.BadParameter("--to, --logs and --html exclude each other; use one")
    if options.as_json and STREAM in (to, html):
        raise typer.BadParameter("--json and a file named - both write to standard output; use one")
    at = options.access()
    if logs is not None:
        return _export_logs(at, session, logs, options.as_json)
    if html is not None:
        return _export_html(at, session, html, options.as_json)
    if to == STREAM:
        return _export_to_stream(at, session)
    return _export_file(at, session, to, options.as_json)


def import_(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File written by export, - for standard input.")],
    *,
    options: OutputOptions,
) -> int:
    """Import a session from a file written by `export`."""
    at = options.access()
    if at.settings.place == "memory":
        raise ConfigError("a store in memory saves nothing", fix="name a store with --store DIR")

    async def put(store: Store) -> list[Row]:
        with _input_file(file) as there:
            return await import_sessions(store, there)

    rows = at.write(put, create=True)
    if options.as_json:
        say_json({"file": str(file), "sessions": _as_json(rows)}, indent=2)
        return 0
    say(f"imported {_names(rows)} from {one_line(str(file), 1000)}")
    newest = [row for row in rows if row.why != "child"][-1]
    say(f"  details: orchestra status{at.aim} {newest.session} --detail")
    return 0


STREAM = Path("-")
"""Standard output or input, as a file is named."""

PIECE = 1024 * 1024
"""Bytes that are written at once."""


def _export_file(at: StoreAccess, session: str, to: Path | None, as_json: bool) -> int:
    """Write a session to a new file."""

    async def write(opened: Store) -> tuple[Path, list[Row]]:
        row = await find(opened, session)
        file = _new(to or Path(f"{row.session}.orchestra"), "--to")
        return file, await export_session(opened, row.session, file)

    file, rows = at.read(write, session)
    _say_written(f"exported {_names(rows)}", file, rows, as_json)
    if not as_json:
        say(f"  import: orchestra import {one_line(str(file), 1000)} --store DIR")
    return 0


def _say_written(what: str, file: Path, rows: Sequence[Row], as_json: bool) -> None:
    size = file.stat().st_size
    if as_json:
        say_json({"file": str(file), "bytes": size, "sessions": _as_json(rows)}, indent=2)
    else:
        say(f"{what} to {one_line(str(file), 1000)}, {size} bytes")


def _export_to_stream(at: StoreAccess, session: str) -> int:
    """Write a session to standard output, for another program; what is said of it goes to standard error."""
    if sys.stdout.isatty():
        raise ConfigError(
            "an export cannot be written to a terminal", fix="redirect it, or name a file with --to FILE"
        )

    async def write(opened: Store) -> list[Row]:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "export"
            exported = await export_session(opened, session, file)
            with file.open("rb") as written:
                while piece := written.read(PIECE):
                    deliver(piece)
            return exported

    complain(f"exported {_names(at.read(write, session))}")
    return 0


def _export_logs(at: StoreAccess, session: str, folder: Path, as_json: bool) -> int:
    """Write a session as a run directory."""
    row = at.read(lambda store: write_run_directory(store, session, folder), session)
    if as_json:
        say_json({"folder": str(folder), "sessions": _as_json([row])}, indent=2)
        return 0
    say(f"wrote session {row.session} to {one_line(str(folder), 1000)}")
    return 0


def _export_html(at: StoreAccess, session: str, file: Path, as_json: bool) -> int:
    """Write a session and the sessions that it started as an HTML page."""

    async def write(opened: Store) -> tuple[list[Row], str]:
        rows = await _family(opened, await find(opened, session))
        chapters = [await _chapter(opened, at.settings, row) for row in rows]
        return rows, page(chapters, version("orchestra-dot"))

    rows, text = at.read(write, session)
    if file == STREAM:
        deliver(text)
        return 0
    _create(_new(file, "--html"), text)
    _say_written(f"wrote {_names(rows)}", file, rows, as_json)
    return 0


async def _family(store: Store, row: Row) -> list[Row]:
    """A session and, below each, the children and restarts that it started."""
    known = await all_rows(store)
    found, todo = [], [row]
    while todo:
        found.append(todo.pop())
        todo += [one for one in known if one.parent == found[-1].context_id and one.why in ("child", "restart")]
    return found


async def _chapter(store: Store, settings: Settings, row: Row) -> Chapter:
    turns = await with_branches(store, row)
    told = [one for path, turn in turns if (one := await _page_turn(store, path, turn)) is not None]
    commits = [one.recorded.event for one in told if isinstance(one.recorded.event, AgentCommitCreated)]
    changes = {one.commit: await _change(settings, one.repo, one.commit) for one in commits}
    made = chapter(await summary_of(store, row, read_stopped(settings)), told, changes)
    if missing := len(turns) - len(told):
        made.warnings.append(f"{plural(missing, 'turn')} cannot be read and are missing here")
    return made


async def _page_turn(store: Store, path: str, turn: Legible) -> PageTurn | None:
    """A turn for the page; None if it, or a text of it, is damaged."""
    recorded = event_of(turn) if isinstance(turn, Turn) else None
    if not isinstance(turn, Turn) or not isinstance(recorded, Recorded):
        return None
    try:
        return PageTurn(path, recorded, await whole(store, turn))
    except Damaged:
        return None


async def _change(settings: Settings, repo: str, commit: str) -> str:
    try:
        text = (await commit_text(settings, repo, commit)).decode("utf-8", "replace")
        return Redactor(settings.secrets).text(text)
    except OrchestraError as error:
        return f"not shown: {error}"


def _create(file: Path, text: str) -> None:
    try:
        with file.open("x", encoding="utf-8", errors="replace") as opened:
            opened.write(text)
    except OSError as error:
        raise ConfigError(f"cannot write {file}: {error.strerror or error}") from error


@contextmanager
def _input_file(file: Path) -> Iterator[Path]:
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


def _new(file: Path, option: str) -> Path:
    if os.path.lexists(file):
        raise ConfigError(f"{file} already exists", fix=f"name another file with {option} FILE")
    return file


def _names(rows: Sequence[Row]) -> str:
    return f"session{'s' if len(rows) > 1 else ''} {', '.join(row.session for row in rows)}"


def _as_json(rows: Sequence[Row]) -> list[dict[str, object]]:
    return [{"session": row.session, "context": row.context_id, "pipeline": row.pipeline} for row in rows]
