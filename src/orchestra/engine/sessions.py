"""Sessions in a store: how they are listed, found and summarized (S13-S15, S17, S25)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as changed

from msgspec.structs import replace

from orchestra.engine.holding import find_runner
from orchestra.engine.loading import LoadedSession, load, turn_of
from orchestra.engine.mailbox import stop_requested
from orchestra.engine.pending import OpenQuestion, cost_below, open_questions, since_checkpoint
from orchestra.engine.wiring import RunnerProcess, SessionPlace
from orchestra.errors import SessionNotFound, SessionTaken
from orchestra.ports import ContextRow, NewTurn, Store
from orchestra.run.events import Meta, PipelineStarted, SessionOpened
from orchestra.run.questions import offered_options, short_id
from orchestra.run.secrets import Redactor
from orchestra.run.state import NEW, ChildRecord, RunState, Spent, Successor
from orchestra.run.views import Pending, Phase, Summary, limit_setting, newest, raised_limit, state_phase

CLIENT_TAG = "orchestra"
MAILBOX = "kind:mailbox"
"""The label by which sessions are listed: their mailboxes, which are never forks (S13)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row(SessionPlace):
    """A session as its mailbox's metadata describes it."""

    pipeline: str = ""
    title: str = ""
    created_ms: int = 0
    parent: int = 0
    """Context of the session that it comes from."""
    why: str = ""
    """Why it comes from that one: restart, child, fork."""
    mirror_of: str = ""
    """The store that it is a mirror of (S22), as ``HOST:FOLDER``; empty for one that can be run here."""
    mirror: str = ""
    """The name of that store, which no other one has."""
    source: int = 0
    """Its context there."""


def mailbox_turn(state: RunState, context_id: int, origin: RunnerProcess, at: int, title: str = "") -> NewTurn:
    """Return the first turn of a session's mailbox, by which the session is listed (S13)."""
    title = title or session_title(state)
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


def listing_turn(row: Row, origin: RunnerProcess, at: int, more: Sequence[str] = ()) -> NewTurn:
    """Return the turn by which a session is listed; ``more`` are further labels."""
    opened = SessionOpened(context=row.context_id, pipeline=row.pipeline)
    meta = Meta(session=row.session, epoch=1, sequence=1, at=at)
    labels = [f"pipeline:{row.pipeline}", f"id:{row.session}", MAILBOX, f"session:{row.context_id}", *more]
    if row.parent:
        labels += [f"parent:{row.parent}", f"why:{row.why}"]
    return turn_of(meta, opened, _metadata(row.title, labels, _provenance(origin, at, row.parent, row.why)))


def first_metadata(
    started: PipelineStarted, session: str, origin: RunnerProcess, at: int, redactor: Redactor
) -> Mapping[int, object]:
    """Return the metadata of a session's first turn: title, labels and provenance (S13).

    The display id alone is a label, because CXDB's page searches a word as a whole label.
    """
    title = redactor.text(session_title(started))
    labels = [f"pipeline:{started.pipeline}", f"id:{session}", "kind:run", session]
    return _metadata(title, labels, _provenance(origin, at, started.parent_context, started.why))


def session_title(of: RunState | PipelineStarted) -> str:
    """Return the title of a session: its label, else its pipeline, and its goal."""
    name = of.label or of.pipeline
    return f"{name}: {of.goal}" if of.goal else name


def _provenance(origin: RunnerProcess, at: int, parent: int, why: str) -> Mapping[int, object]:
    own = {40: CLIENT_TAG, 41: origin.version, 43: origin.pid, 45: origin.host, 80: at}
    return {1: parent, 2: why, **own} if parent else own


def _metadata(title: str, labels: list[str], provenance: Mapping[int, object]) -> Mapping[int, object]:
    return {1: CLIENT_TAG, 2: title[:200], 3: labels, 10: provenance}


async def rows(store: Store, label: str = MAILBOX) -> list[Row]:
    """Return all sessions, newest first; of one that a mirror lists twice, the newest listing (S22)."""
    found = [row_of_context(row) for row in await store.contexts(label=label)]
    return _listed_once([row for row in found if row is not None])


