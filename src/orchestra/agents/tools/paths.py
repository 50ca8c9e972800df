"""Paths inside a folder and never outside it, also if another process moves links meanwhile (A31).

A path is walked component by component with directory descriptors and ``O_NOFOLLOW``. Symbolic links are followed
by hand: their text is put before the rest of the path, and ``..`` goes back to a descriptor that was
opened on the way, so that no step ever asks the system to follow anything. What the walk ends with is a descriptor
of the folder that holds the file and the file's name in it; the file itself is opened without following either.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orchestra.agents.tools import ToolError

FORBIDDEN = frozenset({".git", ".orchestra"})
"""Names that are out of bounds at any depth, in any case: the history, and what Orchestra records."""

_MOST_LINKS = 40
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# characters that some file systems leave out of names, so that .g\u200cit would be .git there
_INVISIBLE = dict.fromkeys([*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF])


class FilePlace:
    """A file's place: the open descriptor ``parent`` of its folder, its ``name`` there, its ``path``.

    ``name`` is ``.`` for the folder itself; ``path`` is from the ``root``, with links resolved.
    """

    __slots__ = ("name", "parent", "path", "root")

    def __init__(self, parent: int, name: str, path: str, root: Path) -> None:
        self.parent = parent
        self.name = name
        self.path = path
        self.root = root

    def missing(self) -> ToolError:
        """The message for a missing file."""
        return missing(self.path, self.root)

    def stat(self) -> os.stat_result | None:
        """Return the status of a file, links not followed; None if it does not exist."""
        try:
            return os.stat(self.name, dir_fd=self.parent, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, flags: int, mode: int = 0o666) -> int:
        """Return a descriptor of the file. Raises ``ToolError`` for a link that was put there meanwhile."""
        try:
            return os.open(
                self.name, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, mode, dir_fd=self.parent
            )
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise ToolError(f"{self.path} became a symbolic link meanwhile") from error
            raise


def missing(path: str, root: Path) -> ToolError:
    """Return the message for a path that does not exist."""
    return ToolError(f"{path} does not exist in the working folder {root}")


def forbidden(name: str) -> bool:
    """Whether a component may not be touched, in whatever spelling a file system takes for the same."""
    plain = name.translate(_INVISIBLE).casefold().rstrip(". ").partition(":")[0]
    return plain in FORBIDDEN or plain == "git~1"


class _PathWalk:
    """The walk: the descriptors of the folders on the way, and their names."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.real = os.path.realpath(root)
        self.folders = [os.open(self.real, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
        self.names: list[str] = []
        self.links = 0

    def close(self) -> None:
        for folder in self.folders:
            with contextlib.suppress(OSError):
                os.close(folder)
        self.folders.clear()

    def parts(self, text: str) -> list[str]:
        """A path's components in reverse, from the folder where the walk is, or from the root for an absolute
        one."""
        if not text.startswith("/"):
            return text.split("/")[::-1]
        for base in (str(self.root), self.real):
            if text == base or text.startswith(base.rstrip("/") + "/"):
                while self.names:
                    self.up(text)
                return text[len(base) :].split("/")[::-1]
        raise ToolError(f"{text} is outside the working folder {self.root}; give a path inside it")

    def up(self, asked: str) -> None:
        """One folder back."""
        if not self.names:
            raise ToolError(f"{asked} is outside the working folder {self.root}; give a path inside it")
        os.close(self.folders.pop())
        self.names.pop()

    def run(self, asked: str, *, make: bool) -> FilePlace:
        """Walk to a path's last component, which may be missing; ``make`` makes the folders on the way."""
        left = self.parts(asked)
        while left:
            part = left.pop()
            if part in ("", "."):
                continue
            if part == "..":
                self.up(asked)
                continue
            if forbidden(part):
                raise ToolError(f"{asked}: {part} is out of bounds")
            target = self._link(part)
            if target is not None:
                self.links += 1
                if self.links > _MOST_LINKS:
                    raise ToolError(f"{asked}: too many symbolic links")
                left.extend(self.parts(target))
                continue
            if not any(one not in ("", ".") for one in left):
                return FilePlace(self.folders[-1], part, "/".join((*self.names, part)), self.root)
            self._down(part, asked, make=make)
        return FilePlace(self.folders[-1], ".", "/".join(self.names) or ".", self.root)

    def _link(self, part: str) -> str | None:
        try:
            return os.readlink(part, dir_fd=self.folders[-1])
        except OSError:
            return None

    def _down(self, part: str, asked: str, *, make: bool) -> None:
        here = self.folders[-1]
        try:
            folder = os.open(part, _FOLDER, dir_fd=here)
        except FileNotFoundError:
            if not make:
                raise missing(asked, self.root) from None
            with contextlib.suppress(FileExistsError):
                os.mkdir(part, dir_fd=here)
            folder = os.open(part, _FOLDER, dir_fd=here)
        except NotADirectoryError:
            raise ToolError(f"{asked}: {part} is not a folder") from None
        self.folders.append(folder)
        self.names.append(part)


@contextmanager
def inside(root: Path, path: str, *, make: bool = False) -> Iterator[FilePlace]:
    """The place of ``path`` inside ``root``, whose folder stays open meanwhile.

    ``make`` makes missing folders on the way. Raises ``ToolError`` for a path that leads outside, touches what is
    out of bounds, or is none.
    """
    if not path or "\0" in path:
        raise ToolError("a path is needed, without NUL characters")
    try:
        walk = _PathWalk(root)
    except OSError as error:
        raise ToolError(f"the working folder {root} cannot be opened: {error.strerror}") from error
    try:
        yield walk.run(path, make=make)
    except OSError as error:
        raise ToolError(f"{path}: {error.strerror or error}") from error
    except UnicodeEncodeError as error:
        raise ToolError("a path has to be Unicode text") from error
    finally:
        walk.close()


def regular(descriptor: int, path: str) -> os.stat_result:
    """Return the status of an open regular file.

    Raises ``ToolError`` for anything else: a pipe or a device could block.
    """
    facts = os.fstat(descriptor)
    if stat.S_ISDIR(facts.st_mode):
        raise ToolError(f"{path} is a folder; list-files shows what is in it")
    if not stat.S_ISREG(facts.st_mode):
        raise ToolError(f"{path} is not a regular file")
    return facts
