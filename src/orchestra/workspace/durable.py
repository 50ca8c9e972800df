"""Make durable what git leaves to chance, before a commit is recorded (W13).

Our git syncs the contents of objects and refs (``core.fsync``), the ref last. Their names are made by links and
renames, which count after a power loss once their folder is synced; or, where the file system keeps a journal in
order, once anything is synced after them. What an agent's own git commits may not be synced at all.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from orchestra.workspace.git import Git

ORDERED = frozenset({"ext3", "ext4", "xfs"})
"""File systems on which a sync makes the names durable that were made before it.

The ref's own name is the last one: where it is lost, a resume moves the branch to the recorded commit (W7).
"""

SLACK_NS = 20_000_000
COARSE_NS = 2_000_000_000
"""By how much a folder's time may lag the clock, and by how much if it is in whole seconds."""


def now_ns() -> int:
    """The moment from which changes of folders are looked for."""
    return time.time_ns()


@cache
def file_system(device: int) -> str:
    """What kind of file system a device has, in the system's word; empty where it does not say."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    for fields in (line.split() for line in mounts):
        if len(fields) > 6 and fields[2] == wanted and "-" in fields[6:]:
            return fields[fields.index("-", 6) + 1]
    return ""


async def names_synced(git: Git, refs: Iterable[str], since: int) -> None:
    """Sync the folders of objects and of some refs that changed ``since`` a moment."""
    await asyncio.to_thread(_sync_names, git.common, tuple(refs), since)


def _sync_names(common: Path, refs: tuple[str, ...], since: int) -> None:
    if file_system(os.stat(common).st_dev) in ORDERED:  # noqa: PTH116  one call
        return
    for folder in (*_object_folders(common / "objects"), *_ref_folders(common, refs)):
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            changed = os.stat(folder).st_mtime_ns  # noqa: PTH116  paths are strings here
            if changed + (SLACK_NS if changed % 1_000_000_000 else COARSE_NS) >= since:
                _sync(folder)


def _object_folders(objects: Path) -> Iterator[str]:
    """The folders that may hold new objects, those below before those above."""
    try:
        with os.scandir(objects) as found:
            yield from (entry.path for entry in found if len(entry.name) == 2 or entry.name == "pack")
    except FileNotFoundError:
        return
    yield str(objects)


def _ref_folders(common: Path, refs: tuple[str, ...]) -> Iterator[str]:
    for ref in refs:
        folder = (common / ref).parent
        while folder != common and folder != folder.parent:
            yield str(folder)
            folder = folder.parent


def _sync(path: str) -> None:
    opened = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


async def commits_synced(git: Git, old: str, new: str, ref: str) -> None:
    """Sync everything that a range of commits brought, and the ref that names them."""
    listed = await git.run("rev-list", "--objects", "--no-object-names", f"{old}..{new}")
    await asyncio.to_thread(_sync_objects, git.common, listed.text.split("\n"), ref)


def _sync_objects(common: Path, names: list[str], ref: str) -> None:
    objects = common / "objects"
    packed = False
    for name in filter(None, names):
        file = objects / name[:2] / name[2:]
        if file.exists():
            _sync(str(file))
        else:
            packed = True
    if packed:
        for pack in sorted((objects / "pack").glob("pack-*")):
            _sync(str(pack))
    with contextlib.suppress(FileNotFoundError):
        _sync(str(common / ref))
    _sync_names(common, (ref,), 0)
