"""Sessions in a store: made, found, listed, read (S13–S15, S17, S25)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestra.engine.holding import Holding, heard_of, take
from orchestra.engine.journal import Journal, Listener
from orchestra.engine.loading import Loaded, backwards, caught_up, event_of, load
from orchestra.errors import SessionNotFound, SessionTaken
from orchestra.ports import Clock, ContextRow, NewTurn, Store
from orchestra.run.blobs import BlobRef
from orchestra.run.codec import encode
from orchestra.run.declare import BY_CLASS, changed, values
from orchestra.run.events import (
    Event,
    Meta,
    PipelineCanceled,
    PipelineCompleted,
    PipelineFailed,
    PipelineRestarted,
    PipelineStarted,
    PipelineTaken,
    Recorded,
    SessionOpened,
)
from orchestra.run.plain import clean, plain_json
from orchestra.run.secrets import Redactor
from orchestra.run.state import RunState
from orchestra.run.views import Phase, Summary, newest, phase_of

CLIENT_TAG = "orchestra"
MAILBOX = "kind:mailbox"
"""The label by which sessions are listed: their mailboxes, which are never forks (S13)."""

FIRST_LOOK = 6
"""Turns read for a row of a listing; enough to reach the last checkpoint of most sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """A session that this process runs: its journal and the right to it (S16)."""

    store: Store
    session: str
    context_id: int
    mailbox: int
    journal: Journal
    hold: Holding


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a session is to be: its display id, its context and its mailbox, both empty so far."""

    session: str
    context_id: int
    mailbox: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Who makes a session, for its provenance (cxdb.md 6.1)."""

    host: str
    pid: int
    version: str

    @property
    def note(self) -> str:
        """How the holder of a session is named to others (S16)."""
        return f"process {self.pid} on {self.host}"


async def open_session(
    *,
    store: Store,
    clock: Clock,
    redactor: Redactor,
    listeners: tuple[Listener, ...],
    origin: Origin,
    started: PipelineStarted,
    place: Place | None = None,
) -> Opened:
    """Make a session and its mailbox, and record its beginning; listed once all of it is durable.

    ``place`` is where a session begins that was named before (E14).
    """
    place = place or Place(
        session=clock.display_id(),
        mailbox=(await store.create()).context_id,
        context_id=(await store.create()).context_id,
    )
    session, mailbox, context = place.session, place.mailbox, place.context_id
    hold = Holding(
        store=store,
        clock=clock,
        mailbox=mailbox,
        session=session,
        note=origin.note,
        epoch=1,
        lock=store.hold(context, origin.note),
    )
    journal = Journal(
        store=store,
        context_id=context,
        session=session,
        epoch=1,
        clock=clock,
        redactor=redactor,
        listeners=listeners,
        guard=hold.check,
    )
    try:
        await _begin(store, journal, _recordable(started, mailbox), hold, origin, redactor, clock.now_ms())
    except BaseException:
        await hold.release()
        raise
    return Opened(store=store, session=session, context_id=context, mailbox=mailbox, journal=journal, hold=hold)


async def reopen_session(
    *,
    store: Store,
    clock: Clock,
    redactor: Redactor,
    listeners: tuple[Listener, ...],
    origin: Origin,
    row: Row,
    known: Loaded | None = None,
    gone: str = "",
) -> Opened:
    """Take the right to a session and read how far it came; its journal goes on as the next epoch (S16, S26).

    Of a session that ended well nothing is taken but the lock, and nothing recorded. Else its chain is read once
    more behind the turn that says that it is taken: what an older runner appended before it counts, and nothing
    that comes after. ``known`` is what was read of it already, ``gone`` the claim of a runner that is known to
    have stopped. Raises ``SessionTaken``, and what ``load`` raises.
    """
    loaded = known or await load(store, row.context_id)
    result = loaded.state.result
    if result is not None and result.good:
        hold = Holding(
            store=store,
            clock=clock,
            mailbox=row.mailbox,
            session=row.session,
            note=origin.note,
            epoch=loaded.state.epoch + 1,
            lock=store.hold(row.context_id, origin.note),
        )
    else:
        hold = await take(
            store=store,
            clock=clock,
            context_id=row.context_id,
            mailbox=row.mailbox,
            session=row.session,
            note=origin.note,
            least=loaded.state.epoch,
            gone=gone,
        )

    def journal() -> Journal:
        return Journal(
            store=store,
            context_id=row.context_id,
            session=row.session,
            epoch=hold.epoch,
            clock=clock,
            redactor=redactor,
            listeners=listeners,
            state=loaded.state,
            bytes_since_whole=loaded.bytes_since_whole,
            whole_size=loaded.whole_size,
            guard=hold.check,
        )

    pen = journal()
    if result is None or not result.good:
        try:
            pen.record(PipelineTaken(holder=origin.note))
            await pen.flush()
            loaded = await caught_up(store, row.context_id, loaded)
            pen = journal()
        except BaseException:
            await hold.release()
            raise
    return Opened(
        store=store,
        session=row.session,
        context_id=row.context_id,
        mailbox=row.mailbox,
        journal=pen,
        hold=hold,
    )


