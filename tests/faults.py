"""File layers that go wrong on purpose: killed, refused, or without power (S6, S7, S20).

Each stands in place of ``Files``. Calls that change something are counted, so that a sweep can go through
all of them.
"""

from __future__ import annotations

import errno
import os
import random
import signal
import sys
from collections.abc import Callable, Container
from pathlib import Path

from orchestra.cxdb.embedded.files import Files

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""

PAGE = 4096
"""Bytes that the system writes to the disk together."""


class CountingFiles(Files):
    """Counts the calls that change something, and tells ``before`` of each by its name.

    Nothing is really synced: what a process wrote outlives the process, and power is cut in play only.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []
        self._open: set[int] = set()

    def before(self, name: str) -> None:
        """Called before each change."""
        self.calls.append(name)

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        """Write."""
        self.before("pwrite")
        super().pwrite(fd, data, offset)

    def fdatasync(self, fd: int) -> None:
        """Sync."""
        self.before("fdatasync")

    def truncate(self, fd: int, size: int) -> None:
        """Cut."""
        self.before("truncate")
        os.ftruncate(fd, size)

    def rename(self, old: str, new: str) -> None:
        """Rename."""
        self.before("rename")
        os.replace(old, new)

    def unlink(self, path: str) -> None:
        """Remove."""
        self.before("unlink")
        os.unlink(path)

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        """Open, and perhaps make."""
        if create:
            self.before("open")
        fd = super().open(path, write=write, create=create)
        self._open.add(fd)
        return fd

    def close(self, fd: int) -> None:
        """Close."""
        self._open.discard(fd)
        super().close(fd)

    def end(self) -> None:
        """Close what is still open, as the system does when a process ends."""
        for fd in tuple(self._open):
            self.close(fd)

    def sync_folder(self, path: str) -> None:
        """Sync a folder."""
        self.before("sync_folder")


class KilledFiles(CountingFiles):
    """Kills the process before change number ``at`` (from 0), or in the middle of it if it is a write."""

    def __init__(self, at: int, *, halfway: bool = False) -> None:
        super().__init__()
        self._at = at
        self._halfway = halfway

    def before(self, name: str) -> None:
        """Die, if it is time."""
        if len(self.calls) == self._at and not (self._halfway and name == "pwrite"):
            os.kill(os.getpid(), signal.SIGKILL)
        super().before(name)

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        """Write all, or half and die."""
        if len(self.calls) == self._at:
            os.pwrite(fd, data[: len(data) // 2], offset)
            os.kill(os.getpid(), signal.SIGKILL)
        super().pwrite(fd, data, offset)


class RefusedFiles(CountingFiles):
    """Fails changes with an error number, from number ``at`` (from 0) on, ``times`` times.

    A write that fails has written half. Freeing room is never refused.
    """

    def __init__(self, at: int, error: int, *, times: int = 1) -> None:
        super().__init__()
        self._from = at
        self._error = error
        self._times = times

    def _refuses(self) -> bool:
        number = len(self.calls)
        return self._from <= number < self._from + self._times

    def before(self, name: str) -> None:
        """Refuse, if it is time."""
        refuses = self._refuses() and name not in {"truncate", "unlink"}
        super().before(name)
        if refuses:
            raise OSError(self._error, os.strerror(self._error))

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        """Write all, or half and fail."""
        if self._refuses():
            os.pwrite(fd, data[: len(data) // 2], offset)
        super().pwrite(fd, data, offset)


class PowerCut(BaseException):
    """The power is gone, or the process is: nothing after this call happens."""


class _Inode:
    """A file as programs see it and as the disk has it, and the writes that the disk need not have."""

    def __init__(self) -> None:
        self.cache = bytearray()
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes]] = []
        """Writes as (offset, bytes); a cut to ``n`` bytes as (-1 - n, b"")."""

    def change(self, offset: int, data: bytes) -> None:
        _apply(self.cache, offset, data)
        self.pending.append((offset, data))

    def sync(self) -> None:
        """What was changed since the last sync is written, page by page."""
        length = len(self.cache)
        del self.durable[length:]
        self.durable.extend(bytes(length - len(self.durable)))
        for offset, data in self.pending:
            start = max(0, offset) // PAGE * PAGE
            end = min(length, max(0, offset) + len(data) + PAGE)
            self.durable[start:end] = self.cache[start:end]
        self.pending.clear()

    def sync_in_vain(self) -> None:
        """The disk refuses, and the system takes the pages for clean: only another change has them written."""
        self.pending.clear()

    def after_cut(self, rng: random.Random) -> bytes:
        """Some sectors have their newest content, some an older one, some none; so has the length."""
        versions = [bytes(self.durable)]
        content = bytearray(self.durable)
        for offset, data in self.pending:
            _apply(content, offset, data)
            versions.append(bytes(content))
        length = len(rng.choice(versions))
        out = bytearray(length)
        for start in range(0, length, SECTOR):
            sector = rng.choice(versions)[start : start + SECTOR][: length - start]
            out[start : start + len(sector)] = sector
        return bytes(out)


def _apply(content: bytearray, offset: int, data: bytes) -> None:
    if offset < 0:
        del content[-1 - offset :]
        return
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


_Entries = dict[str, _Inode]


class Disk:
    """What a disk has of each file, and of each folder's entries, in case the power goes."""

    def __init__(self) -> None:
        self.now: _Entries = {}
        self._durable: _Entries = {}
        self._pending: dict[str, list[Callable[[_Entries], None]]] = {}

    def add(self, path: str) -> None:
        """A file is made; it is durable once its folder is synced."""
        inode = self.now[path] = _Inode()
        self._change(path, lambda entries: entries.__setitem__(path, inode))

    def rename(self, old: str, new: str) -> None:
        """A file gets another name; durable once the folder of the new one is synced."""
        inode = self.now[new] = self.now.pop(old)

        def entry(entries: _Entries) -> None:
            entries.pop(old, None)
            entries[new] = inode

        self._change(new, entry)

    def remove(self, path: str) -> None:
        """A file goes away; durable once its folder is synced."""
        self.now.pop(path, None)

        def entry(entries: _Entries) -> None:
            entries.pop(path, None)

        self._change(path, entry)

    def _change(self, path: str, entry: Callable[[_Entries], None]) -> None:
        self._pending.setdefault(_parent(path), []).append(entry)

    def sync_folder(self, path: str) -> None:
        """A folder's entries become durable."""
        for entry in self._pending.pop(path, []):
            entry(self._durable)

    def after_power_cut(self, root: str, target: str, rng: random.Random) -> None:
        """Make ``target`` what ``root`` may be when the power is back."""
        entries = dict(self._durable)
        for pending in self._pending.values():
            for entry in pending[: rng.randint(0, len(pending))]:
                entry(entries)
        root = os.path.normpath(root)
        for path, inode in entries.items():
            if path.startswith(root + "/"):
                there = Path(target) / path[len(root) + 1 :]
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_bytes(inode.after_cut(rng))


