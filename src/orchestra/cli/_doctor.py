"""What ``orchestra doctor`` does."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from orchestra.app.stores import open_store
from orchestra.cli._stores import exists, settings_for
from orchestra.cli._terminal import say
from orchestra.config.settings import Settings
from orchestra.cxdb.embedded import EmbeddedStore
from orchestra.engine.sessions import rows
from orchestra.errors import ConfigError, StoreError

LITTLE_ROOM = 256 * 1024 * 1024
"""Free bytes below which the disk is worth a word."""

NO_ROOM = 16 * 1024 * 1024
"""Free bytes below which a run may not even begin."""

_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"})


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: whether it is well (None: only to be known), what, and one command that mends it."""

    well: bool | None
    what: str
    mend: str = ""


def examine(*, deep: bool, settle: bool, store: str | None, config: Path | None) -> int:
    """Print findings; 0 only if a run would work."""
    settings = settings_for(store, config)
    found = [
        Finding(True, f"Python {sys.version.split()[0]} at {sys.executable}"),
        Finding(True, f"settings from {settings.file}" if settings.file else "no orchestra.yaml: defaults"),
        Finding(True, f"backend {settings.backend}: works without a key"),
        _drawing(),
        *_place(settings),
    ]
    if all(finding.well is not False for finding in found):
        found.extend(asyncio.run(_store(settings, deep=deep, settle=settle)))
    for finding in found:
        sign = {True: "✓", False: "✗", None: "·"}[finding.well]
        say(f"{sign} {finding.what}")
        if finding.mend:
            say(f"    mend it: {finding.mend}")
    return 0 if all(finding.well is not False for finding in found) else 1


def _drawing() -> Finding:
    program = shutil.which("dot")
    if program:
        return Finding(True, f"Graphviz at {program}: compile --format svg works")
    return Finding(None, "no Graphviz: compile --format svg does not work, all else does", "apt install graphviz")


def _place(settings: Settings) -> list[Finding]:
    folder = settings.store
    if folder is None:
        return [Finding(None, "the store is in memory: nothing is kept")]
    found = []
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        found.append(Finding(False, f"the store's place {there} is not a folder", f"rm {there}"))
    elif not os.access(there, os.W_OK | os.X_OK):
        found.append(Finding(False, f"{there} may not be written to by this user", f"chmod u+wx {there}"))
    else:
        kind = _file_system(there)
        if kind in _NETWORK:
            found.append(
                Finding(
                    False,
                    f"{there} is on {kind}, where file locks cannot be relied on",
                    "export ORCHESTRA_CXDB_PATH=~/.local/state/orchestra/cxdb",
                )
            )
        free = shutil.disk_usage(there).free
        well = True if free > LITTLE_ROOM else None if free > NO_ROOM else False
        mend = "" if well else f"du -xh {there} | sort -h | tail"
        found.append(Finding(well, f"{free // 2**20} MiB free at {there}", mend))
    return found


def _file_system(path: Path) -> str:
    """The kind of file system that holds a path, by the mount table where there is one."""
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    here = str(path.resolve())
    for line in lines:
        parts = line.split()
        if len(parts) > 2 and (here + "/").startswith(parts[1].rstrip("/") + "/") and len(parts[1]) >= len(best):
            best, kind = parts[1], parts[2]
    return kind


async def _store(settings: Settings, *, deep: bool, settle: bool) -> list[Finding]:
    if settings.store is not None and not exists(settings):
        if deep or settle:
            raise ConfigError(f"there is no store in {settings.store} yet")
        return [Finding(True, f"the store {settings.store} will be made by the first run")]
    found = []
    try:
        store = open_store(settings)
        try:
            found.append(Finding(True, f"store {settings.store or 'in memory'}: {len(await rows(store))} sessions"))
            for what, mend in (await store.health()).findings:
                found.append(Finding(False, what, mend))
            if isinstance(store, EmbeddedStore):
                if deep:
                    found.extend(await _deep(store))
                if settle:
                    await store.settle()
                    found.append(Finding(True, "settled: a CXDB server can open the folder now"))
        finally:
            await store.close()
    except StoreError as error:
        found.append(Finding(False, error.message, error.fix))
    return found


async def _deep(store: EmbeddedStore) -> list[Finding]:
    damage = await store.deep_check()
    if not damage:
        return [Finding(True, "every record is as it was written")]
    return [
        Finding(False, f"damaged: {one}", "restore the folder from a copy; the rest stays readable")
        for one in damage
    ]
