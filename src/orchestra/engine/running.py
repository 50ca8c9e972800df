"""A run: the session that this process walks, and those in which it goes on after a restart (E14)."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager

from orchestra.engine.children import raised
from orchestra.engine.control import Control
from orchestra.engine.lineage import Plan, Wiring, next_session
from orchestra.engine.mailbox import listen
from orchestra.engine.runner import Runner
from orchestra.engine.sessions import Opened
from orchestra.engine.stage import Stage
from orchestra.ports import Child
from orchestra.run.state import Following, Result, RunState


class Run:
    """A session that this process runs; after a restart, the one in which it goes on."""

    def __init__(self, *, opened: Opened, plan: Plan, wiring: Wiring, control: Control) -> None:
        self.opened = opened
        self.control = control
        self._plan = plan
        self._wiring = wiring

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
        """The folded state as it stands."""
        return self.opened.journal.state

    async def walk(self) -> Result | None:
        """Run to the end, or None when it was paused; the session is let go in any case.

        What others want is heard of meanwhile (S15).
        """
        try:
            while True:
                opened = self.opened
                result = await opened.hold.during(
                    self._runner().walk(), listen(opened.store, self.state, self.control, opened.hold.answer)
                )
                if self.state.following is None:
                    return result
                await self._go_on(self.state.following)
        finally:
            await self.opened.hold.release()

    def _runner(self) -> Runner:
        return Runner(
            graph=self._plan.graph,
            journal=self.opened.journal,
            handlers=self._plan.handlers,
            clock=self._wiring.clock,
            control=self.control,
            raising=self._child,
        )

    async def _go_on(self, following: Following) -> None:
        """Begin the next session; the one before is held until then, so that nobody else begins it too."""
        before = self.opened
        self.opened = await next_session(self._wiring, self._plan.graph, before, following)
        await before.hold.release()

    def _child(self, stage: Stage, session: str) -> AbstractAsyncContextManager[Child]:
        def run_of(opened: Opened, plan: Plan, control: Control) -> Run:
            return Run(opened=opened, plan=plan, wiring=self._wiring, control=control)

        return raised(stage, session, plan=self._plan, wiring=self._wiring, run_of=run_of)
