"""The owner lock of a session: one runner at a time, wherever it is (S16).

It has two parts. A lock of the operating system separates the runners of one machine; the system releases it when
its process dies. A claim in the session's mailbox (``engine.claims``) separates runners that no such lock reaches:
a folder may be served to other machines while runs use it. A claim is renewed every 15 s and expires 60 s after its
last renewal. Ages of claims are measured by the store's clock, so that the clocks of machines need not agree.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Coroutine
from typing import TypeVar

from orchestra.engine.claims import PAGE, Claim, claim_in, died_here, newest_claim
from orchestra.engine.wiring import RunnerProcess, SessionPlace, Wiring
from orchestra.errors import SessionTaken, StoreError
from orchestra.ports import Hold, NewTurn, Turn
from orchestra.run.codec import encode
from orchestra.run.declare import BY_CLASS
from orchestra.run.events import Event, Meta, RunnerAsked, RunnerClaimed, RunnerReleased

_T = TypeVar("_T")

TTL_MS = 60_000
"""Milliseconds from a claim's last renewal until it expires."""

RENEW_SECONDS = 15.0
DOUBT_SECONDS = 45.0
"""Seconds of the runner's own boot clock without a renewal after which it renews before it does anything."""

LOST = float("-inf")
"""``Holding.sure_until`` once another runner has taken the session."""

ANSWER_SECONDS = 3.0
"""Seconds that a runner whose claim is too old by the store's clock has to answer."""

SET_BACK_SECONDS = 20.0
"""The same where that clock was set back, so that the claim's age is unknown: longer than between renewals."""

LOOK_SECONDS = 0.25


def _system(origin: RunnerProcess) -> str:
    return f" in {origin.machine}" if origin.machine else ""


