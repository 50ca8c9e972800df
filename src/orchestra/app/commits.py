"""From a commit to the turn that made it, and from a turn to its commits (W3)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from orchestra.app.workspaces import own_environment
from orchestra.config.settings import Settings
from orchestra.engine.gaps import with_branches
from orchestra.engine.loading import recorded_in
from orchestra.engine.sessions import find, own
from orchestra.errors import ConfigError, SessionNotFound
from orchestra.ports import Store
from orchestra.run.events import (
    AgentCommitCreated,
    AgentTurnCompleted,
    Recorded,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
    WorktreeMerged,
)
from orchestra.workspace.commits import NOTES
from orchestra.workspace.git import Git
from orchestra.workspace.repos import locate

COMMIT = re.compile(r"[0-9a-f]{7,64}")
"""What may be a commit's hash, or a beginning of one; a session's id is shorter."""

ENDS = (AgentTurnCompleted, StageCompleted, StageFailed, StageRetrying)
"""Turns that end what a commit belongs to."""


@dataclass(frozen=True, slots=True)
class CommitOrigin:
    """Where a commit comes from: the session, and the trailers of its message or of its note."""

    repo: str
    commit: str
    session: str


async def origin_of(settings: Settings, commit: str) -> CommitOrigin | None:
    """The origin of a commit in the repositories of the settings; None where none of ours has that name."""
    repos = settings.workspace.repos if settings.workspace is not None else ()
    for repo in repos:
        git = await locate(repo, own_environment())
        shown = "%H%n%(trailers:key=Orchestra-Session,valueonly,separator=%x2C)"
        found = await git.run("log", "-1", f"--format={shown}", f"{commit}^{{commit}}", "--", check=False)
        if found.code:
            continue
        name, _, session = found.text.partition("\n")
        session = session.strip() or await _note_session(git, name)
        if session:
            return CommitOrigin(repo.name, name, session)
    return None


async def _note_session(git: Git, commit: str) -> str:
    """The session that a commit's note names: one that an agent made itself."""
    note = await git.run("notes", f"--ref={NOTES}", "show", commit, check=False)
    match = re.search(r"^Orchestra-Session: (\S+)", note.text, re.MULTILINE)
    return match[1] if match is not None else ""


async def place_of(store: Store, origin: CommitOrigin) -> str:
    """The turn that made a commit, as ``show`` takes it. Raises ``SessionNotFound``."""
    events = await events_of(store, origin.session)
    for number, (path, recorded) in enumerate(events):
        event = recorded.event
        if isinstance(event, AgentCommitCreated | WorktreeMerged) and event.commit == origin.commit:
            following = [one for there, one in events[number:] if there == path]
            end = next((one for one in following if isinstance(one.event, ENDS)), recorded)
            return f"{origin.session}{'/' if path else ''}{path}:{end.depth}"
    raise SessionNotFound(f"session {origin.session} has no turn for the commit {origin.commit[:12]}")


async def commits_of(store: Store, session: str, branch: str, depth: int | None) -> list[tuple[str, str]]:
    """The commits, as repository and hash, that a turn made: its own; those of its node where it ends one.

    Raises ``ConfigError`` where it made none.
    """
    events = [one for path, one in await events_of(store, session) if path == branch]
    at = [one for one in events if depth is None or one.depth <= depth]
    if not at:
        raise SessionNotFound(f"session {session} has no turn at depth {depth}")
    last = at[-1].event
    if isinstance(last, AgentCommitCreated):
        return [(last.repo, last.commit)]
    found: list[tuple[str, str]] = []
    for one in reversed(at[:-1]):
        if isinstance(one.event, AgentCommitCreated):
            found.insert(0, (one.event.repo, one.event.commit))
        if isinstance(one.event, StageStarted | type(last)):
            break
    if not found:
        raise ConfigError(
            f"the turn at depth {at[-1].depth} of session {session} committed nothing",
            fix=f"see which did: orchestra log {session}",
        )
    return found


async def events_of(store: Store, session: str) -> list[tuple[str, Recorded]]:
    """All events of a session with the path of their branch."""
    row = own(await find(store, session))
    turns = await with_branches(store, row)
    return [(path, one) for path, turn in turns if (one := recorded_in(turn)) is not None]
