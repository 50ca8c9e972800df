"""The owner lock of a session: one runner at a time, wherever it is (S16).

It has two parts. A lock of the operating system separates the runners of one machine; the system releases it when
its process dies. A claim in the session's mailbox separates runners that no such lock reaches: a folder may be
served to other machines while runs use it. A claim names its epoch; of several for one epoch the first in the
mailbox wins. It is renewed every 15 s and expires 60 s after its last renewal. Ages of claims are measured by the
store's clock, so that the clocks of machines need not agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Awaitable, Coroutine, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple, TypeVar

from orchestra.engine.loading import recorded_in, turn_of
from orchestra.engine.wiring import SessionPlace, Wiring
from orchestra.errors import SessionTaken, StoreError
from orchestra.ports import Hold, NewTurn, Store, Turn
from orchestra.processes.tree import is_zombie
from orchestra.run.events import Event, Meta, Recorded, RunnerAsked, RunnerClaimed, RunnerReleased

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

CLAIM_POLL_SECONDS = 0.25

UNSURE_MS = 20_000
GONE_MS = 75_000
"""Milliseconds without a renewal after which a runner counts as doubtful, and as gone (S25)."""

PAGE = 64
"""Turns of a mailbox that are read at a time."""


class Claim(NamedTuple):
    """The claim that counts: who runs the session, and when it was renewed last, by the store's clock."""

    epoch: int
    token: str
    holder: str
    first: int
    heard_ms: int
    ttl_ms: int
    local: bool
    released: bool


def claim_in(turns: Sequence[Turn]) -> Claim | None:
    """Return the claim that counts after these turns of a mailbox (oldest first), or None."""
    found: Claim | None = None
    for turn in turns:
        if (recorded := recorded_in(turn)) is not None:
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
    """Return the claim that counts in a mailbox now."""
    found: list[Turn] = []
    before: int | None = None
    while page := await store.turns(mailbox, before=before, limit=PAGE):
        found[:0] = page
        claim = claim_in(found)
        if claim is not None or page[0].parent == 0:
            return claim
        before = page[0].turn_id
    return None


_TOKEN = re.compile(r"process (\d+) on .* in (\S+)", re.DOTALL)


@cache
def machine() -> str:
    """Identify the running system and its process ids; empty where the system does not tell."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def died_here(claim: Claim) -> bool:
    """Whether a claim's runner was a process of this system that has ended, reaped by its parent or not."""
    found = _TOKEN.fullmatch(claim.token)
    if found is None or found[2] != machine():
        return False
    try:
        os.kill(int(found[1]), 0)
    except ProcessLookupError:
        return True
    except (PermissionError, OverflowError):
        return False
    return is_zombie(int(found[1]))


class RunnerStatus(NamedTuple):
    """A runner as other processes see it: its name, and the milliseconds since its last sign of life."""

    note: str
    ago_ms: int

    @property
    def sure(self) -> bool:
        """Whether it is certainly alive."""
        return self.ago_ms <= UNSURE_MS


async def find_runner(store: Store, place: SessionPlace, now_ms: int) -> RunnerStatus | None:
    """Return who runs a session, or None (S25)."""
    note = store.holder(place.context_id)
    if note is not None:
        return RunnerStatus(note, 0)
    claim = await newest_claim(store, place.mailbox)
    if claim is None or claim.released or (claim.local and store.local) or died_here(claim):
        return None
    ago = max(0, now_ms - claim.heard_ms)
    return RunnerStatus(claim.holder, ago) if ago <= GONE_MS else None


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
        self._lock: Hold | None = wiring.store.hold(place.context_id, self._note)
        system = f" in {wiring.origin.machine}" if wiring.origin.machine else ""
        self.token = f"{self._note} at {wiring.clock.now_ms()}{system}"
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
            await self._clock.sleep(min(CLAIM_POLL_SECONDS, left))

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
        except BaseExceptionGroup as several:  # that it was taken says what happened to the work
            raise self._lost or several.exceptions[0] from None

    async def _keep(self, every: float) -> None:
        while True:
            await asyncio.sleep(every)
            try:
                await self.renew()
            except StoreError:  # a store that is lost is waited for where something is recorded
                if self._lost is not None:
                    raise

    async def release(self) -> None:
        """Release the lock. A second call does nothing; a missing store is ignored."""
        lock, self._lock = self._lock, None
        if lock is None:
            return
        try:
            if self._lost is None and self._first:
                with contextlib.suppress(StoreError):
                    await self._store.append(self._mailbox, [self._turn(RunnerReleased(token=self.token))])
        finally:
            lock.release()

    def drop(self) -> None:
        """Release the lock without saying so in the store, which was waited for in vain."""
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.release()

    def _turn(self, event: Event, epoch: int | None = None) -> NewTurn:
        self._sequence += 1
        number = self.epoch if epoch is None else epoch
        meta = Meta(session=self.session, epoch=number, sequence=self._sequence, at=self._clock.now_ms())
        return turn_of(meta, event)


def taken_error(holder: str, left_ms: int = 0) -> SessionTaken:
    """Return the error of a session that another process runs; ``left_ms`` is when its claim expires."""
    free = f"; if that runner was killed, the lock expires in {-(-left_ms // 1000)} s" if left_ms else ""
    return SessionTaken(f"the session is held by {holder or 'another runner'}{free}")
