"""Wishes of one process for a session that another runs: pause, cancel, steer (S15, engine.md 8)."""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import socket
from dataclasses import dataclass, replace

from orchestra.app.runs import wiring_of
from orchestra.config.settings import Settings
from orchestra.engine.mailbox import CANCEL, STEER, Request, send
from orchestra.engine.opening import take
from orchestra.engine.sessions import Row, find, own, rows, summarize
from orchestra.errors import ConfigError, SessionTaken
from orchestra.ports import Clock, Store
from orchestra.run.events import PipelineCanceled
from orchestra.run.secrets import Redactor
from orchestra.run.views import Phase, Summary

ENDED = frozenset({Phase.COMPLETED, Phase.FAILED, Phase.CANCELED})
LIVE = frozenset({Phase.RUNNING, Phase.DOUBTFUL, Phase.WAITING})
"""Phases in which a runner may have the session."""

LOOK_SECONDS = 0.1
"""How often a session is looked at while an answer is waited for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What became of a wish: the session before and after, and the request, or None where none was needed.
    ``children`` are those that were cancelled with it, because nobody ran them."""

    before: Summary
    after: Summary
    request: Request | None
    children: tuple[str, ...] = ()

    @property
    def done(self) -> bool:
        """Whether the session runs no more."""
        return not self.after.alive


def asker() -> str:
    """Who asks, as the record names it."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user without a name
        user = "somebody"
    return f"{user} on {socket.gethostname()}"


async def ask(
    store: Store, settings: Settings, name: str, action: str, text: str, *, clock: Clock, patience: float
) -> Asked:
    """Put a wish into a session's mailbox and wait up to ``patience`` seconds for the run to stop.

    A session that nobody runs has nothing to pause, and is cancelled by ourselves; so are children that a cancelled
    one leaves behind. Raises ``SessionNotFound``, ``ConfigError`` for an instruction that nobody will hear, and
    ``StoreError``.
    """
    asked = await _asked(store, settings, name, action, text, clock, patience)
    if action != CANCEL or asked.after.phase is not Phase.CANCELED:
        return asked
    children = await _left_behind(store, settings, asked.after, clock)
    return replace(asked, children=tuple(children))


async def _asked(
    store: Store, settings: Settings, name: str, action: str, text: str, clock: Clock, patience: float
) -> Asked:
    row = own(await find(store, name))
    before = await summarize(store, row, clock.now_ms())
    idle = not before.alive
    if action == STEER and before.phase in ENDED - {Phase.FAILED}:
        raise ConfigError(f"session {row.session} is {before.phase}: no agent will hear of it")
    if (before.phase in ENDED and action != STEER) or (idle and action not in (CANCEL, STEER)):
        return Asked(before=before, after=before, request=None)
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
        return Asked(before=before, after=before, request=request)
    if idle:
        await _cancel(store, settings, row, request, clock)
    return Asked(before=before, after=await _waited(store, row, clock, patience), request=request)


async def _cancel(store: Store, settings: Settings, row: Row, request: Request, clock: Clock) -> None:
    """Take a session that nobody runs, and record its end (S15)."""
    opened = await take(wiring_of(store, Redactor(settings.secrets), clock=clock), row)
    try:
        state = opened.journal.state
        why = f"by {request.who}: {request.text}" if request.text else f"by {request.who}"
        opened.journal.record(PipelineCanceled(node=state.node, reason=why, request=request.turn_id))
        await opened.journal.flush()
    finally:
        await opened.hold.release()


async def _left_behind(store: Store, settings: Settings, parent: Summary, clock: Clock) -> list[str]:
    """Cancel what is left of the children of a canceled session, and of theirs: one that somebody runs is asked."""
    canceled: list[str] = []
    for row in _below(await rows(store), parent.context_id):
        found = await summarize(store, row, clock.now_ms())
        if found.phase in ENDED or found.phase is Phase.RESTARTED:
            continue
        text = f"with {parent.session}"
        request = await send(store, row.mailbox, row.session, CANCEL, text=text, who=asker(), now_ms=clock.now_ms())
        if not found.alive:
            with contextlib.suppress(SessionTaken):  # who has taken it meanwhile hears of the request
                await _cancel(store, settings, row, request, clock)
                canceled.append(row.session)
    return canceled


def _below(known: list[Row], context_id: int) -> list[Row]:
    """The children of a session and theirs, those nearest to it first; each with those as which it restarted."""
    found: list[Row] = []
    above: list[tuple[int, tuple[str, ...]]] = [(context_id, ("child",))]
    for parent, whys in above:  # grows while it is read
        for row in known:
            if row.parent == parent and row.why in whys:
                found.append(row)
                above.append((row.context_id, ("child", "restart")))
    return found


async def _waited(store: Store, row: Row, clock: Clock, patience: float) -> Summary:
    for _ in range(round(patience / LOOK_SECONDS)):
        if not (found := await summarize(store, row, clock.now_ms())).alive:
            return found
        await asyncio.sleep(LOOK_SECONDS)
    return await summarize(store, row, clock.now_ms())
