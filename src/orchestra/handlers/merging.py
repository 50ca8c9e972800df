"""What a fan-in does with the code of its branches: merge it, and tell of conflicts as data (W6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from orchestra.graph.model import Node
from orchestra.ports import Conflict, MergeResult, Scope
from orchestra.run.outcome import Json, Outcome, Status
from orchestra.run.parallel import Fan


async def merge_code(
    node: Node,
    fan: Fan,
    results: Sequence[Mapping[str, Any]],
    best: Mapping[str, Any],
    scope: Scope,
    outcome: Outcome,
) -> Outcome:
    """Merge the commits of the branches that the fan-in selects; return its outcome.

    ``partial_success`` where some are in conflict, ``fail`` where all are. Raises ``WorkspaceError``.
    """
    branches = [result["branch"] for result in _select(node, fan, results, best) if result.get("branch")]
    rest = [result["branch"] for result in results if result.get("branch") and result["branch"] not in branches]
    if rest:
        outcome = replace(outcome, notes=f"{outcome.notes}; not merged: {', '.join(rest)}")
    if scope.workspace is None or not branches:
        return outcome
    commits = {result.get("branch"): result.get("commits") or {} for result in results}
    merged = await scope.workspace.merge({branch: commits.get(branch, {}) for branch in branches})
    updates = {**outcome.context_updates, **_updates(merged)}
    if not merged.conflicts:
        return replace(outcome, context_updates=updates)
    files = ", ".join(dict.fromkeys(name for conflict in merged.conflicts for name in conflict.files))
    names = ", ".join(dict.fromkeys(conflict.branch for conflict in merged.conflicts))
    reason = f"{names} cannot be merged: conflicts in {files}"
    if not merged.merged and not merged.unchanged:
        return Outcome(status=Status.FAIL, failure_reason=reason, context_updates=updates)
    return replace(
        outcome, status=Status.PARTIAL_SUCCESS, notes=f"{outcome.notes}; {reason}", context_updates=updates
    )


def _select(
    node: Node, fan: Fan, results: Sequence[Mapping[str, Any]], best: Mapping[str, Any]
) -> Sequence[Mapping[str, Any]]:
    """The results whose code is merged: by ``merge_code``, else the best where one is to be chosen, else all."""
    one = bool(node.text("prompt")) or node.text("merge") == "best" or fan.join == "first_success"
    match node.text("merge_code") or ("best" if one else "all"):
        case "best":
            return [best]
        case "all":
            return [result for result in results if result["status"] != "fail"]
        case _:
            return []


def _updates(merged: MergeResult) -> dict[str, Json]:
    return {
        "workspace.merged": list(merged.merged),
        "workspace.conflicts": [_plain(conflict) for conflict in merged.conflicts],
    }


def _plain(conflict: Conflict) -> dict[str, Json]:
    return {
        "repo": conflict.repo,
        "branch": conflict.branch,
        "worktree": conflict.folder,
        "files": [{"file": name, "hunks": text} for name, text in conflict.files.items()],
        "ours": list(conflict.ours),
        "theirs": list(conflict.theirs),
    }
