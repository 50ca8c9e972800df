"""``orchestra show``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from orchestra.app.commits import COMMIT, commits_of, origin_of, place_of
from orchestra.app.workspaces import own_environment
from orchestra.cli.errors import STORE
from orchestra.cli.options import one_json
from orchestra.cli.screen.turn import say_turn, whole
from orchestra.cli.screen.words import describe
from orchestra.cli.stores import OutputOptions, Session, StoreAccess, complete_session
from orchestra.cli.terminal import (
    SCHEMA,
    clock_time,
    complain,
    deliver,
    one_line,
    room,
    say,
    say_json,
)
from orchestra.config.settings import Settings
from orchestra.engine.gaps import Gap, Legible, context_of_branch, legible, with_branches
from orchestra.engine.loading import backwards, event_of, resolve
from orchestra.engine.sessions import find
from orchestra.errors import ConfigError, Damaged, SessionNotFound, WorkspaceError
from orchestra.graph.report import plural, wrap
from orchestra.ports import Store, Turn
from orchestra.run.codec import from_map, output_name, utf8
from orchestra.run.declare import BY_CLASS, BlobRef
from orchestra.run.event_json import plain
from orchestra.run.events import Event, Recorded
from orchestra.workspace.repos import locate


def show(
    place: Annotated[
        str,
        typer.Argument(
            metavar="SESSION[:DEPTH]|COMMIT",
            help="Session, and the depth of a turn in it (default: the newest turn); or a commit of a session.",
            autocompletion=complete_session,
        ),
    ],
    whole: Annotated[
        str,
        typer.Option(
            "--whole",
            metavar="FIELD",
            help="Write one field of the turn, such as output or response, byte for byte.",
            show_default=False,
        ),
    ] = "",
    diff: Annotated[bool, typer.Option("--diff", help="Show the change that the turn committed.")] = False,
    *,
    options: OutputOptions,
) -> int:
    """Show one recorded turn in full."""
    if whole and options.as_json:
        raise typer.BadParameter("--whole and --json exclude each other; use one")
    at = options.access()
    if whole:
        return _write_whole(at, place, whole)
    place = place_by_commit(at, place)
    return _show_diff(at, place) if diff else _show_turn(at, place, options.as_json)


def log(
    session: Session,
    json_stream: Annotated[
        bool, typer.Option("--json-stream", help="Print every event as a line of JSON.")
    ] = False,
    why: Annotated[
        str | None,
        typer.Option("--why", metavar="NODE", help="Show for each visit of a node which edge was taken, and why."),
    ] = None,
    *,
    options: OutputOptions,
) -> int:
    """Show every recorded event of a session, oldest first; SESSION:DEPTH shows those from that depth on.

    SESSION/FAN/BRANCH shows a parallel branch.
    """
    json = one_json(options.as_json, json_stream)
    if why is None:
        return _show_log(options.access(), session, json)
    from orchestra.cli.screen.why import show_why

    return show_why(options.access(), session, why, json=json)


def _show_turn(at: StoreAccess, place: str, as_json: bool) -> int:
    """Print one turn: the newest (``SESSION``), the one at a depth, or one of a branch (``SESSION/fan/branch``)."""
    name, depth = split_place(place)

    async def look(opened: Store) -> tuple[Turn, dict[str, Any], str]:
        turn, session = await _turn_at(opened, name, depth)
        return turn, await whole(opened, turn), session

    turn, data, session = at.read(look, name)
    if as_json:
        say_json(data, indent=2)
        return 0
    say_turn(turn, data, f"{session}:{turn.depth}")
    return 0


def place_by_commit(at: StoreAccess, place: str) -> str:
    """Return the place of the turn that made a commit; any other place unchanged."""
    if not COMMIT.fullmatch(place):
        return place
    origin = asyncio.run(origin_of(at.settings, place))
    if origin is None:
        return place
    return at.read(lambda store: place_of(store, origin), origin.session)


def split_place(place: str) -> tuple[str, int | None]:
    """Return the session and the depth in ``SESSION:DEPTH``; None without one. Raises ``ConfigError``."""
    name, _, depth = place.partition(":")
    if depth and not (depth.isascii() and depth.isdigit() and len(depth) < 19):
        raise ConfigError(
            f"{one_line(depth, 40)!r} is not a depth",
            fix="write SESSION:DEPTH, with a depth as `orchestra log` shows it",
        )
    return name, int(depth) if depth else None


async def _turn_at(store: Store, name: str, depth: int | None) -> tuple[Turn, str]:
    """Return a turn of a session, or of the branch whose path follows its name, and the name with the whole id.

    A branch is the one of the newest visit, or of an earlier one that has a turn of its own at the depth.
    """
    session, _, path = name.partition("/")
    try:
        row = await find(store, session)
    except SessionNotFound as error:
        if not error.message.startswith("no session "):
            raise
        words = f"{one_line(name, 100)!r} is neither a session nor a commit of one"
        raise SessionNotFound(words, fix=error.fix) from None
    if not path:
        return await _turn(store, row.context_id, depth, row.session), row.session
    exact = f"{row.session}/{path}"
    context_id = await context_of_branch(store, row, path)
    if context_id is None:
        raise _no_branch(row.session, path)
    own = [turn for place, turn in await with_branches(store, row) if place == path and turn.depth == depth]
    if own and isinstance(own[-1], Turn):
        return own[-1], exact
    return await _turn(store, context_id, depth, exact), exact


def _no_branch(session: str, path: str) -> SessionNotFound:
    return SessionNotFound(f"session {session} has no branch {path!r}", fix=f"see: orchestra log {session}")


def _write_whole(at: StoreAccess, place: str, field: str) -> int:
    """Write a field of a turn to standard output, byte for byte, however long it is."""
    name, depth = split_place(place)

    async def look(opened: Store) -> None:
        turn, _session = await _turn_at(opened, name, depth)
        found = event_of(turn)
        if not isinstance(found, Recorded):
            raise ConfigError(f"the turn cannot be read: {found.reason}")
        for ref in await _parts(opened, found.event, field):
            deliver(ref if isinstance(ref, bytes) else await opened.get_blob(bytes.fromhex(ref.hash)))

    at.read(look, name)
    return 0


async def _outputs(store: Store, event: Event) -> dict[str, list[BlobRef]]:
    """Return the whole outputs of an agent's cut tool results, by their names in the results (A32)."""
    found: dict[str, list[BlobRef]] = {}
    for message in getattr(event, "messages", ()):
        known = await resolve(store, message)
        whole = [from_map(part) for part in known.get("whole", ())] if isinstance(known, dict) else []
        if whole:
            found[output_name(whole)] = whole
    return found


