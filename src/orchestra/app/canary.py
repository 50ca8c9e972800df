"""What a CXDB server is like, and whether it still has what it had (S21)."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import msgspec
from blake3 import blake3
from msgspec import Struct

from orchestra.config.environment import state_directory
from orchestra.config.server import Server
from orchestra.cxdb.format.registry import bundle
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.engine.loading import turn_of
from orchestra.errors import SessionNotFound, StoreError
from orchestra.graph.report import duration_words
from orchestra.ports import Clock
from orchestra.run.events import CanaryPlanted, Meta

SLOW_MS = 200
"""Milliseconds of an append above which runs on the server are noticeably slower."""

WRONG_MS = 10_000
"""Milliseconds by which the server's clock may be off before it is worth a word."""


class ServerFinding(NamedTuple):
    """One finding about a server: whether it is in order (None: information only), the words, and the fix."""

    well: bool | None
    what: str
    fix: str = ""


class Canary(Struct, frozen=True, kw_only=True):
    """The last turn that this machine planted on a server, and when (UTC ms)."""

    context_id: int
    turn_id: int
    digest: str
    at_ms: int


async def examine(store: RemoteStore, server: Server, clock: Clock) -> AsyncIterator[ServerFinding]:
    """Check a server that answers. Raises ``StoreError`` if it does not."""
    began = time.monotonic()
    await store.answers()
    yield ServerFinding(True, f"the server at {server} and {server.address} answers in {_ms(began)} ms")
    later = (
        "with the routes of later versions"
        if await store.knows_later_routes()
        else "without the routes of later versions"
    )
    yield ServerFinding(True, f"the server speaks CXDB protocol 1 {later}")
    yield await _types(store)
    before, lost = _last(server), False
    if before is not None:
        lost = not await _there(store, before)
        ago = duration_words(clock.now_ms() - before.at_ms)
        if lost:
            yield ServerFinding(
                False,
                f"the server lost its data in the last {ago}, or it is another server: its sessions are gone "
                "(early versions of the original CXDB server delete their data at every start)",
                "orchestra cxdb serve, a server that keeps its data",
            )
        else:
            yield ServerFinding(True, f"a test turn written {ago} ago still exists")
    began = time.monotonic()
    planted, theirs = await _plant(store, None if lost else before, clock)
    took = _ms(began)
    _keep(server, planted)
    slow = f"an append takes {took} ms"
    yield ServerFinding(None, slow, "use a closer server") if took > SLOW_MS else ServerFinding(True, slow)
    if theirs:
        off = abs(theirs - planted.at_ms)
        if off > WRONG_MS:
            yield ServerFinding(
                None,
                f"the server's clock differs from this machine's by {duration_words(off)}",
                "synchronize both with NTP",
            )
        else:
            yield ServerFinding(True, "the server's clock matches this machine's")


async def _types(store: RemoteStore) -> ServerFinding:
    name, content = bundle()
    try:
        await store.publish_types(name, content)
    except StoreError as error:
        return ServerFinding(False, error.message, error.fix)
    return ServerFinding(True, f"Orchestra's event types are registered ({name})")


async def _there(store: RemoteStore, canary: Canary) -> bool:
    try:
        turns = await store.turns(canary.context_id, limit=1)
    except SessionNotFound:
        return False
    return bool(turns) and (turns[0].turn_id, _digest(turns[0].payload)) == (canary.turn_id, canary.digest)


async def _plant(store: RemoteStore, before: Canary | None, clock: Clock) -> tuple[Canary, int]:
    """Append a turn to the last one, if any; return it and the server's time, 0 if unknown."""
    context_id = before.context_id if before is not None else (await store.create()).context_id
    now = clock.now_ms()
    meta = Meta(session="", epoch=0, sequence=now, at=now)
    about = {1: "orchestra", 2: "canary: tests whether stored data still exists", 3: ["kind:canary"]}
    new = turn_of(meta, CanaryPlanted(), None if before is not None else about)
    (turn,) = await store.append(context_id, [new])
    canary = Canary(context_id=context_id, turn_id=turn.turn_id, digest=_digest(new.payload), at_ms=now)
    return canary, turn.created_ms


def _digest(payload: bytes) -> str:
    return blake3(payload).hexdigest()


def _ms(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _file(server: Server) -> Path:
    name = f"{server.http_host}_{server.http_port}".translate({ord(c): "_" for c in "/:%"})
    return state_directory(os.environ) / "canaries" / name


def _last(server: Server) -> Canary | None:
    with contextlib.suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(_file(server).read_bytes(), type=Canary)
    return None


def _keep(server: Server, canary: Canary) -> None:
    file = _file(server)
    with contextlib.suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        beside = file.with_name(f".{file.name}.{os.getpid()}")
        beside.write_bytes(msgspec.json.encode(canary))
        beside.replace(file)
