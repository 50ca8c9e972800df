"""``orchestra doctor``."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Annotated

import typer

from orchestra.agents.models import WITH_MODEL, default_provider
from orchestra.app.plans import own_keys_of
from orchestra.app.plugins import (
    BACKENDS,
    HANDLERS,
    TOOLS,
    entry_points_of_ours,
    load_entry_point,
    origin,
)
from orchestra.app.providers import check_providers, providers_of, standing
from orchestra.app.stores import RepairLosesTurns, open_store, repair_store
from orchestra.app.workspaces import own_environment
from orchestra.cli.errors import FAILED, STORE
from orchestra.cli.options import EnvFile
from orchestra.cli.stores import StoreOptions, aim_commands, exists
from orchestra.cli.terminal import one_line, progress, room, say
from orchestra.clock import SystemClock
from orchestra.config.environment import state_directory
from orchestra.config.server import Server
from orchestra.config.settings import Settings
from orchestra.cxdb.embedded.adopt import Progress
from orchestra.cxdb.embedded.check import Damage as Damage
from orchestra.cxdb.embedded.directory import LOST
from orchestra.cxdb.embedded.files import Files
from orchestra.cxdb.embedded.store import REMOTE, EmbeddedStore
from orchestra.engine.sessions import rows
from orchestra.errors import ConfigError, Damaged, StoreError, StoreUnreachable, WorkspaceError
from orchestra.graph.report import plural, wrap
from orchestra.ports import Store
from orchestra.processes.sandbox import prove, unavailable
from orchestra.workspace.git import version


def doctor(
    deep: Annotated[bool, typer.Option("--deep", help="Check every stored record.")] = False,
    repair: Annotated[
        bool,
        typer.Option("--repair", help="Rebuild damaged files of the store from its other files; loses no data."),
    ] = False,
    drop_lost: Annotated[
        bool, typer.Option("--drop-lost", help="With --repair: delete the turns that depend on lost data.")
    ] = False,
    settle: Annotated[
        bool,
        typer.Option(
            "--settle",
            help="Sync the files of the store, so that the original CXDB server can open its folder.",
        ),
    ] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Ask one model of each configured provider; costs a fraction of a cent.")
    ] = False,
    env_file: EnvFile = None,
    *,
    options: StoreOptions,
) -> int:
    """Check what works on this machine and in the store.

    Exit codes: 0: a run would work; 1: it would not; 6: repair would lose data.
    """
    if drop_lost and not repair:
        raise typer.BadParameter("--drop-lost needs --repair")
    wanted = Examination(deep=deep, repair=repair, drop_lost=drop_lost, settle=settle)
    at = options.access()
    settings = at.settings
    if (deep or repair or settle) and not exists(settings):
        raise ConfigError(
            f"no store in {settings.store} yet" if settings.store else "a store in memory saves nothing"
        )
    bad = sum(not _show(finding) for finding in _machine(settings))
    unusable = sum(not _show(finding) for finding in _place(settings))
    bad += unusable
    if not bad or (deep and not repair and not settle):
        try:
            bad += asyncio.run(_examine_store(settings, wanted, at.aim, read_only=unusable > 0))
        except RepairLosesTurns as error:
            _say_losses(error, at.aim)
            return STORE
    if live:
        bad += asyncio.run(_ask_providers(settings))
    return FAILED if bad else 0


LITTLE_ROOM = 256 * 1024 * 1024
"""Free bytes below which the disk is mentioned."""

NO_ROOM = 16 * 1024 * 1024
"""Free bytes below which a run may not even start."""


MANY = 40
"""Contexts that are listed with the turns that would be lost."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: whether it is in order (None: information only), what was found, and the fix."""

    well: bool | None
    what: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """What to do with the store besides the quick checks."""

    deep: bool
    repair: bool
    drop_lost: bool
    settle: bool


def _show(finding: Finding) -> bool:
    sign = {True: "✓", False: "✗", None: "·"}[finding.well]
    say("\n".join(wrap(f"{sign} ", one_line(finding.what, 1000), room(), "  ")))
    if finding.fix:
        say(f"    fix: {one_line(finding.fix, 1000)}")
    return finding.well is not False


def _machine(settings: Settings) -> Iterator[Finding]:
    yield Finding(True, f"Python {sys.version.split()[0]} at {sys.executable}")
    yield Finding(True, f"settings from {settings.file}" if settings.file else "no orchestra.yaml; using defaults")
    free = ": needs no API key" if settings.backend == "simulation" else ""
    yield Finding(True, f"backend {settings.backend}{free}")
    yield from _providers(settings)
    yield from _plugins(settings)
    yield from _sandbox(settings)
    if settings.workspace is not None and settings.workspace.repos:
        yield _git()
    program = shutil.which("dot")
    if program:
        yield Finding(True, f"Graphviz at {program}: compile --format svg works")
    else:
        yield Finding(
            None, "no Graphviz found: `compile --format svg` needs it, nothing else does", "apt install graphviz"
        )


