"""The claims in a session's mailbox: who runs it, and whether that runner lives (S16, S25).

A claim names its epoch; of several claims for one epoch the first in the mailbox wins.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from orchestra.ports import Store, Turn
from orchestra.processes.tree import is_zombie
from orchestra.run.codec import decode
from orchestra.run.events import Recorded, RunnerClaimed, RunnerReleased

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


async def find_runner(store: Store, context_id: int, mailbox: int, now_ms: int) -> RunnerStatus | None:
    """Return who runs a session, or None (S25)."""
    note = store.holder(context_id)
    if note is not None:
        return RunnerStatus(note, 0)
    claim = await newest_claim(store, mailbox)
    if claim is None or claim.released or (claim.local and store.local) or died_here(claim):
        return None
    ago = max(0, now_ms - claim.heard_ms)
    return RunnerStatus(claim.holder, ago) if ago <= GONE_MS else None