async def _begin(
    store: Store,
    journal: Journal,
    started: PipelineStarted,
    hold: Holding,
    origin: Origin,
    redactor: Redactor,
    at: int,
) -> None:
    """Record the first turn of the session, then that of its mailbox, by which it is listed, and who runs it."""
    session = hold.session
    title = redactor.text(_title(started.label, started.pipeline, started.goal))
    provenance = _provenance(origin, at, started.parent_context, started.why)
    labels = [f"pipeline:{started.pipeline}", f"id:{session}", "kind:run"]
    journal.record(started, metadata=_metadata(title, labels, provenance))
    await journal.flush()
    turn = mailbox_turn(journal.state, journal.context_id, origin, at, title)
    _, claim = await store.append(started.mailbox, [turn, hold.claim()])
    hold.claimed(claim)


def mailbox_turn(state: RunState, context_id: int, origin: Origin, at: int, title: str = "") -> NewTurn:
    """The first turn of a session's mailbox, by which the session is listed with what it comes from (S13)."""
    title = title or _title(state.label, state.pipeline, state.goal)
    row = Row(
        session=state.session,
        context_id=context_id,
        mailbox=0,
        pipeline=state.pipeline,
        title=title,
        created_ms=at,
        parent=state.parent_context,
        why=state.why,
    )
    return listing_turn(row, origin, at)


def listing_turn(row: Row, origin: Origin, at: int, more: Sequence[str] = ()) -> NewTurn:
    """The turn by which a session is listed; ``more`` are further labels."""
    opened = SessionOpened(context=row.context_id, pipeline=row.pipeline)
    meta = Meta(session=row.session, epoch=1, sequence=1, at=at)
    labels = [f"pipeline:{row.pipeline}", f"id:{row.session}", MAILBOX, f"session:{row.context_id}", *more]
    if row.parent:
        labels += [f"parent:{row.parent}", f"why:{row.why}"]
    return turn_of(meta, opened, _metadata(row.title, labels, _provenance(origin, at, row.parent, row.why)))


def turn_of(meta: Meta, event: Event, metadata: Mapping[int, object] | None = None) -> NewTurn:
    """The turn that holds an event."""
    declared = BY_CLASS[type(event)]
    return NewTurn(type_id=declared.type_id, type_version=declared.version, payload=encode(meta, event, metadata))


def _recordable(started: PipelineStarted, mailbox: int) -> PipelineStarted:
    """The beginning with its mailbox, in clean Unicode: words from a command line may hold lone surrogates."""
    words: dict[str, Any] = {
        field.name: clean(value)
        for field, value in zip(BY_CLASS[PipelineStarted].fields, values(started), strict=True)
        if isinstance(value, str)
    }
    variables: dict[str, Any] = {
        clean(name): value if isinstance(value, BlobRef) else plain_json(value)
        for name, value in started.variables.items()
    }
    return changed(started, **words, variables=variables, mailbox=mailbox)


def _title(label: str, pipeline: str, goal: str) -> str:
    name = label or pipeline
    return f"{name}: {goal}" if goal else name


def _provenance(origin: Origin, at: int, parent: int, why: str) -> Mapping[int, object]:
    own = {40: CLIENT_TAG, 41: origin.version, 43: origin.pid, 45: origin.host, 80: at}
    return {1: parent, 2: why, **own} if parent else own


def _metadata(title: str, labels: list[str], provenance: Mapping[int, object]) -> Mapping[int, object]:
    return {1: CLIENT_TAG, 2: title[:200], 3: labels, 10: provenance}


# --- finding and listing -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A session as its mailbox's metadata names it."""

    session: str
    context_id: int
    mailbox: int
    pipeline: str
    title: str
    created_ms: int
    parent: int = 0
    """Context of the session that it comes from."""
    why: str = ""
    """Why it comes from that one: restart, child, fork."""
    mirror_of: str = ""
    """The store that it is a mirror of (S22), as ``HOST:FOLDER``; empty for one that can be run here."""
    source: int = 0
    """Its context there."""


async def rows(store: Store) -> list[Row]:
    """All sessions, newest first."""
    found = [row_of_context(row) for row in await store.contexts(label=MAILBOX)]
    return [row for row in found if row is not None]


