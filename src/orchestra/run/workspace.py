"""Where the code of a run stands, as the fold keeps it (W2, W7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeAlias, assert_never

import msgspec
from msgspec.structs import replace

from orchestra.run.changes import on
from orchestra.run.events import (
    AgentCommitCreated,
    CanaryPlanted,
    CleanupCompleted,
    Meta,
    RepoCloned,
    RepoFetched,
    SessionBranchCreated,
    SessionBranchPushed,
    SessionBranchPushFailed,
    WorkspaceSnapshot,
    WorktreeCreated,
    WorktreeMergeConflict,
    WorktreeMerged,
)
from orchestra.run.outcome import Json
from orchestra.run.state import RepoRecord, RunState

Merging: TypeAlias = WorktreeMerged | WorktreeMergeConflict

Pushing: TypeAlias = SessionBranchPushed | SessionBranchPushFailed

Moving: TypeAlias = (
    SessionBranchCreated | WorktreeCreated | AgentCommitCreated | WorkspaceSnapshot | Merging | Pushing
)
"""Events by which the code moves, or is to."""

_UNFIT = re.compile(r"[^\w.+=-]+|\.(?=\.|lock$|$)|^[.-]+", re.IGNORECASE)


def _on_code_moved(state: RunState, meta: Meta, event: Moving) -> dict[str, Any]:
    """The code of a repository is elsewhere."""
    return {"workspace": _move(state.workspace, event)}


def _move(repos: Mapping[str, RepoRecord], event: Moving) -> dict[str, RepoRecord]:
    match event:
        case SessionBranchCreated():
            known = RepoRecord(
                branch=event.branch,
                commit=event.commit or event.base,
                base=event.base,
                base_branch=event.base_branch,
                owner=event.owner,
                path=event.path,
            )
            return {**repos, event.repo: known}
        case WorktreeCreated():
            fresh = RepoRecord(branch=event.branch, commit=event.commit, base=event.commit, owner="", path="")
            known = repos.get(event.repo) or fresh  # a child is lent its parent's
            path = event.path or known.path  # it may have been cloned elsewhere meanwhile
            at = replace(known, branch=event.branch, folder=event.folder, commit=event.commit, path=path)
            return {**repos, event.repo: at}
        case AgentCommitCreated():
            return _with(repos, event.repo, commit=event.commit)
        case WorktreeMerged():
            left = _unmerged_branches(repos, event.repo, event.source)
            return _with(repos, event.repo, commit=event.commit, unmerged=left)
        case WorktreeMergeConflict():
            left = _unmerged_branches(repos, event.repo, event.source)
            return _with(repos, event.repo, unmerged=(*left, event.source))
        case WorkspaceSnapshot():
            for name, found in event.repos.items():
                if isinstance(found, Mapping) and isinstance(commit := found.get("commit"), str):
                    names = found.get("left")
                    rest = tuple(map(str, names)) if isinstance(names, list) else None
                    repos = _with(repos, name, commit=commit, left=rest)
            return dict(repos)
        case SessionBranchPushed() | SessionBranchPushFailed():
            reason = event.reason if isinstance(event, SessionBranchPushFailed) else ""
            own = event.repo in repos and repos[event.repo].branch == event.branch
            return _with(repos, event.repo, not_pushed=reason) if own else dict(repos)
        case _:
            assert_never(event)


def _unmerged_branches(repos: Mapping[str, RepoRecord], name: str, source: str) -> tuple[str, ...]:
    known = repos.get(name)
    return tuple(branch for branch in known.unmerged if branch != source) if known is not None else ()


def _with(repos: Mapping[str, RepoRecord], name: str, **fields: Any) -> dict[str, RepoRecord]:
    known = repos.get(name)
    return dict(repos) if known is None else {**repos, name: replace(known, **fields)}


def code_carried(given: Mapping[str, Any]) -> dict[str, RepoRecord]:
    """Return the repositories with which a session begins that continues another one."""
    try:
        return msgspec.convert(given, dict[str, RepoRecord])
    except msgspec.ValidationError:
        return {}


def code_shown(repos: Mapping[str, RepoRecord]) -> dict[str, Json]:
    """What a checkpoint shows of the code: per repository its commit and branch (W7)."""
    return {name: {"commit": known.commit, "branch": known.branch} for name, known in repos.items()}


def branch_name(prefix: str, pipeline: str, session: str, path: str = "") -> str:
    """A session's git branch, or that of a parallel branch of it by its whole path (W1, W5)."""
    name = _UNFIT.sub("-", pipeline).strip("-") or "pipeline"
    beside = "@" + _UNFIT.sub("-", path.replace("/", ".")).strip("-") if path else ""
    return f"{prefix}{name}/{session}{beside}"


CHANGES = (
    on(SessionBranchCreated, _on_code_moved),
    on(WorktreeCreated, _on_code_moved),
    on(AgentCommitCreated, _on_code_moved),
    on(WorkspaceSnapshot, _on_code_moved),
    on(WorktreeMerged, _on_code_moved),
    on(WorktreeMergeConflict, _on_code_moved),
    on(SessionBranchPushed, _on_code_moved),
    on(SessionBranchPushFailed, _on_code_moved),
    on(RepoCloned),
    on(RepoFetched),
    on(CanaryPlanted),
    on(CleanupCompleted),
)
