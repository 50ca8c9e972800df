"""Git worktrees of a walk, and what comes of commits and merges in them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from orchestra.run.events import Event
from orchestra.run.state import RepoRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCommit:
    """What to commit, and the commit's message (W3, W4).

    ``files`` are paths, absolute, ``repo:path``, or relative to the first repository's folder; None commits all
    changes that git sees. ``turn`` tells one commit of the session from another: node, visit, attempt and the
    agent's turn. ``by`` is the author where there is no model. An empty ``message`` is made of the node, the files
    and ``intent``; where there is ``write``, by that from the repository's name and the diff, unless it returns an
    empty text. ``secret`` names the secret in a text, empty where there is none, and its line.
    """

    node: str
    turn: str
    files: tuple[str, ...] | None = None
    intent: str = ""
    message: str = ""
    model: str = ""
    provider: str = ""
    by: str = "tool"
    secret: Callable[[str], tuple[str, int]] | None = None
    write: Callable[[str, str], Awaitable[str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenMessage:
    """A commit message that a model wrote, empty where it had none, and what that took."""

    text: str
    model: str
    provider: str
    tokens_in: int = 0
    tokens_out: int = 0
    cost_micros: int = 0
    unpriced: bool = False
    duration_ms: int = 0


MessageWriter: TypeAlias = Callable[[str, str], Awaitable[WrittenMessage | None]]
"""Writes a commit message from the intent and the diff; None where it never will. Raises ``BackendError``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitResult:
    """A commit that was made; ``left_out`` are files that were named and that git ignores."""

    repo: str
    commit: str
    subject: str
    files: tuple[str, ...]
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """A branch that could not be merged: per file its conflict hunks as text, with markers (W6).

    ``ours`` and ``theirs`` are the subjects of the commits of each side.
    """

    repo: str
    branch: str
    folder: str
    files: Mapping[str, str]
    ours: tuple[str, ...] = ()
    theirs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeResult:
    """The merge result of a fan-out's branches: with commits, without changes, in conflict."""

    merged: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    conflicts: tuple[Conflict, ...] = ()


class Workspace(Protocol):
    """The worktrees of one walk, one per repository (W1).

    Every method records the events of what it did in the walk's chain; they are durable with its next batch. All
    raise ``WorkspaceError`` with what git said.
    """

    @property
    def repos(self) -> tuple[str, ...]:
        """The names of the repositories, as the settings order them."""

    @property
    def writer(self) -> MessageWriter | None:
        """Who writes the messages of its commits; None for the template alone."""

    def folder(self, repo: str = "") -> Path:
        """The worktree of a repository; of the first without a name."""

    async def commit(self, wanted: NewCommit) -> tuple[CommitResult, ...]:
        """Commit files, per repository that has changed ones; none where nothing changed."""

    async def snapshot(self, reason: str = "") -> Mapping[str, RepoRecord]:
        """Return each repository's current commit; recorded if the chain does not know it."""

    async def restore(self, known: Mapping[str, RepoRecord], *, keep: bool = False) -> None:
        """Put the worktrees at the recorded commits; what is uncommitted or unknown is rescued first (W7).

        ``keep`` leaves uncommitted changes where they are: the node continues in the middle of a turn.
        """

    async def lend(
        self, *, session: str, pipeline: str, known: Mapping[str, RepoRecord], record: Callable[[Event], None]
    ) -> Workspace:
        """The same worktrees for a child session, put where its own chain knows them."""

    async def branch(
        self,
        path: str,
        record: Callable[[Event], None],
        known: Mapping[str, RepoRecord] | None = None,
        *,
        keep: bool = False,
        held: Sequence[str] = (),
    ) -> Workspace:
        """Worktrees on branches of their own for a parallel branch, at this walk's commits (W5).

        ``path`` names the branch within this walk; ``known`` is what its chain knows of it; ``keep`` as in
        ``restore``, ``held`` as in ``Workspaces.open``.
        """

    async def changes(self) -> str:
        """What the session has changed so far, as Markdown with diffs, long ones cut; empty for nothing."""

    async def push_in_background(self) -> None:
        """Push what is pushed on checkpoints, until cancelled (W9)."""

    async def finish(self, *, completed: bool) -> None:
        """Push what the remotes lack, before the end of the session is recorded: all of it where it succeeded."""

    async def close(self) -> None:
        """Put a checkout that was worked in itself back on its own branch (``in_place``)."""

    async def merge(self, branches: Mapping[str, Mapping[str, str]]) -> MergeResult:
        """Merge branches of a fan-out into this walk's own, in this order, by their git branch (W6).

        A branch is in every repository under the name that follows the session's. Each has its recorded commits, by
        repository.
        """


class Workspaces(Protocol):
    """Makes the workspace of a session."""

    async def open(
        self,
        *,
        session: str,
        pipeline: str,
        known: Mapping[str, RepoRecord],
        keep: bool,
        held: Sequence[str] = (),
        record: Callable[[Event], None],
        settle: Callable[[], Awaitable[None]],
    ) -> Workspace:
        """The workspace of a session: its branches and worktrees made, or put back to what its chain knows.

        Branches that ``known`` gives to another session are left alone; the session gets its own from those commits
        (W8). ``held`` are commits from which a child continues: what they contain is not rescued. ``settle`` makes
        durable what was recorded.
        """
