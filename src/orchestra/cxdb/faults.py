"""File layers that go wrong on purpose: killed, refused, or without power (S6, S7, S20).

Each stands in place of ``Files``. Calls that change something are counted, so that a sweep can go through
all of them.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterable
from pathlib import Path

from orchestra.cxdb.files import Files

SECTOR = 512
"""Bytes that a disk writes whole or not at all."""


class CountingFiles(Files):
    """Counts the calls that change something, and tells ``before`` of each by its name.

    Nothing is really synced: what a process wrote outlives the process, and power is cut in play only.
    """

    def __init__(self) -> None:
        self.calls: list[str] = []

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
        os.replace(old, new)  # noqa: PTH105

    def unlink(self, path: str) -> None:
        """Remove."""
        self.before("unlink")
        os.unlink(path)  # noqa: PTH108

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        """Open, and perhaps make."""
        if create:
            self.before("open")
        return super().open(path, write=write, create=create)

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
    """The power is gone; nothing after this call happens."""


class _Inode:
    """A file as the disk has it, and what was done to it since it was last synced."""

    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes]] = []
        """Writes as (offset, bytes); a cut to ``n`` bytes as (-1 - n, b"")."""

    def sync(self) -> None:
        for offset, data in self.pending:
            _apply(self.durable, offset, data)
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


class LossyFiles(CountingFiles):
    """A disk that forgets what was not synced: file contents sector by sector, folder entries in order.

    ``cut_at`` is the number of the change (from 0) at which the power goes; ``after_power_cut`` then makes
    a folder as the disk may have it.
    """

    def __init__(self, *, cut_at: int | None = None) -> None:
        super().__init__()
        self.cut_at = cut_at
        self._inodes: dict[int, _Inode] = {}
        self._now: dict[str, _Inode] = {}
        self._durable: dict[str, _Inode] = {}
        self._entries: list[tuple[str, Callable[[dict[str, _Inode]], None]]] = []

    def before(self, name: str) -> None:
        """Lose power, if it is time."""
        if len(self.calls) == self.cut_at:
            raise PowerCut
        super().before(name)

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        """Open; a file that is made is durable once its folder is synced."""
        path = os.path.normpath(path)
        new = create and not os.path.exists(path)  # noqa: PTH110
        fd = super().open(path, write=write, create=create)
        if new:
            inode = self._now[path] = _Inode()
            self._entries.append((path, lambda disk: disk.__setitem__(path, inode)))
        if path in self._now:
            self._inodes[fd] = self._now[path]
        return fd

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        """Write, pending."""
        super().pwrite(fd, data, offset)
        self._inodes[fd].pending.append((offset, bytes(data)))

    def truncate(self, fd: int, size: int) -> None:
        """Cut, pending."""
        super().truncate(fd, size)
        self._inodes[fd].pending.append((-1 - size, b""))

    def fdatasync(self, fd: int) -> None:
        """Make a file's content durable."""
        super().fdatasync(fd)
        self._inodes[fd].sync()

    def rename(self, old: str, new: str) -> None:
        """Rename, pending."""
        super().rename(old, new)
        old, new = os.path.normpath(old), os.path.normpath(new)
        self._now[new] = self._now.pop(old)

        def entry(disk: dict[str, _Inode]) -> None:
            inode = disk.pop(old, None)
            if inode is not None:
                disk[new] = inode

        self._entries.append((new, entry))

    def unlink(self, path: str) -> None:
        """Remove, pending."""
        super().unlink(path)
        path = os.path.normpath(path)
        self._now.pop(path, None)

        def entry(disk: dict[str, _Inode]) -> None:
            disk.pop(path, None)

        self._entries.append((path, entry))

    def sync_folder(self, path: str) -> None:
        """Make a folder's entries durable."""
        super().sync_folder(path)
        path = os.path.normpath(path)
        last = max((at for at, (name, _) in enumerate(self._entries) if _parent(name) == path), default=-1)
        self._settle(self._entries[: last + 1])
        del self._entries[: last + 1]

    def _settle(self, entries: Iterable[tuple[str, Callable[[dict[str, _Inode]], None]]]) -> None:
        for _, entry in entries:
            entry(self._durable)

    def after_power_cut(self, root: str, target: str, rng: random.Random) -> None:
        """Make ``target`` what ``root`` may be when the power is back."""
        disk = dict(self._durable)
        for _, entry in self._entries[: rng.randint(0, len(self._entries))]:
            entry(disk)
        root = os.path.normpath(root)
        for path, inode in disk.items():
            if path.startswith(root + "/"):
                there = Path(target) / path[len(root) + 1 :]
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_bytes(inode.after_cut(rng))


def _parent(path: str) -> str:
    return path.rsplit("/", 1)[0]