def _listed_once(found: Sequence[Row]) -> list[Row]:
    """Drop listings of mirrored sessions that were listed again later, and put each store's into its order.

    A server may handle the last request of a killed sender after the next sender has looked. Ids only grow, so what
    comes late never counts as the newest.
    """
    kept: dict[tuple[str, int], Row] = {}
    newest = {
        row.context_id: kept.setdefault((row.mirror, row.source), row).context_id for row in found if row.mirror
    }
    once = [row for row in found if newest.get(row.context_id, row.context_id) == row.context_id]
    mirrored = {
        name: iter(sorted((row for row in once if row.mirror == name), key=lambda row: -row.source))
        for name in {row.mirror for row in once if row.mirror}
    }
    """The sessions of each mirrored store in its own order, which is not that in which they were sent."""
    ordered = [next(mirrored[row.mirror]) if row.mirror else row for row in once]
    return [changed(row, parent=newest.get(row.parent, row.parent)) if row.mirror else row for row in ordered]


def row_of_context(row: ContextRow) -> Row | None:
    """Return the session that a context lists, or None where it is not a session's mailbox."""
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
        mirror=labels.get("mirror", ""),
        source=int(source) if _number(source) else 0,
    )


def own(row: Row) -> Row:
    """Return a session that can be run and controlled in this store. Raises ``SessionTaken`` for a mirror."""
    if row.mirror_of:
        raise SessionTaken(
            f"session {row.session} is a mirror; its original is in {row.mirror_of}",
            fix="use the original store; or copy the session: orchestra export, then orchestra import",
        )
    return row


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


async def find(store: Store, name: str) -> Row:
    """Find a session by display id or unique prefix, ``#42`` for a context, or ``last`` (S14).

    ``last`` is the newest that is not a child. Raises ``SessionNotFound``.
    """
    known = await rows(store)
    if not known:
        raise SessionNotFound("no sessions in this store", fix="start one: orchestra run FILE.dot")
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
        raise SessionNotFound(f"{name!r} matches {len(matches)} sessions: {some}", fix="type more of the id")
    session, is_branch, _path = name.partition("/")
    if is_branch and session:
        raise SessionNotFound(
            f"a session is wanted, and {name!r} is the path of a branch", fix=f"name the session: {session}"
        )
    raise SessionNotFound(f"no session {name!r}", fix=_near(name, known))


def _a_childs(row: Row, by_context: Mapping[int, Row]) -> bool:
    """Whether a session is a child, or one in which a child continued after a restart."""
    while row.why == "restart" and row.parent in by_context:
        row = by_context[row.parent]
    return row.why == "child"


async def topmost(store: Store, row: Row) -> Row:
    """Return the session that a person started: the one above a child, else the session itself."""
    by_context = {each.context_id: each for each in await rows(store)}
    while row.parent in by_context and _a_childs(row, by_context):
        row = by_context[row.parent]
    return row


def _near(name: str, known: list[Row]) -> str:
    from difflib import get_close_matches  # only a mistake needs it

    near = get_close_matches(name.lower(), [row.session for row in known], n=3, cutoff=0.75)
    guess = f"did you mean {', '.join(near)}? " if near else ""
    return f"{guess}list sessions: orchestra status"


def row_of(named: Successor, pipeline: str) -> Row:
    """Return a session that a record names, as a listing would."""
    return Row(session=named.session, context_id=named.context_id, mailbox=named.mailbox, pipeline=pipeline)


async def has_begun(store: Store, mailbox: int) -> bool:
    """Whether a session that a record names has begun: its mailbox is written last."""
    return (await store.head(mailbox)).turn_id != 0


def place_of(named: Successor | ChildRecord) -> SessionPlace:
    """Where the session is that a record names."""
    return SessionPlace(session=named.session, context_id=named.context_id, mailbox=named.mailbox)