def _git() -> Finding:
    try:
        found = asyncio.run(version(own_environment()))
    except WorkspaceError as error:
        return Finding(False, str(error), "apt install git")
    return Finding(True, f"git {'.'.join(map(str, found))} at {shutil.which('git')}")


def _providers(settings: Settings) -> Iterator[Finding]:
    """Check the configured providers; only the default provider's needs can fail a run (A8)."""
    used = default_provider(settings.config).value if settings.backend in WITH_MODEL else ""
    for provider in providers_of(settings):
        for well, what, fix in standing(provider):
            yield Finding(None if well is False and provider.name != used else well, what, fix)


def _plugins(settings: Settings) -> Iterator[Finding]:
    """Load what installed packages add; a broken handler, rule or transform stops every run (E2)."""
    needed = {TOOLS: settings.backend == "langgraph"}
    for group, points in entry_points_of_ours().items():
        for point in points:
            try:
                offer = load_entry_point(point)
                if group == HANDLERS:
                    own_keys_of(point, offer)
            except ConfigError as error:
                stops = point.name == settings.backend if group == BACKENDS else needed.get(group, True)
                yield Finding(False if stops else None, error.message, f"update or uninstall {origin(point)}")
            else:
                yield Finding(True, f"{point.name!r} under {group}, from {origin(point)}")


async def _ask_providers(settings: Settings) -> int:
    """Call each provider and print the result; return how many failed."""
    if not providers_of(settings):
        _show(Finding(None, "no provider is configured: no model can be asked"))
    return sum([not _show(Finding(*check)) async for check in check_providers(settings)])


def _sandbox(settings: Settings) -> Iterator[Finding]:
    """What commands may touch, tried and not only read from the settings (A36)."""
    wanted, network = settings.config.sandbox.mode, settings.config.sandbox.network
    problem = unavailable()
    if wanted == "none":
        fix = "" if problem else "add `sandbox: auto` to orchestra.yaml"
        yield Finding(None, "no sandbox: commands of agents and tool nodes run with your own rights", fix)
    elif problem:
        well = None if wanted == "auto" else False
        yield Finding(well, f"sandbox: {wanted}, but bwrap does not work: {problem}", "apt install bubblewrap")
    else:
        failed = [proof.what for proof in prove(network) if not proof.held]
        reach = "no network" if network == "none" else "full network access"
        if failed:
            yield Finding(False, f"sandbox: bwrap works, but a trial failed: {'; '.join(failed)}")
        else:
            yield Finding(
                True,
                f"sandbox: bwrap, tried: only the working folder is writable, .git is not, home is hidden, {reach}",
            )


def _place(settings: Settings) -> Iterator[Finding]:
    folder = settings.store
    if settings.server is not None:
        return
    if folder is None:
        yield Finding(None, "the store is in memory: nothing is saved")
        return
    there = folder
    while not os.path.exists(there) and there != there.parent:  # noqa: PTH110  false where it may not be seen
        there = there.parent
    named, elsewhere = shlex.quote(str(there)), state_directory(os.environ) / "cxdb"
    another = f"export ORCHESTRA_CXDB_PATH={shlex.quote(str(elsewhere))}"
    if not there.is_dir():
        yield Finding(False, f"the path of the store, {there}, is not a folder", another)
    elif os.statvfs(there).f_flag & os.ST_RDONLY:
        yield Finding(False, f"{there} is on a read-only disk", another)
    elif not os.access(there, os.W_OK | os.X_OK):
        yield Finding(False, f"{there} is not writable by this user", f"chmod u+wx {named}")
    else:
        kind = Files().file_system(str(there))
        if kind in REMOTE:
            yield Finding(False, f"{there} is on {kind}, where file locks are unreliable", another)
        free = shutil.disk_usage(there).free
        well = True if free > LITTLE_ROOM else None if free > NO_ROOM else False
        yield Finding(
            well, f"{free // 2**20} MiB free in {there}", "" if well else f"du -xh {named} | sort -h | tail"
        )


async def _examine_store(settings: Settings, wanted: Examination, aim: str, *, read_only: bool) -> int:
    """Print the findings about the store and return how many would keep a run from working."""
    with progress() as tell:
        found = [finding async for finding in _store(settings, wanted, aim, tell, read_only)]
    return sum(not _show(finding) for finding in found)


