"""What a run does with git, in words: branches, commits, merges, pushes (W14)."""

from __future__ import annotations

import shlex
from collections.abc import Container, Sequence
from typing import TypeAlias, assert_never

from orchestra.graph.report import plural
from orchestra.run.events import (
    AgentCommitCreated,
    CleanupCompleted,
    CommitMessageWritten,
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
from orchestra.run.state import RepoRecord, RunState

Code: TypeAlias = (
    SessionBranchCreated
    | WorktreeCreated
    | CommitMessageWritten
    | AgentCommitCreated
    | WorkspaceSnapshot
    | WorktreeMerged
    | WorktreeMergeConflict
    | RepoCloned
    | RepoFetched
    | SessionBranchPushed
    | SessionBranchPushFailed
    | CleanupCompleted
)
"""Events of the workspace."""

CODE_SHOWN = (
    SessionBranchCreated,
    AgentCommitCreated,
    WorktreeMerged,
    WorktreeMergeConflict,
    RepoCloned,
    SessionBranchPushed,
    SessionBranchPushFailed,
)
"""Those that a run shows."""

SHORT = 10
"""Characters of a commit's hash that lines show."""


def code_described(event: Code) -> tuple[str, str]:  # noqa: C901  one closed match
    """An event's subject and what there is to say about it, for ``log`` and the lines of a run."""
    match event:
        case SessionBranchCreated():
            return event.repo, f"{event.branch} from {base_of(event)}"
        case WorktreeCreated():
            return event.repo, f"{event.branch} in {event.folder}"
        case CommitMessageWritten():
            return event.node, event.text.partition("\n")[0] or "no message"
        case AgentCommitCreated():
            own = " (made by the agent)" if event.own else ""
            left = f", ignored by git: {', '.join(event.left_out)}" if event.left_out else ""
            return event.node, f"{event.commit[:SHORT]} {event.message}, {files_of(event)}{own}{left}"
        case WorkspaceSnapshot():
            places = (f"{name} at {_commit(found)}" for name, found in event.repos.items())
            return event.reason, ", ".join(places)
        case WorktreeMerged():
            return event.repo, f"{event.source} merged, {event.commit[:SHORT]}"
        case WorktreeMergeConflict():
            files = ", ".join(str(found.get("file", "")) for found in event.conflicts)
            return event.repo, f"{event.source} conflicts with {event.branch}: {files}"
        case RepoCloned():
            return event.repo, f"cloned from {event.url}"
        case RepoFetched():
            return event.repo, f"fetched from {event.url}"
        case SessionBranchPushed():
            return event.repo, f"{event.branch} pushed to {event.url}"
        case SessionBranchPushFailed():
            return event.repo, f"{event.branch} not pushed: {event.reason}"
        case CleanupCompleted():
            kept = f", kept as {event.trash}" if event.trash else ""
            return event.repo, f"{event.branch} removed by {event.reason}{kept}"
        case _:
            assert_never(event)


def code_lines(state: RunState, aim: str, removed: Sequence[CleanupCompleted] = ()) -> list[str]:
    """Where the code of a session is, and what can be done with it: the last lines of a run (W2).

    Of branches that were ``removed`` since, only that is said, and where they are kept.
    """
    own = {name: known for name, known in state.workspace.items() if known.owner == state.session}
    if not own:
        return []
    gone = {(one.repo, one.branch) for one in removed}
    changed = {name: known for name, known in own.items() if known.commit != known.base}
    there = {name: known for name, known in changed.items() if (name, known.branch) not in gone}
    left = [
        line for name, known in own.items() for line in _left_lines(known, state, {b for r, b in gone if r == name})
    ]
    lines = [_removed_line(one) for one in removed]
    if not lines and not changed:
        lines = ["  code: no changes on the session's branch" if left else "  code: no changes"]
    for name, known in there.items():
        base = known.base_branch or known.base[:SHORT]
        lines.append(f"  code: {name} on {known.branch} ({known.commit[:SHORT]})")
        lines.append(f"  diff: git -C {shlex.quote(known.path)} diff {base}...{known.branch}")
        if known.not_pushed:
            lines.append(
                f"  push failed: {known.not_pushed.rstrip('.')}; `orchestra pr{aim} {state.session}` pushes it"
            )
    return lines + left + (_ways(state, aim, changed=bool(there)) if (there or left) and state.result else [])


def _ways(state: RunState, aim: str, *, changed: bool) -> list[str]:
    """The commands for the code of an ended session. The work of a failed one is not offered for a merge."""
    ways = {"merge": "merge"} if changed and state.result is not None and state.result.good else {}
    ways |= {"pull request": "pr"} if changed else {}
    ways["discard"] = "discard"
    return [f"  {word}: orchestra {name}{aim} {state.session}" for word, name in ways.items()]


def _removed_line(event: CleanupCompleted) -> str:
    kept = f", kept as {event.trash}" if event.trash else ""
    return f"  code: {event.repo} on {event.branch} ({event.commit[:SHORT]}), removed by {event.reason}{kept}"


def _left_lines(known: RepoRecord, state: RunState, gone: Container[str]) -> list[str]:
    """The branches that are not merged, why, and where they are."""
    results = state.context.get("parallel.results")
    ends = {one.get("branch"): one.get("status") for one in results or () if isinstance(one, dict)}
    lines = []
    for branch in known.unmerged if known.left is None else known.left:
        if branch in gone:
            continue
        if branch in known.unmerged:
            why = "conflict; kept with its worktree"
        elif branch in ends:
            why = "failed; kept" if ends[branch] == "fail" else "not chosen; kept"
        else:
            why = "kept"
        lines.append(f"  not merged: {branch} ({why})")
    return lines


def _commit(found: object) -> str:
    return str(found.get("commit", ""))[:SHORT] if isinstance(found, dict) else ""


def base_of(event: SessionBranchCreated) -> str:
    """Where a session branch begins: the branch that was checked out, and the commit."""
    if event.base_branch:
        return f"{event.base_branch} ({event.base[:SHORT]})"
    return f"{event.base[:SHORT]}"


def files_of(event: AgentCommitCreated) -> str:
    """How many files a commit holds, or which one."""
    if event.changed == 1 and event.files:
        return event.files[0]
    return plural(event.changed, "file")


def commit_of(event: AgentCommitCreated) -> str:
    """A commit in the line of its node: the hash and the files."""
    return f"{event.commit[:SHORT]} ({files_of(event)})"
