"""Requests from one process to the runner of a session: pause, cancel, steer (S15)."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import socket
from dataclasses import dataclass, replace

from orchestra.app.runs import RunSetup
from orchestra.app.workspaces import left_checked_out
from orchestra.config.settings import Settings
from orchestra.engine.below import sweep_all
from orchestra.engine.loading import load
from orchestra.engine.mailbox import CANCEL, STEER, Action, MailboxRequest, send
from orchestra.engine.opening import Opening, lock_session
from orchestra.engine.sessions import Row, find, own, rows, summarize
from orchestra.errors import ConfigError, SessionTaken
from orchestra.ports import Clock, Store
from orchestra.run.events import PipelineCanceled
from orchestra.run.secrets import Redactor
from orchestra.run.views import ENDED, Phase, Summary

LIVE = frozenset({Phase.RUNNING, Phase.DOUBTFUL, Phase.WAITING})
"""Phases in which a runner may have the session."""

STOP_POLL_SECONDS = 0.1
"""How often a session is read while waiting for an answer, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestResult:
    """What a request led to: the session before and after, and the request, or None where none was needed.

    ``children`` are those that were canceled with it because nobody ran them; ``notes`` say what became of the
    commands that a dead runner had left running, and which checkouts it left on the session's branch.
    """

    before: Summary
    after: Summary
    request: MailboxRequest | None
    children: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the session has stopped."""
        return not self.after.alive


def asker() -> str:
    """Who asks, as the record names it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        user = "somebody"
    return f"{user} on {socket.gethostname()}"


async def ask(
    store: Store, settings: Settings, name: str, action: Action, text: str, *, clock: Clock, patience: float
) -> RequestResult:
    """Put a request into a session's mailbox and wait up to ``patience`` seconds for the run to stop.

    A session that nobody runs has nothing to pause, and is canceled by this process, which also stops what its
    runner left running (E4); so are children that a canceled one leaves behind. Raises ``SessionNotFound``,
    ``ConfigError`` for an instruction that no agent will get, and ``StoreError``.
    """
    asked = await _request(store, settings, name, action, text, clock, patience)
    if action != CANCEL or asked.after.phase is not Phase.CANCELED:
        return asked
    children, notes = await _cancel_children(store, settings, asked.after, clock)
    return replace(asked, children=tuple(children), notes=(*asked.notes, *notes))


async def _request(
    store: Store, settings: Settings, name: str, action: Action, text: str, clock: Clock, patience: float
) -> RequestResult:
    row = own(await find(store, name))
    before = await summarize(store, row, clock.now_ms())
    idle = not before.alive
    if action == STEER and before.phase in ENDED - {Phase.FAILED}:
        raise ConfigError(f"session {row.session} is {before.phase}: it is too late to steer it")
    if (before.phase in ENDED and action != STEER) or (idle and action not in (CANCEL, STEER)):
        return RequestResult(before=before, after=before, request=None)
    request = await send(
        store,
        row.mailbox,
        row.session,
        action,
        text=Redactor(settings.secrets).text(text),
        who=asker(),
        now_ms=clock.now_ms(),
    )
    if action == STEER:
        return RequestResult(before=before, after=before, request=request)
    notes = await _cancel(store, settings, row, request, clock) if idle else ()
    return RequestResult(
        before=before, after=await _wait_for_end(store, row, clock, patience), request=request, notes=notes
    )


async def _cancel(
    store: Store, settings: Settings, row: Row, request: MailboxRequest, clock: Clock
) -> tuple[str, ...]:
    """Take a session without a runner, stop its left processes, and record its end (S15, E4)."""
    wiring = RunSetup(store=store, settings=settings, clock=clock).wiring(settings.secrets)
    opened = await lock_session(wiring, Opening(place=row, loaded=await load(store, row.context_id)))
    try:
        state = opened.journal.state
        why = f"by {request.who}: {request.text}" if request.text else f"by {request.who}"
        swept = await sweep_all(wiring, state)
        for warning in swept:
            opened.journal.record(warning)
        opened.journal.record(PipelineCanceled(node=state.node, reason=why, request=request.turn_id))
        await opened.journal.flush()
    finally:
        await opened.hold.release()
    return (*(warning.message for warning in swept), *await left_checked_out(settings, state.workspace))


async def _cancel_children(
    store: Store, settings: Settings, parent: Summary, clock: Clock
) -> tuple[list[str], list[str]]:
    """Cancel the children of a canceled session, and theirs.

    A child that another process runs is asked to stop.

    Return their names, and notes about commands that they left running.
    """
    canceled: list[str] = []
    notes: list[str] = []
    for row in await _below(store, parent.context_id):
        found = await summarize(store, row, clock.now_ms())
        if found.phase in ENDED or found.phase is Phase.RESTARTED:
            continue
        text = f"with {parent.session}"
        request = await send(store, row.mailbox, row.session, CANCEL, text=text, who=asker(), now_ms=clock.now_ms())
        if not found.alive:
            with contextlib.suppress(SessionTaken):  # who has taken it meanwhile hears of the request
                notes += await _cancel(store, settings, row, request, clock)
                canceled.append(row.session)
    return canceled, notes


async def _below(store: Store, context_id: int) -> list[Row]:
    """The children of a session, and theirs, those nearest to it first.

    Each comes with those as which it restarted.
    """
    known, found = await rows(store), list[Row]()
    above: list[tuple[int, tuple[str, ...]]] = [(context_id, ("child",))]
    for parent, whys in above:  # grows while it is read
        for row in known:
            if row.parent == parent and row.why in whys:
                found.append(row)
                above.append((row.context_id, ("child", "restart")))
    return found


async def _wait_for_end(store: Store, row: Row, clock: Clock, patience: float) -> Summary:
    for _ in range(round(patience / STOP_POLL_SECONDS)):
        if not (found := await summarize(store, row, clock.now_ms())).alive:
            return found
        await asyncio.sleep(STOP_POLL_SECONDS)
    return await summarize(store, row, clock.now_ms())
