"""The right to run a session: one runner at a time, wherever it is (S16).

Two things make it. A lock of the system keeps the runners of one machine apart and is freed by death. A claim in
the session's mailbox keeps those apart that no lock reaches: a folder may be served to other machines while runs
use it. A claim names its epoch; of claims for one epoch the first in the mailbox wins. It is renewed every 15 s
and holds for 60 s after it was last heard of. Times of claims are compared by the store's own clock, so that
clocks of machines need not agree.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine, Sequence
from typing import NamedTuple, TypeVar

from orchestra.errors import SessionTaken, StoreError
from orchestra.ports import Clock, Hold, NewTurn, Store, Turn
from orchestra.run.codec import decode, encode
from orchestra.run.declare import BY_CLASS
from orchestra.run.events import Event, Meta, Recorded, RunnerAsked, RunnerClaimed, RunnerReleased

_T = TypeVar("_T")

TTL_MS = 60_000
"""How long a claim holds after it was last heard of, in milliseconds."""

RENEW_SECONDS = 15.0
DOUBT_SECONDS = 45.0
"""Seconds of the runner's own boot clock without a renewal after which it looks before it does anything."""

ANSWER_SECONDS = 3.0
"""How long a runner has to answer whose claim is too old by the store's clock."""

SET_BACK_SECONDS = 20.0
"""How long where that clock was set back and cannot say how old the claim is: longer than between renewals."""

LOOK_SECONDS = 0.25

UNSURE_MS = 20_000
GONE_MS = 75_000
"""Milliseconds after which a runner that was not heard of is doubtful, and gone (S25)."""

_PAGE = 64


class Claim(NamedTuple):
    """The claim that counts: who runs the session, and when that was last heard of, by the store's clock."""

    epoch: int
    token: str
    holder: str
    first: int
    heard_ms: int
    ttl_ms: int
    local: bool
    released: bool


def claim_in(turns: Sequence[Turn]) -> Claim | None:
    """The claim that counts after these turns of a mailbox, oldest first; None where there is none among them."""
    found: Claim | None = None
    for turn in turns:
        recorded = decode(turn.type_id, turn.type_version, turn.payload, turn_id=turn.turn_id)
        if isinstance(recorded, Recorded):
            found = _after(found, recorded, turn)
    return found


def _after(known: Claim | None, recorded: Recorded, turn: Turn) -> Claim | None:
    meta, event = recorded.meta, recorded.event
    if isinstance(event, RunnerReleased):
        same = known is not None and (meta.epoch, event.token) == (known.epoch, known.token)
        return known._replace(released=True) if known is not None and same else known
    if not isinstance(event, RunnerClaimed):
        return known
    heard, first = turn.created_ms or meta.at, event.first or turn.turn_id
    claim = Claim(meta.epoch, event.token, event.holder, first, heard, event.ttl_ms, event.local, released=False)
    if known is None or claim.epoch > known.epoch:
        return claim
    if claim.epoch == known.epoch and claim.first <= known.first:
        return claim._replace(released=known.released and claim.token == known.token)
    return known


async def newest_claim(store: Store, mailbox: int) -> Claim | None:
    """The claim that counts in a mailbox now."""
    found: list[Turn] = []
    before: int | None = None
    while page := await store.turns(mailbox, before=before, limit=_PAGE):
        found[:0] = page
        claim = claim_in(found)
        if claim is not None or page[0].parent == 0:
            return claim
        before = page[0].turn_id
    return None


class Heard(NamedTuple):
    """A runner as others see it: its note, and how long ago it was heard of, in milliseconds."""

    note: str
    ago_ms: int

    @property
    def sure(self) -> bool:
        """Whether it surely lives."""
        return self.ago_ms <= UNSURE_MS


