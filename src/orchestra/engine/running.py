"""A run: the session that this process walks, and those that continue it after a restart (E14)."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from functools import cached_property

from msgspec.structs import replace

from orchestra.engine.asking import Questions, sender
from orchestra.engine.branches import FanOut
from orchestra.engine.children import child_session
from orchestra.engine.code import not_opened, open_workspace, share_workspace, working_in
from orchestra.engine.control import Control
from orchestra.engine.journal import Journal
from orchestra.engine.mailbox import Mailbox
from orchestra.engine.opening import OpenSession, next_session
from orchestra.engine.slots import BranchSlots
from orchestra.engine.spending import spent_below
from orchestra.engine.stage import Stage
from orchestra.engine.walk import Walk
from orchestra.engine.wiring import Plan
from orchestra.errors import ConfigError, StoreUnreachable, WorkspaceError
from orchestra.ports import Child, Decided, FanPlan, Workspace
from orchestra.run.limits import Limits, LimitUsage, crossed_limits
from orchestra.run.parallel import Fan
from orchestra.run.questions import Answer, Question
from orchestra.run.state import Result, RunState
from orchestra.run.steps import steps_counted


class Run:
    """A session that this process runs; after a restart, the one that continues it."""

    def __init__(
        self,
        *,
        opened: OpenSession[Plan],
        control: Control,
        shared: Workspace | None = None,
    ) -> None:
        """``shared`` is the workspace of the node that runs this session as its child."""
        self.opened = opened
        self._shared = shared
        self.control = control
        self.plan, self.wiring = opened.plan, opened.wiring
        self._questions: Questions

    @property
    def session(self) -> str:
        """The display id (S14)."""
        return self.opened.session

    @property
    def context_id(self) -> int:
        """The session's CXDB context."""
        return self.opened.context_id

    @property
    def state(self) -> RunState:
        """Return the current folded state."""
        return self.opened.journal.state

    @property
    def live(self) -> RunState:
        """The same with what its unfinished branches and children have spent, as far as known here."""
        state, total = self.state, self.control.session.meter.total
        return replace(state, spent=total) if total.tokens > state.spent.tokens else state

    @cached_property
    def places(self) -> BranchSlots:
        """The places for nodes of branches (the ``StageRun`` protocol)."""
        return BranchSlots(self.wiring.at_once)

    async def walk(self) -> Result | None:
        """Run to the end; return None when it was paused. The session is released in any case.

        Requests in its mailbox take effect meanwhile (S15).
        """
        meter = self.control.session.meter
        meter.steps = steps_counted(self.state)
        if meter.outermost:
            meter.began(self.state.spent)
            meter.add(await spent_below(self.wiring.store, self.context_id, self.state))
        try:
            while True:
                opened = self.opened
                self._questions = self._asking()
                mailbox = Mailbox(self.wiring.store, self.state, self.control, opened.hold.answer)
                await mailbox.read()
                self._halt_in_time()
                result = await opened.hold.during(self._walk_once(), mailbox.listen(), self._keep_time())
                if self.state.following is None:
                    return result
                self.opened = await next_session(opened)
        except StoreUnreachable:
            self.opened.hold.drop()
            raise
        finally:
            await self.opened.hold.release()

    async def _keep_time(self) -> None:
        """Stop the walks of the session when the limit of the run's time is reached (A5)."""
        while (left := self._halt_in_time()) > 0:
            await self.wiring.clock.sleep(left)

    def _halt_in_time(self) -> float:
        """Return the seconds left of the run's time; without any, pause and interrupt what is running."""
        state, limits = self.state, Limits(seconds=self.plan.seconds)
        used = max(0, self.wiring.clock.now_ms() - state.started_ms - state.idle_ms) / 1000
        for name, words in crossed_limits(limits, LimitUsage(seconds=used)):
            self.control.halt(f"the run reached its limit: {words}", name)
            self.control.interrupt(self.control.reason)
        return max(0, limits.seconds - used)

    async def _walk_once(self) -> Result | None:
        journal = self.opened.journal
        try:
            if self._shared is None:
                workspace = await open_workspace(self.wiring.workspaces, journal, self.plan)
            else:
                workspace = await share_workspace(self._shared, journal)
        except (WorkspaceError, ConfigError) as error:
            return await not_opened(journal, self.plan.graph.start, error)
        walk = self._walk(journal, self.control, workspace)
        if workspace is None or self._shared is not None:
            return await walk.walk()
        async with working_in(workspace):
            return await walk.walk()

    def _walk(self, journal: Journal, control: Control, workspace: Workspace | None) -> Walk:
        return Walk(
            plan=self.plan,
            journal=journal,
            clock=self.wiring.clock,
            control=control,
            spawning=self,
            workspace=workspace,
        )

    def _asking(self) -> Questions:
        opened, wiring = self.opened, self.wiring
        return Questions(
            interviews=self.control.session.interviews,
            answers=self.control.session.answers,
            clock=wiring.clock,
            send=sender(wiring.store, opened.mailbox, opened.session, wiring.clock, wiring.redactor),
            who=wiring.origin.note,
        )

    async def ask(self, stage: Stage, question: Question) -> Answer:
        """Ask a question of a stage; its branch's place is free meanwhile (the ``StageRun`` protocol)."""
        async with self.places.release(stage.control):
            return await self._questions.ask(stage.journal, question, stage.control)

    def child(self, stage: Stage, session: str) -> AbstractAsyncContextManager[Child]:
        """The child session of a stage (the ``StageRun`` protocol)."""
        return child_session(self, stage, session)

    def below(self, opened: OpenSession[Plan], control: Control, shared: Workspace | None) -> Run:
        """Return the run of a child session, which works in the workspace of its node."""
        return Run(opened=opened, control=control, shared=shared)

    async def fan_out(self, stage: Stage, plan: FanPlan, decided: Decided) -> Fan:
        """Walk the branches of a stage (the ``StageRun`` protocol)."""
        return await FanOut(
            stage=stage,
            plan=self.plan,
            wiring=self.wiring,
            walk_of=self._walk,
            decided=decided,
            limit=plan.limit,
        ).join(plan)