async def _parts(store: Store, event: Event, field: str) -> Sequence[bytes | BlobRef]:
    """The pieces of a field or an output: what the turn holds itself, or the blobs that hold it."""
    outputs = await _outputs(store, event)
    if field in outputs:
        return outputs[field]
    known = [one.name for one in BY_CLASS[type(event)].fields if one.type == "text"]
    if field not in known:
        names = (*known, *outputs)
        raise ConfigError(
            f"the turn ({BY_CLASS[type(event)].event}) has no text field {field!r}",
            fix=f"it has: {', '.join(names)}" if names else "name another turn",
        )
    parts = getattr(event, f"{field}_parts", ())
    value = getattr(event, field)
    return [from_map(part) for part in parts] or [value if isinstance(value, BlobRef) else utf8(value)]


async def _turn(store: Store, context_id: int, depth: int | None, name: str) -> Turn:
    try:
        found = await _at_depth(store, context_id, depth)
    except Damaged:  # in the same page as the one that is asked for, perhaps
        turns = await legible(store, context_id)
        found = next((turn for turn in turns if turn.depth == (turns[-1].depth if depth is None else depth)), None)
    if isinstance(found, Gap):
        raise Damaged(f"turn {found.turn_id}: {found.reason}", fix="find all damage: orchestra doctor --deep")
    if found is None:
        newest = (await store.head(context_id)).depth
        raise SessionNotFound(f"session {name!r} has no turn at depth {depth}; the newest is at {newest}")
    return found


async def _at_depth(store: Store, context_id: int, depth: int | None) -> Legible | None:
    async for page in backwards(store, context_id, 64 if depth is not None else 1):
        if depth is None:
            return page[-1]
        if page[0].depth <= depth:
            return next((turn for turn in page if turn.depth == depth), None)
    return None


WIDE = 100
"""Columns from which on the names of branches' events, which are long, get a column as wide."""