async def heard_of(store: Store, context_id: int, mailbox: int, now_ms: int) -> Heard | None:
    """Who runs a session, or None where nobody does (S25)."""
    note = store.holder(context_id)
    if note is not None:
        return Heard(note, 0)
    claim = await newest_claim(store, mailbox)
    if claim is None or claim.released or (claim.local and store.local):
        return None
    ago = max(0, now_ms - claim.heard_ms)
    return Heard(claim.holder, ago) if ago <= GONE_MS else None


class Holding:
    """A session that this process may run, as runner number ``epoch``; ``token`` tells its claim from others."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        mailbox: int,
        session: str,
        note: str,
        epoch: int,
        lock: Hold,
    ) -> None:
        self.epoch = epoch
        self._store = store
        self._clock = clock
        self._mailbox = mailbox
        self.session = session
        self._note = note
        self._lock = lock
        self.token = f"{note} at {clock.now_ms()}"
        self._first = 0
        self._renewed = clock.boot_seconds()
        self._lost: SessionTaken | None = None
        self._sequence = 0

    def claim(self) -> NewTurn:
        """The first claim, or a renewal."""
        return self._turn(
            RunnerClaimed(
                token=self.token, holder=self._note, ttl_ms=TTL_MS, first=self._first, local=self._store.local
            )
        )

    def claimed(self, turn: Turn) -> None:
        """The first claim is stored."""
        self._first = turn.turn_id
        self._renewed = self._clock.boot_seconds()

    async def check(self) -> None:
        """Make sure before something is recorded or started; costs nothing while renewals go well.

        Raises ``SessionTaken`` where another runner has taken the session.
        """
        if self._lost is not None:
            raise self._lost
        if self._clock.boot_seconds() - self._renewed > DOUBT_SECONDS:
            await self.renew()

    async def renew(self) -> None:
        """Let others hear of this runner, and look whether one of them has taken the session meanwhile.

        Raises ``SessionTaken``.
        """
        began = self._clock.boot_seconds()
        await self._store.append(self._mailbox, [self.claim()])
        claim = await newest_claim(self._store, self._mailbox)
        if claim is not None and (claim.epoch, claim.token) != (self.epoch, self.token):
            self._lost = taken(claim.holder)
            raise self._lost
        self._renewed = began

    async def answer(self, asked: int) -> None:
        """Somebody asked by that turn of the mailbox whether this runner lives: renew the claim. Raises
        ``SessionTaken``."""
        if asked > self._first:
            await self.renew()

    async def during(
        self, work: Awaitable[_T], *beside: Coroutine[object, object, None], every: float = RENEW_SECONDS
    ) -> _T:
        """Do the session's work and renew the claim meanwhile; the work is cancelled when the session is taken.

        What goes on ``beside`` it ends with it. Raises ``SessionTaken``, and whatever the work raises.
        """
        try:
            async with asyncio.TaskGroup() as group:
                others = [group.create_task(one) for one in (self._keep(every), *beside)]
                try:
                    return await work
                finally:
                    for other in others:
                        other.cancel()
        except BaseExceptionGroup as several:
            raise _foremost(several) from None

    async def _keep(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            with contextlib.suppress(StoreError):  # a store that is lost is waited for where something is recorded
                try:
                    await self.renew()
                except SessionTaken as error:
                    raise _Taken(error) from error

    async def release(self) -> None:
        """Give the session back. A second call does nothing, and neither does a store that is gone."""
        lock, self._lock = self._lock, _FREE
        if lock is _FREE:
            return
        try:
            if self._lost is None and self._first:
                with contextlib.suppress(StoreError):
                    await self._store.append(self._mailbox, [self._turn(RunnerReleased(token=self.token))])
        finally:
            lock.release()

    def _turn(self, event: Event) -> NewTurn:
        self._sequence += 1
        meta = Meta(session=self.session, epoch=self.epoch, sequence=self._sequence, at=self._clock.now_ms())
        return _turn_of(meta, event)


class _Free:
    def release(self) -> None:
        """Nothing is held any more."""


_FREE = _Free()


class _Taken(Exception):
    """Carries ``SessionTaken`` past what is suppressed for a lost store."""

    def __init__(self, error: SessionTaken) -> None:
        super().__init__(str(error))
        self.error = error


def _foremost(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error of a walk and of its keeper that tells what happened."""
    flat = [error for error in several.exceptions if not isinstance(error, BaseExceptionGroup)]
    for error in flat:
        if isinstance(error, _Taken):
            return error.error
    return flat[0] if flat else several