class Holding:
    """This process's lock on a session, as runner number ``epoch``; ``token`` identifies its claim.

    Creating it takes the operating system's lock: ``SessionTaken`` where another process has it. ``claim`` and
    ``note_claim`` add the claim of a session that begins, ``win`` that of one that exists. Until ``sure_until``, in
    seconds of the runner's boot clock, the lock needs no check.
    """

    def __init__(self, wiring: Wiring, place: SessionPlace, epoch: int) -> None:
        self.epoch = epoch
        self.session = place.session
        self._store = wiring.store
        self._clock = wiring.clock
        self._mailbox = place.mailbox
        self._note = wiring.origin.note
        self._lock: Hold = wiring.store.hold(place.context_id, self._note)
        self.token = f"{self._note} at {wiring.clock.now_ms()}{_system(wiring.origin)}"
        self._first = 0
        self.sure_until = wiring.clock.boot_seconds() + DOUBT_SECONDS
        self._lost: SessionTaken | None = None
        self._sequence = 0

    async def win(self, gone: str = "") -> None:
        """Claim a session that exists, for an epoch after all that its mailbox knows.

        ``gone`` is the token of a runner that is known to have stopped although it could not say so. Raises
        ``SessionTaken`` where another runner has the session, or was faster.
        """
        known = await newest_claim(self._store, self._mailbox)
        if known is not None:
            left_ms = 0 if known.token == gone else await self._left_ms(known)
            if left_ms:
                raise taken_error(known.holder, left_ms)
            self.epoch = max(self.epoch, known.epoch + 1)
        (turn,) = await self._store.append(self._mailbox, [self.claim()])
        winner = await newest_claim(self._store, self._mailbox)
        if winner is not None and winner.first != turn.turn_id:
            raise taken_error(winner.holder)
        self.note_claim(turn)

    async def _left_ms(self, claim: Claim) -> int:
        """Return the milliseconds for which a claim's runner is still presumed alive; 0 if it is gone.

        The store's clock is read by appending a turn that says nothing else. Where by that clock the claim is too
        old, or from the future, the clock may have been set: then that runner gets time to answer.
        """
        if claim.released or (claim.local and self._store.local):  # a dead one's lock is free, and we have it
            return 0
        if died_here(claim):
            return 0
        (turn,) = await self._store.append(self._mailbox, [self._turn(RunnerAsked(), epoch=0)])
        ago = (turn.created_ms or self._clock.now_ms()) - claim.heard_ms
        if 0 <= ago < claim.ttl_ms:
            return claim.ttl_ms - ago
        seconds = SET_BACK_SECONDS if ago < 0 else ANSWER_SECONDS
        return claim.ttl_ms if await self._answers(claim, turn.turn_id, seconds) else 0

    async def _answers(self, claim: Claim, asked: int, seconds: float) -> bool:
        """Whether a claim is renewed after the turn that asked, within so many seconds."""
        until = self._clock.boot_seconds() + seconds
        while True:
            page = await self._store.turns(self._mailbox, limit=PAGE)
            known = claim_in([turn for turn in page if turn.turn_id > asked])
            if known is not None and (known.epoch, known.token) == (claim.epoch, claim.token):
                return True
            left = until - self._clock.boot_seconds()
            if left <= 0:
                return False
            await self._clock.sleep(min(LOOK_SECONDS, left))

    def claim(self) -> NewTurn:
        """Return the turn of the first claim, or of a renewal."""
        return self._turn(
            RunnerClaimed(
                token=self.token, holder=self._note, ttl_ms=TTL_MS, first=self._first, local=self._store.local
            )
        )

    def note_claim(self, turn: Turn) -> None:
        """Note that the first claim is stored."""
        self._first = turn.turn_id
        self.sure_until = self._clock.boot_seconds() + DOUBT_SECONDS

    async def check(self) -> None:
        """Make sure of the lock before something is recorded or started; nothing to do until ``sure_until``.

        Raises ``SessionTaken`` where another runner has taken the session.
        """
        if self._lost is not None:
            raise self._lost
        if self._clock.boot_seconds() > self.sure_until:
            await self.renew()

    async def renew(self) -> None:
        """Renew the claim, and check whether another runner has taken the session meanwhile.

        Raises ``SessionTaken``.
        """
        began = self._clock.boot_seconds()
        await self._store.append(self._mailbox, [self.claim()])
        claim = await newest_claim(self._store, self._mailbox)
        if claim is not None and (claim.epoch, claim.token) != (self.epoch, self.token):
            self._lost, self.sure_until = taken_error(claim.holder), LOST
            raise self._lost
        self.sure_until = began + DOUBT_SECONDS

    async def answer(self, asked: int) -> None:
        """Renew the claim because that turn of the mailbox asked whether this runner lives. Raises
        ``SessionTaken``."""
        if asked > self._first:
            await self.renew()

    async def during(
        self, work: Awaitable[_T], *beside: Coroutine[object, object, None], every: float = RENEW_SECONDS
    ) -> _T:
        """Do the session's work and renew the claim meanwhile; the work is canceled when the session is taken.

        What runs ``beside`` it ends with it. Raises ``SessionTaken``, and whatever the work raises.
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
        """Release the lock. A second call does nothing; a missing store is ignored."""
        lock, self._lock = self._lock, _FREE
        if lock is _FREE:
            return
        try:
            if self._lost is None and self._first:
                with contextlib.suppress(StoreError):
                    await self._store.append(self._mailbox, [self._turn(RunnerReleased(token=self.token))])
        finally:
            lock.release()

    def drop(self) -> None:
        """Release the lock without saying so in the store, which was waited for in vain."""
        lock, self._lock = self._lock, _FREE
        lock.release()

    def _turn(self, event: Event, epoch: int | None = None) -> NewTurn:
        self._sequence += 1
        number = self.epoch if epoch is None else epoch
        meta = Meta(session=self.session, epoch=number, sequence=self._sequence, at=self._clock.now_ms())
        declared = BY_CLASS[type(event)]
        return NewTurn(type_id=declared.type_id, type_version=declared.version, payload=encode(meta, event))


class _Free:
    def release(self) -> None:
        """Do nothing: the lock is released."""


_FREE = _Free()


class _Taken(Exception):
    """Carries ``SessionTaken`` past what is suppressed for a lost store."""

    def __init__(self, error: SessionTaken) -> None:
        super().__init__(str(error))
        self.error = error


def _foremost(several: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the one error of a walk and of its renewals that says what happened."""
    flat = [error for error in several.exceptions if not isinstance(error, BaseExceptionGroup)]
    for error in flat:
        if isinstance(error, _Taken):
            return error.error
    return flat[0] if flat else several


def taken_error(holder: str, left_ms: int = 0) -> SessionTaken:
    """Return the error of a session that another process runs; ``left_ms`` is when its claim expires."""
    free = f"; if that runner was killed, the lock expires in {-(-left_ms // 1000)} s" if left_ms else ""
    return SessionTaken(f"the session is held by {holder or 'another runner'}{free}")
