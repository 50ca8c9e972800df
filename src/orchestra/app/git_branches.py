"""A session's code after its run: find it in the store, then merge, discard or compare it in git (W6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestra.app.requests import LIVE
from orchestra.app.workspaces import own_environment
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.engine.loading import load_state, turn_of
from orchestra.engine.sessions import Row, find, own, summarize
from orchestra.errors import ConfigError, SessionTaken, WorkspaceError
from orchestra.ports import Store
from orchestra.run.events import CleanupCompleted, Meta
from orchestra.run.state import RunState
from orchestra.run.views import Phase
from orchestra.workspace import ending
from orchestra.workspace.cleanup import process_in
from orchestra.workspace.ending import GitAction, SessionBranches
from orchestra.workspace.repos import locate


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionCode:
    """A session with its branches in each repository."""

    row: Row
    state: RunState
    phase: Phase
    repos: tuple[SessionBranches, ...]


async def code_of(store: Store, settings: Settings, name: str) -> SessionCode:
    """A session's branches. Raises ``SessionNotFound``, and ``ConfigError`` where it has none."""
    row = own(await find(store, name))
    state = await load_state(store, row.context_id)
    phase = (await summarize(store, row, SystemClock().now_ms())).phase
    repos = await branches_of(state, settings)
    ending.need(repos, row.session)
    return SessionCode(row=row, state=state, phase=phase, repos=repos)


async def branches_of(state: RunState, settings: Settings) -> tuple[SessionBranches, ...]:
    """The branches of a session in the repositories of the settings."""
    configured = {repo.name: repo for repo in settings.workspace.repos} if settings.workspace is not None else {}
    found = []
    for name, known in state.workspace.items():
        if known.owner != state.session:
            continue
        if name not in configured:
            raise ConfigError(
                f"session {state.session} works on the repository {name}, which is not in the settings",
                fix="name it under workspace.repos, or the settings file that has it with --config FILE",
            )
        git = await locate(configured[name], own_environment())
        branch = known.branch.partition("@")[0]
        found.append(
            SessionBranches(
                repo=name,
                git=git,
                path=configured[name].path,
                session=state.session,
                own=branch,
                base=known.base,
                base_branch=known.base_branch,
                tips=await ending.tips_of(git, branch),
                remote=configured[name].remote,
                commit=known.commit,
            )
        )
    return tuple(found)


async def merged_into(state: RunState, settings: Settings) -> dict[str, str]:
    """The branches, by repository, that have a session's work already; nothing of one that cannot be read."""
    try:
        repos = await branches_of(state, settings)
    except (ConfigError, WorkspaceError):
        return {}
    return {
        repo.repo: repo.base_branch
        for repo in repos
        if repo.tip not in ("", repo.base)
        and repo.base_branch
        and await repo.git.ok("merge-base", "--is-ancestor", repo.tip, f"refs/heads/{repo.base_branch}")
    }


async def merge(store: Store, settings: Settings, name: str, *, force: bool = False) -> list[GitAction]:
    """Merge a session's branches into what is checked out in its repositories.

    Raises ``WorkspaceError`` for a session that did not complete, unless with ``force``.
    """
    code = await code_of(store, settings, name)
    _not_live(code)
    session = code.row.session
    if code.phase is not Phase.COMPLETED and not force:
        raise WorkspaceError(
            f"session {session} did not complete: {code.phase}; nothing was merged."
            f" Continue it: orchestra resume {session}, or merge it as it is: orchestra merge --force {session}"
        )
    title = f"{code.state.pipeline}: {code.state.goal}" if code.state.goal else code.state.pipeline
    message = f"Merge session {session}\n\n{title}\n\nOrchestra-Session: {session}"
    repos = [repo for repo in code.repos if repo.tips]
    for repo in repos:  # all are checked before the first is changed
        await ending.check_merge(repo)
    return [await ending.merge(repo, message) for repo in repos]


async def discard(store: Store, settings: Settings, name: str) -> list[GitAction]:
    """Move all branches of a session to the trash, and remove its worktrees.

    Raises ``SessionTaken`` while the session runs, and while a command works on that its dead runner left.
    """
    code = await code_of(store, settings, name)
    _not_live(code)
    worktrees = [(repo, worktrees_of(settings, code.row.session, repo.repo)) for repo in code.repos]
    if code.phase is Phase.CRASHED:
        _not_worked_in(code.row.session, [place for _repo, places in worktrees for place in places])
    for repo, places in worktrees:
        await ending.check_free(repo, places)
    done: list[GitAction] = []
    for repo, places in worktrees:
        done += await ending.discard(repo, list(repo.tips), places)
    await record_removal(store, code.row, done, "discard")
    return done


def worktrees_of(settings: Settings, session: str, repo: str) -> list[Path]:
    """Return the existing worktrees of a session and its parallel branches."""
    assert settings.workspace is not None
    home = settings.workspace.home / "worktrees"
    folders = [home / session, *sorted(home.glob(f"{session}@*"))]
    return [folder / repo for folder in folders]


async def record_removal(store: Store, row: Row, done: Sequence[GitAction], reason: str) -> None:
    """Record in a session's mailbox which of its branches were removed (W14)."""
    at = SystemClock().now_ms()
    meta = Meta(session=row.session, epoch=1, sequence=1, at=at)
    turns = [
        turn_of(
            meta,
            CleanupCompleted(repo=one.repo, branch=one.branch, commit=one.commit, reason=reason, trash=one.trash),
        )
        for one in done
        if one.branch
    ]
    if turns:
        await store.append(row.mailbox, turns)


def _not_worked_in(session: str, worktrees: Sequence[Path]) -> None:
    for place in worktrees:
        if process := process_in(place):
            raise SessionTaken(
                f"session {session} crashed, and its process {process} still works in {place}",
                fix=f"stop it: orchestra cancel {session}",
            )


def _not_live(code: SessionCode) -> None:
    session = code.row.session
    if code.phase is Phase.WAITING:
        raise SessionTaken(
            f"session {session} is waiting for an answer",
            fix=f"answer it: orchestra answer {session}, or stop it: orchestra cancel {session}",
        )
    if code.phase in LIVE:
        raise SessionTaken(
            f"session {session} is running", fix=f"wait for its end, or stop it: orchestra cancel {session}"
        )