async def _store(
    settings: Settings, wanted: Examination, aim: str, tell: Progress, read_only: bool
) -> AsyncIterator[Finding]:
    try:
        if settings.store is not None and not exists(settings):
            yield Finding(True, f"no store in {settings.store} yet; the first run creates it")
            return
        if wanted.repair:
            for repaired in await repair_store(settings, drop_lost=wanted.drop_lost, progress=tell):
                yield Finding(True, f"repaired: {repaired}")
        store = open_store(settings, read_only=read_only, progress=tell)
        try:
            async for finding in _check_open_store(store, settings, wanted, aim):
                yield finding
        finally:
            await store.close()
    except RepairLosesTurns:
        raise
    except Damaged as error:
        yield Finding(False, error.message, f"orchestra doctor --repair{aim}")
    except StoreError as error:
        yield Finding(False, error.message, aim_commands(error.fix, aim))


def _say_losses(error: RepairLosesTurns, aim: str) -> None:
    say(f"✗ {one_line(error.message, 1000)}")
    say("    continuing without it would lose the turns listed here; nothing has been changed")
    for going in error.going[:MANY]:
        depths = ", ".join(f"{first}" if first == last else f"{first} to {last}" for first, last in going.stretches)
        several = going.stretches[0][0] != going.stretches[-1][1]
        say(f"    {going.whose}: turn{'s' * several} {depths}, of 0 to {going.turns - 1}")
    if len(error.going) > MANY:
        say(f"    and turns of {len(error.going) - MANY} more contexts")
    say("    restore the folder from a backup, or delete these turns:")
    say(f"    fix: orchestra doctor --repair --drop-lost{aim}")


async def _check_open_store(
    store: Store, settings: Settings, wanted: Examination, aim: str
) -> AsyncIterator[Finding]:
    if settings.server is not None:
        async for checked in _server(store, settings.server, aim):
            yield checked
    yield Finding(True, f"store {settings.place}: {plural(len(await rows(store)), 'session')}")
    for what, fix in (await store.health()).findings:
        yield _of_health(settings, what, aim_commands(fix, aim))
    if isinstance(store, EmbeddedStore):
        async for finding in _check_embedded(store, wanted, aim):
            yield finding
        async for finding in _mirror(settings, aim):
            yield finding


async def _server(store: Store, server: Server, aim: str) -> AsyncIterator[Finding]:
    from orchestra.app.canary import examine as examine_server  # only a server needs what it imports
    from orchestra.cxdb.remote.store import RemoteStore

    assert isinstance(store, RemoteStore)
    async for well, what, fix in examine_server(store, server, SystemClock()):
        yield Finding(well, what, aim_commands(fix, aim))


async def _mirror(settings: Settings, aim: str) -> AsyncIterator[Finding]:
    """Check whether the mirror has everything (S22); a run works without it."""
    if settings.mirror is None or settings.store is None:
        return
    from orchestra.app.mirroring import behind, mirror_fix  # imported only if there is a mirror

    server, send = settings.mirror, f"orchestra cxdb mirror{aim}"
    try:
        missing = await behind(settings.store, server)
    except StoreUnreachable as error:
        yield Finding(
            None, f"the mirror cannot be used; runs work without it: {error.message}", mirror_fix(error.fix)
        )
        return
    except (StoreError, ConfigError) as error:
        yield Finding(False, f"the mirror {server}: {error.message}", error.fix)
        return
    if missing:
        turns = plural(sum(count for _row, count in missing), "turn")
        sessions = plural(len(missing), "session")
        yield Finding(None, f"the mirror {server} is behind by {turns} of {sessions}", send)
    else:
        yield Finding(True, f"the mirror {server} is up to date")


def _of_health(settings: Settings, what: str, fix: str) -> Finding:
    """Turn a store's finding into a line; quarantined pieces do not keep a run from working."""
    lost = f"{settings.store}/{LOST}"
    if what.startswith(lost):
        return Finding(None, what, f"ls -l {shlex.quote(lost)}")
    return Finding(False, what, fix)


async def _check_embedded(store: EmbeddedStore, wanted: Examination, aim: str) -> AsyncIterator[Finding]:
    if wanted.deep or wanted.repair:
        damage = await store.deep_check()
        if not damage:
            yield Finding(True, "every record is intact")
        for what in _by_file(damage):
            if wanted.repair:
                yield Finding(
                    False, f"cannot be repaired: {what}", "restore the folder from a backup; the rest is readable"
                )
            else:
                yield Finding(False, f"damaged: {what}", f"orchestra doctor --repair{aim}")
    if wanted.settle:
        await store.settle()
        yield Finding(True, "settled: a CXDB server can open the folder now")


def _by_file(damage: list[Damage]) -> Iterator[str]:
    """One line per file: its first fault, and how many more there are."""
    for file, group in groupby(damage, key=lambda one: one.file):
        first, *more = group
        yield f"{first}" + (f", and {len(more)} more in {file}" if more else "")