def taken(holder: str, left_ms: int = 0) -> SessionTaken:
    """The error of a session that somebody else runs; ``left_ms`` is how long that is believed without a word."""
    free = f"; if that was killed, the session is free in {-(-left_ms // 1000)} s" if left_ms else ""
    return SessionTaken(f"the session is held by {holder or 'another runner'}{free}")


async def take(
    *,
    store: Store,
    clock: Clock,
    context_id: int,
    mailbox: int,
    session: str,
    note: str,
    least: int,
    gone: str = "",
) -> Holding:
    """Take a recorded session; ``least`` is the epoch of the newest runner that its chain knows, ``gone`` the token
    of one that is known to have stopped without being able to say so.

    Raises ``SessionTaken`` with the note of who has it.
    """
    lock = store.hold(context_id, note)
    try:
        known = await newest_claim(store, mailbox)
        stopped = known is None or known.token == gone
        left_ms = 0 if known is None or stopped else await _left_ms(store, clock, mailbox, session, known)
        if known is not None and left_ms:
            rival = known
        else:
            epoch = max(least, known.epoch if known is not None else 0) + 1
            holding = Holding(
                store=store, clock=clock, mailbox=mailbox, session=session, note=note, epoch=epoch, lock=lock
            )
            (turn,) = await store.append(mailbox, [holding.claim()])
            holding.claimed(turn)
            winner = await newest_claim(store, mailbox)
            if winner is None or winner.first == turn.turn_id:
                return holding
            rival = winner
    except BaseException:
        lock.release()
        raise
    lock.release()
    raise taken(rival.holder, left_ms)


async def _left_ms(store: Store, clock: Clock, mailbox: int, session: str, claim: Claim) -> int:
    """How long the runner behind a claim is believed to live, in milliseconds; 0 where it is gone.

    The store's clock is asked by a turn that says nothing else.

    Where by that clock the claim is too old, or from the future, the clock may have been set: then the runner
    itself is waited for, which renews its claim when it is asked.
    """
    if claim.released or (claim.local and store.local):  # a dead one's lock is free, and we have it
        return 0
    meta = Meta(session=session, epoch=0, sequence=1, at=clock.now_ms())
    (turn,) = await store.append(mailbox, [_turn_of(meta, RunnerAsked())])
    ago = (turn.created_ms or meta.at) - claim.heard_ms
    if 0 <= ago < claim.ttl_ms:
        return claim.ttl_ms - ago
    seconds = SET_BACK_SECONDS if ago < 0 else ANSWER_SECONDS
    return claim.ttl_ms if await _answers(store, clock, mailbox, claim, turn.turn_id, seconds) else 0


async def _answers(store: Store, clock: Clock, mailbox: int, claim: Claim, asked: int, seconds: float) -> bool:
    """Whether the claim is renewed behind the turn that asked, at most so long."""
    until = clock.boot_seconds() + seconds
    while True:
        page = await store.turns(mailbox, limit=_PAGE)
        known = claim_in([turn for turn in page if turn.turn_id > asked])
        if known is not None and (known.epoch, known.token) == (claim.epoch, claim.token):
            return True
        left = until - clock.boot_seconds()
        if left <= 0:
            return False
        await clock.sleep(min(LOOK_SECONDS, left))


def _turn_of(meta: Meta, event: Event) -> NewTurn:
    declared = BY_CLASS[type(event)]
    return NewTurn(type_id=declared.type_id, type_version=declared.version, payload=encode(meta, event))
