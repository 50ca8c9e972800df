"""The code of a session: open its workspace, commit each node's changes (W1–W4, W7)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from orchestra.engine.below import commits_below
from orchestra.engine.journal import Journal
from orchestra.engine.stage import Stage
from orchestra.engine.wiring import Plan
from orchestra.errors import ConfigError, WorkspaceError
from orchestra.graph.model import Graph, Node
from orchestra.ports import Workspace, Workspaces
from orchestra.run.events import PipelineFailed
from orchestra.run.outcome import FailureClass, Outcome, failed_outcome
from orchestra.run.state import Result, RunState

WITHOUT_CHANGES = frozenset({"start", "exit", "conditional", "wait.human", "parallel", "parallel.fan_in"})
"""Types of nodes that do not write files themselves."""


def may_write(graph: Graph, target: str, fan_in: str, readers: frozenset[str] = frozenset()) -> bool:
    """Whether a branch has a node that may write files, up to its join; ``readers`` do not."""
    seen, waiting = {fan_in}, [target]
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if node not in readers and graph.type_of(node) not in WITHOUT_CHANGES:
            return True
        waiting += [edge.target for edge in graph.outgoing(node)]
    return False


SHARED = frozenset({"pipeline", "stack.manager_loop"})
"""Types whose child commits what it changes, on the same branch."""


async def open_workspace(workspaces: Workspaces | None, journal: Journal, plan: Plan) -> Workspace | None:
    """The workspace of a session that is about to be walked; None where no repository is configured.

    Raises ``WorkspaceError`` and ``ConfigError`` where a worktree cannot be put where the record says.
    """
    state = journal.state
    if workspaces is None or state.result is not None:
        return None
    return await workspaces.open(
        session=state.session,
        pipeline=state.pipeline,
        known=state.workspace,
        keep=in_a_turn(state),
        held=await commits_below(journal.store, plan, state),
        record=journal.record,
        settle=journal.flush,
    )


async def share_workspace(shared: Workspace, journal: Journal) -> Workspace:
    """Return the parent's worktrees for its child, which commits and records under its own name."""
    state = journal.state
    return await shared.lend(
        session=state.session, pipeline=state.pipeline, known=state.workspace, record=journal.record
    )


@asynccontextmanager
async def working_in(workspace: Workspace) -> AsyncIterator[None]:
    """A session's workspace while it is walked: its branches are pushed in the background (W9)."""
    pushing = asyncio.ensure_future(workspace.push_in_background())
    try:
        yield
    finally:
        pushing.cancel()
        await asyncio.wait({pushing})
        await workspace.close()


def in_a_turn(state: RunState) -> bool:
    """Whether the session continues in the middle of an agent's turn, whose uncommitted files it needs."""
    stage = state.stage
    return stage is not None and stage.turn_open and not stage.elsewhere


async def not_opened(journal: Journal, start: str, error: WorkspaceError | ConfigError) -> Result | None:
    """Fail a run without a workspace before its first node; raise the error for a later node."""
    state = journal.state
    if state.steps or state.stage is not None or state.ended is not None:
        raise error
    journal.record(PipelineFailed(node=state.next_node or start, duration_ms=0, steps=0, error=str(error)))
    await journal.flush()
    return journal.state.result


async def commit_node(stage: Stage, node: Node, kind: str, outcome: Outcome) -> Outcome:
    """Commit what a node changed, before its end is recorded; the outcome, or why that failed (W4)."""
    workspace = stage.workspace
    if workspace is None or kind in WITHOUT_CHANGES:
        return outcome
    try:
        if kind in SHARED:
            await workspace.snapshot(node.id)
        else:
            await stage.commit(intent=_intent(node, stage), by="tool" if kind == "tool" else "agent")
    except WorkspaceError as error:
        return failed_outcome(str(error), FailureClass.TERMINAL)
    return outcome


def _intent(node: Node, stage: Stage) -> str:
    """What the node was to do, in the words of the author."""
    if node.label and node.label != node.id:
        return node.label
    return stage.prompted or node.text("tool_command")
