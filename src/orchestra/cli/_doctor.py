"""What ``orchestra doctor`` does."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from orchestra.app.stores import TurnsWouldGo, mend_store, open_store
from orchestra.cli._errors import FAILED, STORE
from orchestra.cli._progress import progress
from orchestra.cli._stores import aimed, exists, hint, settings_for
from orchestra.cli._terminal import one_line, say
from orchestra.clock import SystemClock
from orchestra.config.server import Server
from orchestra.config.settings import Settings, state_directory
from orchestra.cxdb.adopt import Progress
from orchestra.cxdb.check import Finding as Damage
from orchestra.cxdb.directory import LOST
from orchestra.cxdb.embedded import REMOTE, EmbeddedStore
from orchestra.cxdb.files import Files
from orchestra.engine.sessions import rows
from orchestra.errors import ConfigError, Damaged, StoreError, StoreUnreachable
from orchestra.graph.report import counted
from orchestra.ports import Store

LITTLE_ROOM = 256 * 1024 * 1024
"""Free bytes below which the disk is worth a word."""

NO_ROOM = 16 * 1024 * 1024
"""Free bytes below which a run may not even begin."""


MANY = 40
"""Contexts of which is said what would go."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: whether it is well (None: only to be known), what, and one command that mends it."""

    well: bool | None
    what: str
    mend: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be done besides looking."""

    deep: bool
    mend: bool
    drop_lost: bool
    settle: bool


def examine(wanted: Wanted, *, store: str | None, config: Path | None) -> int:
    """Print findings as they are made; 0 only if a run would work, 6 where mending would give up turns."""
    settings = settings_for(store, config)
    if (wanted.deep or wanted.mend or wanted.settle) and not exists(settings):
        raise ConfigError(f"there is no store in {settings.store} yet" if settings.store else "nothing is stored")
    bad = sum(not _shown(finding) for finding in (*_machine(settings), *_place(settings)))
    if not bad:
        try:
            bad = asyncio.run(_examined(settings, wanted, hint(settings, store)))
        except TurnsWouldGo as error:
            _say_what_would_go(error, hint(settings, store))
            return STORE
    return FAILED if bad else 0


def _shown(finding: Finding) -> bool:
    sign = {True: "✓", False: "✗", None: "·"}[finding.well]
    say(f"{sign} {one_line(finding.what, 1000)}")
    if finding.mend:
        say(f"    mend it: {one_line(finding.mend, 1000)}")
    return finding.well is not False


# --- the machine ---------------------------------------------------------------------------------


def _machine(settings: Settings) -> Iterator[Finding]:
    yield Finding(True, f"Python {sys.version.split()[0]} at {sys.executable}")
    yield Finding(True, f"settings from {settings.file}" if settings.file else "no orchestra.yaml: defaults")
    yield Finding(True, f"backend {settings.backend}: works without a key")
    program = shutil.which("dot")
    if program:
        yield Finding(True, f"Graphviz at {program}: compile --format svg works")
    else:
        yield Finding(
            None, "no Graphviz: compile --format svg does not work, all else does", "apt install graphviz"
        )


def _place(settings: Settings) -> Iterator[Finding]:
    folder = settings.store
    if settings.server is not None:
        return
    if folder is None:
        yield Finding(None, "the store is in memory: nothing is kept")
        return
    there = folder
    while not os.path.exists(there) and there != there.parent:  # noqa: PTH110  false where it may not be seen
        there = there.parent
    named, elsewhere = shlex.quote(str(there)), state_directory(os.environ) / "cxdb"
    another = f"orchestra doctor --store {shlex.quote(str(elsewhere))}"
    if not there.is_dir():
        yield Finding(False, f"the store's place {there} is not a folder", another)
    elif os.statvfs(there).f_flag & os.ST_RDONLY:
        yield Finding(False, f"{there} is on a disk that may only be read", another)
    elif not os.access(there, os.W_OK | os.X_OK):
        yield Finding(False, f"{there} may not be written to by this user", f"chmod u+wx {named}")
    else:
        kind = Files().file_system(str(there))
        if kind in REMOTE:
            yield Finding(False, f"{there} is on {kind}, where file locks cannot be relied on", another)
        free = shutil.disk_usage(there).free
        well = True if free > LITTLE_ROOM else None if free > NO_ROOM else False
        yield Finding(
            well, f"{free // 2**20} MiB free at {there}", "" if well else f"du -xh {named} | sort -h | tail"
        )


# --- the store -----------------------------------------------------------------------------------


async def _examined(settings: Settings, wanted: Wanted, aim: str) -> int:
    """How many findings would keep a run from working; they are printed when the progress line is gone."""
    with progress() as tell:
        found = [finding async for finding in _store(settings, wanted, aim, tell)]
    return sum(not _shown(finding) for finding in found)


async def _store(settings: Settings, wanted: Wanted, aim: str, tell: Progress) -> AsyncIterator[Finding]:
    try:
        if settings.store is not None and not exists(settings):
            yield Finding(True, f"the store {settings.store} will be made by the first run")
            return
        if wanted.mend:
            for mended in await mend_store(settings, drop_lost=wanted.drop_lost, progress=tell):
                yield Finding(True, f"mended: {mended}")
        store = open_store(settings, progress=tell)
        try:
            async for finding in _opened(store, settings, wanted, aim):
                yield finding
        finally:
            await store.close()
    except TurnsWouldGo:
        raise
    except Damaged as error:
        yield Finding(False, error.message, f"orchestra doctor --mend{aim}")
    except StoreError as error:
        yield Finding(False, error.message, aimed(error.fix, aim))


def _say_what_would_go(error: TurnsWouldGo, aim: str) -> None:
    say(f"✗ {one_line(error.message, 1000)}")
    say("    going on without it gives up what is listed here; nothing has been changed")
    for going in error.going[:MANY]:
        depths = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in going.stretches)
        several = going.stretches[0][0] != going.stretches[-1][1]
        say(f"    {going.whose}: turn{'s' * several} {depths}, of 0 to {going.turns - 1}")
    if len(error.going) > MANY:
        say(f"    and turns of {len(error.going) - MANY} more")
    say("    restore the folder from a copy, or give them up:")
    say(f"    mend it: orchestra doctor --mend --drop-lost{aim}")


async def _opened(store: Store, settings: Settings, wanted: Wanted, aim: str) -> AsyncIterator[Finding]:
    if settings.server is not None:
        async for checked in _server(store, settings.server, aim):
            yield checked
    yield Finding(True, f"store {settings.place}: {len(await rows(store))} sessions")
    for what, fix in (await store.health()).findings:
        yield _of_health(settings, what, aimed(fix, aim))
    if isinstance(store, EmbeddedStore):
        async for finding in _embedded(store, wanted, aim):
            yield finding
        async for finding in _mirror(settings, aim):
            yield finding


async def _server(store: Store, server: Server, aim: str) -> AsyncIterator[Finding]:
    from orchestra.app.canary import examine as examine_server  # only a server needs what it imports
    from orchestra.cxdb.remote.store import RemoteStore

    assert isinstance(store, RemoteStore)
    async for well, what, mend in examine_server(store, server, SystemClock()):
        yield Finding(well, what, aimed(mend, aim))


async def _mirror(settings: Settings, aim: str) -> AsyncIterator[Finding]:
    """Whether the mirror has what the folder has (S22); a run works without it."""
    if settings.mirror is None or settings.store is None:
        return
    from orchestra.app.mirroring import behind, mending  # only who has a mirror pays for it

    server, send = settings.mirror, f"orchestra cxdb mirror{aim}"
    try:
        missing = await behind(settings.store, server)
    except StoreUnreachable as error:
        yield Finding(
            None, f"the mirror cannot be used, runs go on without it: {error.message}", mending(error.fix)
        )
        return
    except (StoreError, ConfigError) as error:
        yield Finding(False, f"the mirror {server}: {error.message}", error.fix)
        return
    if missing:
        turns = counted(sum(count for _row, count in missing), "turn")
        yield Finding(None, f"the mirror {server} is {turns} of {counted(len(missing), 'session')} behind", send)
    else:
        yield Finding(True, f"the mirror {server} has all turns")


def _of_health(settings: Settings, what: str, fix: str) -> Finding:
    """Pieces that were set aside keep no run from working."""
    lost = f"{settings.store}/{LOST}"
    if what.startswith(lost):
        return Finding(None, what, f"ls -l {shlex.quote(lost)}")
    return Finding(False, what, fix)


async def _embedded(store: EmbeddedStore, wanted: Wanted, aim: str) -> AsyncIterator[Finding]:
    if wanted.deep or wanted.mend:
        damage = await store.deep_check()
        if not damage:
            yield Finding(True, "every record is as it was written")
        for what in _by_file(damage):
            if wanted.mend:
                yield Finding(
                    False, f"damaged for good: {what}", "restore the folder from a copy; the rest is readable"
                )
            else:
                yield Finding(False, f"damaged: {what}", f"orchestra doctor --mend{aim}")
    if wanted.settle:
        await store.settle()
        yield Finding(True, "settled: a CXDB server can open the folder now")


def _by_file(damage: list[Damage]) -> Iterator[str]:
    """One line per file: its first fault, and how many more there are."""
    for file, group in groupby(damage, key=lambda one: one.file):
        first, *more = group
        yield f"{first}" + (f", and {len(more)} more in {file}" if more else "")