async def newest_of_chain(store: Store, place: SessionPlace) -> tuple[SessionPlace, LoadedSession]:
    """Follow restarts: return the last session of a chain that has begun, and its record."""
    while True:
        loaded = await load(store, place.context_id)
        following = loaded.state.following
        if following is None or not await has_begun(store, following.mailbox):
            return place, loaded
        place = place_of(following)


async def summarize(store: Store, row: Row, now_ms: int) -> Summary:
    """Return a session's row of a listing, folded from its newest turns back to its last checkpoint.

    ``now_ms`` is UTC in milliseconds: the age of its runner's claim is measured against it.
    """
    head = await store.head(row.context_id)
    events = await since_checkpoint(store, row.context_id)
    state = newest(events) or NEW
    following = None if row.mirror_of else state.following
    begins = following is not None and not await has_begun(store, following.mailbox)
    heard = None
    if not row.mirror_of and (state.result is None or begins):
        heard = await find_runner(store, row, now_ms)
    phase, detail = state_phase(state, alive=heard is not None)
    if row.mirror_of and state.result is None and not state.paused:
        phase, detail = Phase.MIRRORED, f"copy from {row.mirror_of}"
    elif following is not None and begins:
        phase, detail = Phase.CRASHED, f"its runner died before session {following.session} started"
    if heard is not None:
        phase = Phase.RUNNING if heard.sure else Phase.DOUBTFUL
        detail = heard.note if heard.sure else f"{heard.note}, last seen {heard.ago_ms // 1000} s ago"
        if await stop_requested(store, row.mailbox, state):
            whole = (await load(store, row.context_id)).state  # a checkpoint has no requests that were carried out
            if request := await stop_requested(store, row.mailbox, whole):
                detail = f"{request}; {detail}"
    questions: tuple[Pending, ...] = ()
    if state.result is None and not row.mirror_of:
        found = await open_questions(store, row.session, row.mailbox, events)
        questions = tuple(_pending(one) for one in found)
        phase, detail = _waiting(phase, detail, state, questions)
        state = replace(state, spent=state.spent + Spent(cost_micros=await cost_below(store, events)))
    return Summary(
        session=row.session,
        context_id=row.context_id,
        pipeline=row.pipeline,
        title=row.title,
        phase=phase,
        node=state.node,
        detail=detail,
        steps=state.steps,
        turns=head.depth + 1 if head.turn_id else 0,
        started_ms=state.started_ms or row.created_ms,
        last_ms=state.at,
        parent=row.parent,
        why=row.why,
        mirror_of=row.mirror_of,
        cost_micros=state.spent.cost_micros,
        limit=limit_setting(state),
        raise_to_micros=raised_limit(state),
        alive=heard is not None,
        questions=questions,
    )


ABOUT = 2000
"""Characters shown in a listing of the text to decide on."""


def _pending(one: OpenQuestion) -> Pending:
    question = one.question
    return Pending(
        question=question.id,
        session=one.session,
        node=question.stage,
        text=question.text,
        choices={option.key: option.label for option in offered_options(question)},
        freeform=question.freeform,
        default=question.default,
        timeout_ms=question.timeout_ms,
        asked_ms=one.asked.at,
        about=question.about[:ABOUT] if isinstance(question.about, str) else question.about.preview,
        answered=f"{one.answer.label}, by {one.answer.who}" if one.answer is not None else "",
    )


def _waiting(phase: Phase, detail: str, state: RunState, questions: Sequence[Pending]) -> tuple[Phase, str]:
    """The state of a session that asks people something."""
    unanswered = [one for one in questions if not one.answered]
    paused = phase is Phase.PAUSED and state.waiting
    if unanswered and (paused or phase in (Phase.RUNNING, Phase.DOUBTFUL)):
        first, more = unanswered[0], len(unanswered) - 1
        return Phase.WAITING, f"{first.text} ({short_id(first.question)})" + (f" and {more} more" if more else "")
    if questions and paused:
        return phase, f"answered: {questions[0].answered}; it continues when it is resumed"
    return phase, detail