def _show_log(at: StoreAccess, session: str, json: str) -> int:
    """Print every event of a session or a branch, oldest first; of ``SESSION:DEPTH`` those from that depth on."""
    place, depth = split_place(session)
    session, _, path = place.partition("/")

    async def look(opened: Store) -> tuple[str, list[tuple[str, Legible]]]:
        row = await find(opened, session)
        found = await with_branches(opened, row)
        if path:
            found = [(branch, turn) for branch, turn in found if branch == path or branch.startswith(f"{path}/")]
            if not found:
                raise _no_branch(row.session, path)
        if depth is None:
            return row.session, found
        first, _name = await _turn_at(opened, place, depth)
        return row.session, [(branch, turn) for branch, turn in found if turn.turn_id >= first.turn_id]

    name, found = at.read(look, session)
    turns = [turn for _path, turn in found]
    if json:
        _json_log(name, turns, stream=json == "stream")
        return _readable(turns, at)
    longest = max((len(str(turn.depth)) for turn in turns), default=1)
    fit, indent = room(), " " * (longest + 2)
    names = len("ParallelBranchCompleted") if fit >= WIDE and any(path for path, _turn in found) else 17
    lines = (_line(turn, longest, names, path) for path, turn in found)
    say("\n".join(part for line in lines for part in wrap("", line, fit, indent)))
    return _readable(turns, at)


def _readable(turns: list[Legible], at: StoreAccess) -> int:
    """The exit code: what could be read was shown, and what could not is said."""
    gaps = [turn for turn in turns if isinstance(turn, Gap)]
    if not gaps:
        return 0
    complain(f"{plural(len(gaps), 'turn')} cannot be read; find all damage: orchestra doctor --deep{at.aim}")
    return STORE


def _json_log(name: str, turns: list[Legible], *, stream: bool) -> None:
    lines = [_data(turn) for turn in turns]
    if not stream:
        say_json({"schema": SCHEMA, "session": name, "events": lines})
        return
    for number, line in enumerate(lines):
        say_json({"schema": SCHEMA, **line} if number == 0 else line)


def _data(turn: Legible) -> dict[str, Any]:
    if isinstance(turn, Gap):
        return {"event": None, "turn": turn.turn_id, "depth": turn.depth, "unreadable": turn.reason}
    found = event_of(turn)
    if isinstance(found, Recorded):
        return plain(found)
    return {
        "event": None,
        "turn": turn.turn_id,
        "depth": turn.depth,
        "type": turn.type_id,
        "unreadable": found.reason,
    }


def _line(turn: Legible, longest: int, names: int, path: str) -> str:
    if isinstance(turn, Gap):
        lost = "" if turn.older else "; older turns cannot be reached"
        return f"{turn.depth:>{longest}}  --:--:--  cannot be read: {one_line(turn.reason, 200)}{lost}"
    found = event_of(turn)
    if not isinstance(found, Recorded):
        return f"{turn.depth:>{longest}}  --:--:--  {one_line(turn.type_id, 60)}  ({one_line(found.reason, 100)})"
    subject, text = describe(found.event)
    name = BY_CLASS[type(found.event)].event
    if path:
        subject = path if subject in ("", path, path.rpartition("/")[2]) else f"{path}/{subject}"
    shown = f"{one_line(subject, 60 if path else 40)}  " if subject else ""
    lead = f"{turn.depth:>{longest}}  {clock_time(found.meta.at)}  {name:{names}}"
    return f"{lead}  {shown}{one_line(text, 300)}".rstrip()


def _show_diff(at: StoreAccess, place: str) -> int:
    """Write the commits of a turn with their changes, as ``git show`` does."""
    name, depth = split_place(place)
    session, _, branch = name.partition("/")

    async def look(store: Store) -> list[tuple[str, str]]:
        return await commits_of(store, (await find(store, session)).session, branch, depth)

    for repo, commit in at.read(look, session):
        deliver(asyncio.run(commit_text(at.settings, repo, commit)))
    return 0


async def commit_text(settings: Settings, repo: str, commit: str) -> bytes:
    """Return what ``git show`` says of a commit of a repository in the settings.

    Raises ``ConfigError`` and ``WorkspaceError`` if there is no such repository or commit.
    """
    configured = settings.workspace.repos if settings.workspace is not None else ()
    found = next((one for one in configured if one.name == repo), None)
    if found is None:
        raise ConfigError(f"the repository {repo} is not in the settings", fix="name it under workspace.repos")
    git = await locate(found, own_environment())
    done = await git.run("show", "--no-ext-diff", "--no-textconv", "--stat", "--patch", commit, "--", check=False)
    if done.code:
        raise WorkspaceError(f"the commit {commit[:12]} is not in {found.path}: {done.err.strip()}")
    return done.out