class LossyFiles(CountingFiles):
    """A disk that forgets what was not synced: contents sector by sector, folder entries in order.

    At change number ``cut_at`` (from 0) nothing more happens; layers that share a ``disk`` may go on. Sync
    number ``fail_sync_at`` fails, and leaves the system believing that there is nothing to sync.
    ``before_each`` is called before each change. ``deaf`` names functions (``module.function``) whose syncs are
    left out, ``late`` functions whose writes change places with the sync that follows: stores with such a
    mistake in them, which a sweep has to find.
    """

    def __init__(
        self,
        *,
        disk: Disk | None = None,
        cut_at: int | None = None,
        fail_sync_at: int | None = None,
        before_each: Callable[[], None] | None = None,
        deaf: Container[str] = (),
        late: Container[str] = (),
    ) -> None:
        super().__init__()
        self.sites: dict[str, set[str]] = {"sync": set(), "write": set()}
        self._deaf = deaf
        self._late = late
        self._waiting: list[tuple[int, int, bytes]] = []
        self.disk = disk if disk is not None else Disk()
        self.cut_at = cut_at
        self._fail_sync_at = fail_sync_at
        self._before_each = before_each
        self._inodes: dict[int, _Inode] = {}

    def before(self, name: str) -> None:
        """Stop, if it is time."""
        if self.cut_at is not None and len(self.calls) >= self.cut_at:
            raise PowerCut
        super().before(name)
        if self._before_each is not None:
            self._before_each()

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        """Open, and perhaps make."""
        path = os.path.normpath(path)
        new = create and not os.path.exists(path)
        fd = super().open(path, write=write, create=create)
        if new:
            self.disk.add(path)
        if path in self.disk.now:
            self._inodes[fd] = self.disk.now[path]
        return fd

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        """Write, pending."""
        super().pwrite(fd, data, offset)
        site = _caller()
        self.sites["write"].add(site)
        if site in self._late:
            self._waiting.append((fd, offset, bytes(data)))
        else:
            self._inodes[fd].change(offset, bytes(data))

    def truncate(self, fd: int, size: int) -> None:
        """Cut, pending."""
        super().truncate(fd, size)
        self._inodes[fd].change(-1 - size, b"")

    def fdatasync(self, fd: int) -> None:
        """Make a file's content durable."""
        super().fdatasync(fd)
        if self.calls.count("fdatasync") - 1 == self._fail_sync_at:
            self._inodes[fd].sync_in_vain()
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        if self._heard():
            self._inodes[fd].sync()
        for late, offset, data in self._waiting:
            self._inodes[late].change(offset, data)
        self._waiting.clear()

    def _heard(self) -> bool:
        """Whether a sync is one that this layer does; called by what the store calls."""
        site = _caller(2)
        self.sites["sync"].add(site)
        return site not in self._deaf

    def rename(self, old: str, new: str) -> None:
        """Rename, pending."""
        super().rename(old, new)
        self.disk.rename(os.path.normpath(old), os.path.normpath(new))

    def unlink(self, path: str) -> None:
        """Remove, pending."""
        super().unlink(path)
        self.disk.remove(os.path.normpath(path))

    def sync_folder(self, path: str) -> None:
        """Make a folder's entries durable."""
        super().sync_folder(path)
        if self._heard():
            self.disk.sync_folder(os.path.normpath(path))


def _caller(further: int = 1) -> str:
    """The function that called the file layer: its module's last name and its own."""
    frame = sys._getframe(further + 1)
    while frame.f_code.co_name == "write_file" and frame.f_back is not None:
        frame = frame.f_back
    return f"{frame.f_globals['__name__'].rpartition('.')[2]}.{frame.f_code.co_name}"


def _parent(path: str) -> str:
    return path.rsplit("/", 1)[0]
