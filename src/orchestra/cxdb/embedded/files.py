"""The file layer: every file access of the embedded store goes through here.

``Files`` is the operating system, with no more than what the store needs of it. Tests and crash
sweeps put a layer in its place that kills the process, fails a call, or forgets what was not synced
(``tests/faults.py``); so nothing else in the store may touch a file.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager

from orchestra.errors import StoreError, StoreFull, StoreUnreachable

MODE = 0o644

_sync = getattr(os, "fdatasync", os.fsync)
"""Some systems know only ``fsync``."""


class Files:
    """The operating system's files. Paths are strings; offsets and sizes are in bytes."""

    pread = staticmethod(os.pread)
    """``pread(fd, size, offset)``: up to ``size`` bytes; fewer only at the end of the file."""

    listdir = staticmethod(os.listdir)
    exists = staticmethod(os.path.exists)

    def pwrite(self, fd: int, data: bytes, offset: int) -> None:
        """Write all of ``data`` at ``offset``; a short write is continued until the system says why."""
        done = os.pwrite(fd, data, offset)
        while done < len(data):
            done += os.pwrite(fd, memoryview(data)[done:], offset + done)

    def open(self, path: str, *, write: bool, create: bool = False) -> int:
        """A file descriptor that children do not inherit."""
        flags = (os.O_RDWR if write else os.O_RDONLY) | (os.O_CREAT if create else 0)
        return os.open(path, flags | os.O_CLOEXEC, MODE)

    def close(self, fd: int) -> None:
        """Close a file descriptor."""
        os.close(fd)

    def read_file(self, path: str) -> bytes:
        """All bytes of a file."""
        fd = self.open(path, write=False)
        try:
            return self.pread(fd, self.size(fd), 0)
        finally:
            self.close(fd)

    def write_file(self, path: str, data: bytes) -> None:
        """Write a file from its beginning, durably; its folder is not synced."""
        fd = self.open(path, write=True, create=True)
        try:
            self.truncate(fd, 0)
            self.pwrite(fd, data, 0)
            self.fdatasync(fd)
        finally:
            self.close(fd)

    def fdatasync(self, fd: int) -> None:
        """Make a file's content durable, and its length."""
        _sync(fd)

    def truncate(self, fd: int, size: int) -> None:
        """Truncate a file to ``size`` bytes."""
        os.ftruncate(fd, size)

    def rename(self, old: str, new: str) -> None:
        """Rename a file, replacing one that is at ``new``."""
        os.replace(old, new)  # noqa: PTH105  paths are strings here

    def unlink(self, path: str) -> None:
        """Remove a file."""
        os.unlink(path)  # noqa: PTH108  paths are strings here

    def size(self, fd: int) -> int:
        """The file's length."""
        return os.lseek(fd, 0, os.SEEK_END)

    def mkdir(self, path: str) -> None:
        """Make a folder and its parents; an existing one is unchanged."""
        os.makedirs(path, exist_ok=True)  # noqa: PTH103  paths are strings here

    def sync_folder(self, path: str) -> None:
        """Make a folder's entries durable."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def lock(self, fd: int, *, shared: bool = False, wait: bool = True) -> bool:
        """Lock an open file; false if another process holds the lock and ``wait`` is false.

        The system releases it when the file is closed, and so when the process dies.
        """
        how = (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB)
        try:
            fcntl.flock(fd, how)
        except BlockingIOError:
            return False
        return True

    def unlock(self, fd: int) -> None:
        """Release the lock."""
        fcntl.flock(fd, fcntl.LOCK_UN)

    def map(self, fd: int, size: int) -> mmap.mmap:
        """The file's first ``size`` bytes as memory that cannot be written."""
        return mmap.mmap(fd, size, access=mmap.ACCESS_READ)

    def file_system(self, path: str) -> str:
        """The type of the file system of a path, such as ext4; empty if unknown."""
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
                mounts = [line.split() for line in file]
        except OSError:
            return ""
        real = os.path.realpath(path) + "/"
        above = [m for m in mounts if len(m) > 6 and real.startswith(m[4].rstrip("/") + "/")]
        best = max(above, key=lambda m: len(m[4]), default=None)
        return best[best.index("-") + 1] if best is not None and "-" in best else ""

    def absolute(self, path: str) -> str:
        """The path, whatever the current folder will be."""
        return os.path.abspath(path)  # noqa: PTH100  paths are strings here

    def identity(self, file: int | str) -> tuple[int, int] | None:
        """What tells a file, open or at a path, from all others on this machine; None where there is none."""
        try:
            found = os.stat(file)  # noqa: PTH116  paths are strings here
        except FileNotFoundError:
            return None
        return found.st_dev, found.st_ino


_FULL = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.EACCES,
    errno.EPERM,
    errno.EFBIG,
}

_FIX = {
    errno.ENOSPC: "free some space on that disk, then run again",
    errno.EDQUOT: "free some of the quota, then run again",
    errno.EROFS: "mount it writable, or choose another folder with --store DIR",
    errno.EMFILE: "raise the limit of open files (ulimit -n), then run again",
    errno.ENFILE: "the system has too many open files; close some programs, then run again",
    errno.EACCES: "make it writable for this user, or choose another folder with --store DIR",
    errno.EPERM: "make it writable for this user, or choose another folder with --store DIR",
}


def trouble(error: OSError, place: str) -> StoreError:
    """Return the store's error for one of the system: no room or no right to write, or unreachable (S20)."""
    reason = error.strerror or str(error)
    message = f"{place}: {reason}"
    if error.errno in _FULL:
        return StoreFull(message, fix=_FIX.get(error.errno or 0, ""))
    return StoreUnreachable(message, fix="check the disk; recorded data is not changed")


@contextmanager
def store_errors(place: str) -> Iterator[None]:
    """Raise errors of the system as ``StoreError``."""
    try:
        yield
    except OSError as error:
        raise trouble(error, place) from error
