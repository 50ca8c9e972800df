"""The lock of a session: a locked file that names the holder (S16)."""

from __future__ import annotations

import time
from contextlib import suppress

from orchestra.cxdb.embedded.files import Files
from orchestra.errors import SessionTaken

_NOTE = 4096

_TRIES = 5
_PAUSE = 0.002
"""Seconds between tries: another process may just be checking who holds the session."""


class FileHold:
    """A lock that the system releases when the process dies."""

    def __init__(self, files: Files, path: str, fd: int) -> None:
        self._files = files
        self._path = path
        self._fd: int | None = fd

    @classmethod
    def take(cls, files: Files, path: str, note: str) -> FileHold:
        """Lock a session. Raises ``SessionTaken`` with the note of the holder."""
        while True:
            fd = files.open(path, write=True, create=True)
            try:
                _lock(files, fd)
                if files.identity(fd) == files.identity(path):
                    files.truncate(fd, 0)
                    files.pwrite(fd, note.encode()[:_NOTE], 0)
                    return cls(files, path, fd)
            except BaseException:
                files.close(fd)
                raise
            files.close(fd)

    def release(self) -> None:
        """Release the lock and remove its file."""
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            with suppress(FileNotFoundError):  # the store is gone
                self._files.unlink(self._path)
        finally:
            self._files.close(fd)


def _lock(files: Files, fd: int) -> None:
    for _ in range(_TRIES):
        if files.lock(fd, wait=False):
            return
        time.sleep(_PAUSE)
    raise SessionTaken(f"the session is held by {_note(files, fd) or 'another process'}")


def holder_of(files: Files, path: str) -> str | None:
    """The note of the live process that holds the lock, or None."""
    try:
        fd = files.open(path, write=False)
    except FileNotFoundError:
        return None
    try:
        if files.lock(fd, shared=True, wait=False):
            return None
        return _note(files, fd)
    finally:
        files.close(fd)


def _note(files: Files, fd: int) -> str:
    return files.pread(fd, _NOTE, 0).decode(errors="replace")
