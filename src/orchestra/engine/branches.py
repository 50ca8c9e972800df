"""The branches of a parallel node: walks over forks of its chain, several at once (E30-E36).

Each branch is a walk of its own, with a journal on a fork of the chain at the turn that announces the fan-out.
Its result is recorded in the parallel node's chain with its share of the ledger, so that a resume walks only what
has no result yet (E34).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from orchestra.engine.asking import Waiting
from orchestra.engine.below import commits_below
from orchestra.engine.code import in_a_turn, may_write
from orchestra.engine.control import Control
from orchestra.engine.journal import Journal
from orchestra.engine.loading import LoadedSession, load
from orchestra.engine.opening import open_branch, reopen_branch
from orchestra.engine.spending import announcement
from orchestra.engine.stage import Stage
from orchestra.engine.walk import Walk
from orchestra.engine.wiring import Plan, Wiring
from orchestra.errors import Undecided
from orchestra.ports import Decided, FanPlan, Suspended, Workspace
from orchestra.run.branching import share
from orchestra.run.events import (
    ParallelBranchCompleted,
    ParallelBranchOpened,
    ParallelBranchStarted,
    ParallelStarted,
    PipelineCanceled,
    PipelineForked,
)
from orchestra.run.outcome import Json
from orchestra.run.parallel import CANCELED, BranchPlan, Fan
from orchestra.run.state import Context, RepoRecord, RunState

WalkOf = Callable[[Journal, Control, Workspace | None], Walk]
"""Makes the walk of a journal."""

DECIDED = "the fan-out was decided without it"


@dataclass(slots=True, kw_only=True)
class FanOut:
    """One execution of a parallel node, while it walks its branches."""

    stage: Stage
    plan: Plan
    wiring: Wiring
    walk_of: WalkOf
    decided: Decided
    limit: int
    base: LoadedSession = field(init=False)
    indices: dict[str, int] = field(init=False)
    """The place of each branch in the order of branches."""
    controls: dict[str, Control] = field(default_factory=dict)
    stopped: dict[str, Journal] = field(default_factory=dict)
    """The journals of branches whose walk stopped without an end: it pauses, or waits for an answer (H7)."""
    unstarted: int = 0
    """Branches that were not started because the run pauses."""
    undecided: int = 0
    """Branches with an interrupted attempt that a person has to decide about."""

    @property
    def journal(self) -> Journal:
        """The chain of the parallel node."""
        return self.stage.journal

    @property
    def node(self) -> str:
        """The parallel node."""
        return self.stage.step.node

    @property
    def fan(self) -> Fan:
        """What is recorded of this execution."""
        return self.journal.state.fans[self.node]

    async def join(self, given: FanPlan) -> Fan:
        """Walk every branch that has no result yet; then the fan-out with all results.

        Raises ``Suspended`` where the run pauses before that, and ``Waiting`` where a branch waits for an answer.
        """
        fan = self.journal.state.fans.get(self.node)
        step = self.stage.step
        if fan is None or (fan.visit, fan.attempt) != (step.visit, step.attempt):
            await self._begin(given)
        else:
            self.base = await self._base(fan)
        self.indices = {plan.id: index for index, plan in enumerate(self.fan.branches)}
        await self._sweep()
        with self.stage.control.left_to_branches():
            async with asyncio.TaskGroup() as group:
                await self._walk_all(group)
        asked = [journal.state for journal in self.stopped.values() if journal.state.waiting]
        if asked and not self.stage.control.pausing:
            raise Waiting(asked[0].pending[0].question.id if asked[0].pending else self.node)
        if self.stopped or self.unstarted or self.undecided:
            raise Suspended
        return self.fan

    async def _begin(self, given: FanPlan) -> None:
        step = self.stage.step
        self.journal.record(
            ParallelStarted(
                node=self.node,
                visit=step.visit,
                attempt=step.attempt,
                fan_in=given.fan_in,
                branches=tuple(_plain(plan) for plan in given.branches),
                upstream=given.upstream,
                join_policy=given.join_policy,
                error_policy=given.error_policy,
                max_parallel=given.limit,
            )
        )
        await self.journal.flush()
        self.base = LoadedSession(
            head=self.journal.turn_id,
            state=self.journal.state,
            bytes_since_whole=0,
            whole_size=0,
            depth=self.journal.depth,
        )

    async def _base(self, fan: Fan) -> LoadedSession:
        """Return the chain at the announcement of the fan-out, from which new branches begin."""
        turn = fan.from_turn or await announcement(self.wiring.store, self.journal.context_id, self.node, fan)
        return await load(self.wiring.store, self.journal.context_id, until=turn)

    async def _sweep(self) -> None:
        """End what a dead runner left running in the branches that are continued (E4)."""
        meter = self.stage.control.session.meter
        for context_id in self.fan.begun:
            state = (await load(self.wiring.store, context_id, base=self.base)).state
            if state.branch is not None:
                meter.steps += state.steps - state.branch.steps
                self.stage.control.session.mark_had(state.branch.steered)
            if stopped := await self.wiring.end_command(state):
                for warning in stopped:
                    self.journal.record(warning)
                await self.journal.flush()

    async def _walk_all(self, group: asyncio.TaskGroup) -> None:
        waiting = deque(self.fan.unfinished)
        total, running, ended = len(self.fan.branches), 0, asyncio.Event()

        async def walk(plan: BranchPlan) -> None:
            nonlocal running
            try:
                await self._walk(plan)
            finally:
                running -= 1
                ended.set()

        while True:
            over = self.decided(self.fan.results(), total)
            if over:
                waiting.clear()
                for control in self.controls.values():
                    control.cancel(DECIDED)
            while waiting and running < self.limit and not self.stage.control.pausing:
                running += 1
                group.create_task(walk(waiting.popleft()))
            if not running:
                self.unstarted = len(waiting)
                if over and not self.stage.control.pausing:
                    await self._drop_stopped()
                return
            ended.clear()
            await ended.wait()

    async def _walk(self, plan: BranchPlan) -> None:
        """Walk one branch, and record its result."""
        try:
            journal = await self._journal(plan)
        except Undecided as error:  # a person decides about its cut-off attempt: the session pauses
            self.stage.control.pause(f"branch {plan.id}: {error}")
            self.undecided += 1
            return
        with self.stage.control.branch() as control:
            self.controls[plan.id] = control
            try:
                await self.walk_of(journal, control, await self._workspace(plan, journal)).walk()
            finally:
                del self.controls[plan.id]
            dropped = control.canceling and not self.stage.control.canceling
        state = journal.state
        if state.result is None or (state.result.status == CANCELED and not dropped):
            self.stopped[plan.id] = journal
            return
        self.journal.record(await self._completion(plan, journal, CANCELED if dropped else state.result.status))
        await self.journal.flush()

    async def _drop_stopped(self) -> None:
        """End the branches that wait for an answer: the fan-out was decided without them."""
        plans = {plan.id: plan for plan in self.fan.branches}
        for branch, journal in self.stopped.items():
            state = journal.state
            node = state.stage.node if state.stage is not None else state.next_node
            journal.record(PipelineCanceled(node=node, reason=DECIDED))
            await journal.flush()
            self.journal.record(await self._completion(plans[branch], journal, CANCELED))
        await self.journal.flush()
        self.stopped.clear()

    async def _completion(self, plan: BranchPlan, journal: Journal, status: str) -> ParallelBranchCompleted:
        state = journal.state
        branch, result = state.branch, state.result
        assert branch is not None
        assert result is not None
        score = await journal.resolve(Context(self.plan.graph, state).get("score"))
        number = isinstance(score, int | float) and not isinstance(score, bool)
        own = self._git_branches(state)
        return ParallelBranchCompleted(
            node=self.node,
            branch_id=plan.id,
            branch_context=journal.context_id,
            status=status,
            failure_reason=DECIDED if status == CANCELED else result.text,
            notes=branch.notes,
            updates={**branch.updates, **branch.refs},
            response=branch.response,
            score={"value": score} if number else {},
            duration_ms=max(0, result.ended_ms - branch.began_ms),
            turns=journal.depth + 1,
            git_branch=next((known.branch for known in own.values()), ""),
            git_commits={name: known.commit for name, known in own.items()},
            ended_at=result.node,
            steps=state.steps - branch.steps,
            nodes=share(state),
            tokens_in=state.spent.tokens_in - branch.tokens_in,
            tokens_out=state.spent.tokens_out - branch.tokens_out,
            cost_micros=state.spent.cost_micros - branch.cost_micros,
            steered=branch.steered,
        )

    async def _workspace(self, plan: BranchPlan, journal: Journal) -> Workspace | None:
        """The branch's own worktrees, where it has a node that may write; else its parent's (W5)."""
        above, step = self.stage.workspace, self.stage.step
        if above is None or journal.state.result is not None:
            return None
        if not may_write(self.plan.graph, plan.target, self.fan.fan_in, self.plan.handlers.readers):
            return above
        name = f"{self.node}.{step.visit}.{step.attempt}.{plan.id}"
        state = journal.state
        held = await commits_below(self.wiring.store, self.plan, state)
        found = await above.branch(name, journal.record, state.workspace, keep=in_a_turn(state), held=held)
        await journal.flush()
        return found

    def _git_branches(self, state: RunState) -> dict[str, RepoRecord]:
        """Where a branch that has worktrees of its own stands, by repository."""
        above = self.journal.state.workspace
        return {name: known for name, known in state.workspace.items() if known.branch != above[name].branch}

    async def _journal(self, plan: BranchPlan) -> Journal:
        """Return the branch's journal, new or continued from an earlier runner."""
        context_id = self.fan.opened.get(plan.id, 0)
        path = self._path(plan)
        if not context_id:
            return self._open(plan, await self._fork(plan, self.base.head), path)
        if not self.fan.owns(plan.id):
            return await self._inherit(plan, context_id, path)
        loaded = await load(self.wiring.store, context_id, base=self.base)
        if not _in_branch(loaded.state, path):
            return self._open(plan, context_id, path)
        return await self._reopen(context_id, path, loaded)

    async def _fork(self, plan: BranchPlan, turn_id: int) -> int:
        context_id = (await self.wiring.store.fork(turn_id)).context_id
        self.journal.record(
            ParallelBranchStarted(
                node=self.node,
                branch_id=plan.id,
                index=self.indices[plan.id],
                branch_context=context_id,
                from_turn=self.base.head,
            )
        )
        await self.journal.flush()
        return context_id

    async def _inherit(self, plan: BranchPlan, context_id: int, path: str) -> Journal:
        """Continue, in a fork, a branch of the session that this one is forked from, as it was then (S27)."""
        store, fan = self.wiring.store, self.fan
        turn_id = (await load(store, context_id, until=fan.seen)).head or self.base.head
        mine = await self._fork(plan, turn_id)
        loaded = await load(store, mine, base=self.base)
        if not _in_branch(loaded.state, path):
            return self._open(plan, mine, path)
        state = self.journal.state
        forked = PipelineForked(
            mailbox=state.mailbox,
            parent=state.parent,
            parent_context=state.parent_context,
            from_turn=turn_id,
            until=fan.seen,
        )
        return await self._reopen(mine, path, loaded, forked)

    def _open(self, plan: BranchPlan, context_id: int, path: str) -> Journal:
        """A journal of which the first event is in its first batch, with the start of the first node."""
        journal = open_branch(self.wiring, self.journal, context_id, path, self.base)
        values: dict[str, Json] = {}
        if plan.id.endswith("]"):
            index = self.indices[plan.id]
            values = {"item": plan.item, "item_index": index, "item_count": len(self.fan.branches)}
        journal.record(
            ParallelBranchOpened(
                node=self.node,
                fan_in=self.fan.fan_in,
                upstream=self.fan.upstream,
                branch_id=plan.id,
                index=self.indices[plan.id],
                path=path,
                target=plan.target,
                values=values,
            )
        )
        return journal

    async def _reopen(
        self, context_id: int, path: str, loaded: LoadedSession, forked: PipelineForked | None = None
    ) -> Journal:
        journal = open_branch(self.wiring, self.journal, context_id, path, loaded)
        await reopen_branch(self.wiring, self.plan, self.journal, journal, forked)
        return journal

    def _path(self, plan: BranchPlan) -> str:
        above = self.journal.state.branch
        own = f"{self.node}/{plan.id}"
        return f"{above.path}/{own}" if above is not None else own


def _plain(plan: BranchPlan) -> Mapping[str, Json]:
    plain: dict[str, Any] = msgspec.to_builtins(plan)
    return plain


def _in_branch(state: RunState, path: str) -> bool:
    return state.branch is not None and state.branch.path == path