def row_of_context(row: ContextRow) -> Row | None:
    """The session that a context lists, where it is a session's mailbox."""
    labels = dict(label.split(":", 1) for label in row.labels if ":" in label)
    context, parent, source = (labels.get(name, "") for name in ("session", "parent", "source"))
    if not _number(context) or row.client_tag != CLIENT_TAG:
        return None
    return Row(
        session=labels.get("id", ""),
        context_id=int(context),
        mailbox=row.context_id,
        pipeline=labels.get("pipeline", ""),
        title=row.title,
        created_ms=row.created_ms,
        parent=int(parent) if _number(parent) else 0,
        why=labels.get("why", ""),
        mirror_of=labels.get("mirror-of", ""),
        source=int(source) if _number(source) else 0,
    )


def own(row: Row) -> Row:
    """The session, where it can be run and told something in this store. Raises ``SessionTaken`` for a mirror."""
    if row.mirror_of:
        raise SessionTaken(
            f"session {row.session} is a mirror here: its master is in {row.mirror_of}",
            fix="say it there; or take a copy along: orchestra export, then orchestra import",
        )
    return row


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


async def find(store: Store, name: str) -> Row:
    """A session by display id, a unique beginning of one, ``#42`` for a context id, or ``last`` (S14), which is
    the newest that is nobody's child."""
    known = await rows(store)
    if not known:
        raise SessionNotFound("there is no session in this store yet", fix="start one: orchestra run FILE.dot")
    if name == "last":
        by_context = {row.context_id: row for row in known}
        return next((row for row in known if not _a_childs(row, by_context)), known[0])
    if name.startswith("#"):
        matches = [row for row in known if str(row.context_id) == name[1:]]
    else:
        matches = [row for row in known if row.session == name]
        matches = matches or [row for row in known if name and row.session.startswith(name.lower())]
    if len(matches) == 1:
        return matches[0]
    if matches:
        some = ", ".join(row.session for row in matches[:5])
        raise SessionNotFound(f"{name!r} fits {len(matches)} sessions: {some}", fix="type more of the id")
    raise SessionNotFound(f"no session {name!r}", fix=_near(name, known))


def _a_childs(row: Row, by_context: Mapping[int, Row]) -> bool:
    """Whether a session is a child, or one in which a child went on after a restart."""
    while row.why == "restart" and row.parent in by_context:
        row = by_context[row.parent]
    return row.why == "child"


def _near(name: str, known: list[Row]) -> str:
    from difflib import get_close_matches  # only a mistake needs it

    near = get_close_matches(name.lower(), [row.session for row in known], n=3, cutoff=0.5)
    guess = f"did you mean {', '.join(near)}? " if near else ""
    return f"{guess}see them all: orchestra status"


async def begun(store: Store, mailbox: int) -> bool:
    """Whether a session that was named before has begun: its mailbox is the last thing that is written then."""
    return (await store.head(mailbox)).turn_id != 0


async def summarize(store: Store, row: Row, now_ms: int) -> Summary:
    """A session's row of a listing: its newest turns, back to its last checkpoint, are read.

    ``now_ms`` is UTC in milliseconds, for how long its runner was not heard of.
    """
    head = await store.head(row.context_id)
    events: list[Recorded] = []
    seen = newest(events)
    async for page in backwards(store, row.context_id, FIRST_LOOK):
        known = [event_of(turn) for turn in page]
        events[:0] = [event for event in known if isinstance(event, Recorded)]
        seen = newest(events)
        if seen.complete:
            break
    ended = isinstance(seen.end, PipelineCompleted | PipelineFailed | PipelineRestarted | PipelineCanceled)
    heard = None if ended or row.mirror_of else await heard_of(store, row.context_id, row.mailbox, now_ms)
    phase, detail = phase_of(seen.end, alive=heard is not None)
    if row.mirror_of and seen.end is None:
        phase, detail = Phase.MIRRORED, f"as far as it was sent from {row.mirror_of}"
    elif (
        not row.mirror_of
        and isinstance(seen.end, PipelineRestarted)
        and not await begun(store, seen.end.next_mailbox)
    ):
        heard = await heard_of(store, row.context_id, row.mailbox, now_ms)
        phase, detail = Phase.CRASHED, f"its runner died before {seen.end.next_session} had begun"
    if heard is not None:
        phase = Phase.RUNNING if heard.sure else Phase.DOUBTFUL
        detail = heard.note if heard.sure else f"{heard.note}, not heard of for {heard.ago_ms // 1000} s"
    return Summary(
        session=row.session,
        context_id=row.context_id,
        pipeline=row.pipeline,
        title=row.title,
        phase=phase,
        node=seen.node,
        detail=detail,
        steps=seen.steps,
        turns=head.depth + 1 if head.turn_id else 0,
        started_ms=seen.started_ms or row.created_ms,
        last_ms=seen.last_ms,
        parent=row.parent,
        why=row.why,
        mirror_of=row.mirror_of,
    )
