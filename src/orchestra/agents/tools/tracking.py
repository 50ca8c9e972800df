"""Which files an agent changed, from write tools and from comparing folders (A33).

A folder is read before and after a shell command or a CLI agent. In a git repository git says what
differs from the commit, and the facts of those files tell one change from another; elsewhere every file is looked
at.
"""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestra.processes.git import SETTINGS, surroundings

MOST_FILES = 200_000
"""Files that are read of a folder without a repository; in a larger folder the rest is not watched."""

SKIPPED = frozenset({".git", ".orchestra"})

Facts = tuple[int, int, int, int, int]
"""Of a file: modified and changed in nanoseconds, size, inode, mode."""


@dataclass(frozen=True, slots=True)
class FolderState:
    """A folder at one moment.

    ``commit`` is empty without a repository; ``files`` are those that differ from the commit, else all; a missing
    one has no status.
    """

    commit: str
    files: Mapping[str, Facts | None]


@dataclass(slots=True)
class FileChanges:
    """The files that changed while something ran, known when it has ended."""

    files: tuple[str, ...] = ()


@dataclass(slots=True)
class WriteTracker:
    """Gathers the files that changed in the working folders, as ``path``, or ``repo:path`` with several
    repositories.

    Whether a folder is a repository is decided once: one that an agent makes there is never asked, as git would
    run what its settings say. What the run itself writes to its ``store`` in one of the folders does not count.
    """

    folders: Mapping[str, Path]
    store: Path | None = None
    written: dict[str, None] = field(default_factory=dict)
    repositories: dict[str, bool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for repo, folder in self.folders.items():
            self.repositories[repo] = (folder / ".git").exists()

    def note(self, repo: str, paths: Iterable[str]) -> tuple[str, ...]:
        """Count files of a repository as changed; returns them as they are named to the outside."""
        named = tuple(f"{repo}:{path}" if len(self.folders) > 1 else path for path in paths)
        self.written.update(dict.fromkeys(named))
        return named

    def take(self) -> tuple[str, ...]:
        """All files that changed since the last time that this was asked, sorted."""
        taken = tuple(sorted(self.written))
        self.written.clear()
        return taken

    @asynccontextmanager
    async def around(self, repos: Iterable[str] | None = None) -> AsyncIterator[FileChanges]:
        """Find out which files change meanwhile; they stand in what this yields when it has ended, however it
        ends."""
        names = list(self.folders if repos is None else repos)
        before = {repo: await self.look(repo) for repo in names}
        changes = FileChanges()
        try:
            yield changes
        finally:
            found: list[str] = []
            for repo in names:
                after = await self.look(repo)
                found += self.note(repo, await self.differing(repo, before[repo], after))
            changes.files = tuple(sorted(found))

    async def watch(self) -> FolderSnapshot:
        """Begin to watch all folders, for who works for long and is asked from time to time what changed."""
        return FolderSnapshot(self, {repo: await self.look(repo) for repo in self.folders})

    async def look(self, repo: str) -> FolderState:
        """A folder as it is now."""
        folder = self.folders[repo]
        read = _by_git if self.repositories[repo] else _by_scan
        return await asyncio.to_thread(read, folder, self._store_in(folder))

    def _store_in(self, folder: Path) -> str:
        """The path of the store in a folder; empty where it is elsewhere."""
        if self.store is None:
            return ""
        path = os.path.relpath(os.path.realpath(self.store), os.path.realpath(folder))
        return "" if path in (".", "..") or path.startswith("../") else path

    async def differing(self, repo: str, before: FolderState, after: FolderState) -> list[str]:
        """The files that are not as they were."""
        changed = {
            path
            for path in before.files.keys() | after.files.keys()
            if before.files.get(path, ()) != after.files.get(path, ())
        }
        if before.commit != after.commit:
            changed |= await asyncio.to_thread(_committed_files, self.folders[repo], before.commit, after.commit)
        return sorted(changed)


@dataclass(slots=True)
class FolderSnapshot:
    """The folders when they were last read."""

    tracker: WriteTracker
    seen: dict[str, FolderState]

    async def changed_files(self) -> tuple[str, ...]:
        """The files that changed since the last time that this was asked."""
        found: list[str] = []
        for repo, before in list(self.seen.items()):
            after = await self.tracker.look(repo)
            found += self.tracker.note(repo, await self.tracker.differing(repo, before, after))
            self.seen[repo] = after
        return tuple(sorted(found))


def _surroundings() -> dict[str, str]:
    """What git needs of our environment: no key, for it may run a filter of the repository."""
    return {name: os.environ[name] for name in ("PATH", "HOME", "XDG_CONFIG_HOME") if name in os.environ}


def _git(folder: Path, *arguments: str) -> str:
    """Return git's output, empty if it fails; no hook or monitor of the repository's settings runs."""
    done = subprocess.run(
        ("git", *arguments),
        cwd=folder,
        env={**surroundings(_surroundings(), SETTINGS), "GIT_OPTIONAL_LOCKS": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return done.stdout.decode("utf-8", "surrogateescape") if done.returncode == 0 else ""


def _by_git(folder: Path, store: str) -> FolderState:
    status = _git(
        folder, "status", "--porcelain=v2", "--branch", "-z", "--untracked-files=all", "--no-renames", "--", "."
    )
    if not status:
        return _by_scan(folder, store)
    commit, paths = "", []
    for entry in status.split("\0"):
        if entry.startswith("# branch.oid "):
            commit = entry.removeprefix("# branch.oid ")
        elif entry.startswith("1 "):
            paths.append(entry.split(" ", 8)[8])
        elif entry.startswith("u "):
            paths.append(entry.split(" ", 10)[10])
        elif entry.startswith("? "):
            paths.append(entry[2:])
    prefix = _git(folder, "rev-parse", "--show-prefix").rstrip("\n")
    inside = [path.removeprefix(prefix) for path in paths if path.startswith(prefix)]
    return FolderState(commit, {path: _facts(folder / path) for path in inside if not _is_skipped(path, store)})


def _committed_files(folder: Path, before: str, after: str) -> set[str]:
    if not all(len(commit) >= 40 for commit in (before, after)):
        return set()
    listed = _git(folder, "diff", "--name-only", "--no-renames", "--relative", "-z", before, after)
    return {path for path in listed.split("\0") if path and not _is_skipped(path)}


def _is_skipped(path: str, store: str = "") -> bool:
    return path.partition("/")[0] in SKIPPED or bool(store and path.startswith(f"{store}/"))


def _by_scan(folder: Path, store: str) -> FolderState:
    files: dict[str, Facts | None] = {}
    pending = [""]
    while pending and len(files) < MOST_FILES:
        here = pending.pop()
        try:
            with os.scandir(folder / here) as entries:
                for entry in entries:
                    path = f"{here}/{entry.name}" if here else entry.name
                    if entry.is_dir(follow_symlinks=False):
                        if entry.name not in SKIPPED and path != store:
                            pending.append(path)
                    else:
                        files[path] = _of(entry.stat(follow_symlinks=False))
        except OSError:
            continue
    return FolderState("", files)


def _facts(path: Path) -> Facts | None:
    try:
        return _of(path.lstat())
    except OSError:
        return None


def _of(facts: os.stat_result) -> Facts:
    return (facts.st_mtime_ns, facts.st_ctime_ns, facts.st_size, facts.st_ino, stat.S_IFMT(facts.st_mode))
