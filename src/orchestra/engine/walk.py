"""The walk: the engine is this one loop over ``next_step`` (engine.md#routing)."""

from __future__ import annotations

import asyncio
from typing import Any, assert_never

from orchestra.engine.asking import Waiting
from orchestra.engine.code import commit_node
from orchestra.engine.control import Control
from orchestra.engine.journal import Journal
from orchestra.engine.stage import Stage, StageRun, attempt
from orchestra.engine.wiring import Plan
from orchestra.graph.model import Node
from orchestra.ports import Clock, Handler, Suspended, Workspace
from orchestra.run.events import (
    CheckpointSaved,
    EdgeSelected,
    ParallelBranchEnded,
    PipelineCanceled,
    PipelineCompleted,
    PipelineFailed,
    PipelinePaused,
    PipelineRestarted,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
)
from orchestra.run.judging import Verdict, backoff_of, judge, repeat_warning
from orchestra.run.outcome import Json, Outcome, Status, failed_outcome
from orchestra.run.questions import short_id
from orchestra.run.state import Context, NodeEnd, Result, routing_context
from orchestra.run.steps import Advance, Execute, Finish, Refuse, Restart, Retry, next_step
from orchestra.run.workspace import code_shown


class Walk:
    """Follows one chain from the current position of its journal to its end or a pause.

    The main walk ends with its session; a branch's ends at its fan-in (E30).
    """

    def __init__(
        self,
        *,
        plan: Plan,
        journal: Journal,
        clock: Clock,
        control: Control,
        spawning: StageRun,
        workspace: Workspace | None = None,
    ) -> None:
        self._plan = plan
        self._graph = plan.graph
        self._journal = journal
        self._clock = clock
        self._control = control
        self._spawning = spawning
        self._workspace = workspace
        self._waits = ""

    async def walk(self) -> Result | None:
        """Run to the end and return the result, or None when the run was paused.

        Raises ``StoreError`` when the store fails: what it acknowledged stays as it is.
        """
        while self._journal.state.result is None:
            if (self._control.pausing or self._waits) and self._journal.state.ended is None:
                await self._pause()
                return self._journal.state.result
            await self._step()
        await self._journal.flush()
        return self._journal.state.result

    async def _step(self) -> None:
        step = next_step(self._graph, self._journal.state, await self._context(), self._control.session.meter.steps)
        match step:
            case Execute():
                await self._execute(step)
            case Advance():
                self._advance(step)
            case Restart():
                await self._restart(step)
            case Retry():
                await self._wait(step)
            case Refuse():
                self._refuse(step)
            case Finish():
                await self._publish(step)
                self._finish(step)
            case _:
                assert_never(step)

    async def _pause(self) -> None:
        state = self._journal.state
        node = state.stage.node if state.stage is not None else state.next_node or self._graph.start
        control = self._control
        if control.canceling:
            self._journal.record(PipelineCanceled(node=node, reason=control.reason, request=control.request))
        elif control.pausing:
            self._journal.record(
                PipelinePaused(node=node, reason=control.reason, request=control.request, limit=control.limit)
            )
        else:
            reason = f"waiting for an answer to {short_id(self._waits)}"
            self._journal.record(PipelinePaused(node=node, reason=reason, waiting=True))
        await self._journal.flush()

    async def _execute(self, step: Execute) -> None:
        kind, handler = self._plan.runs[step.node]
        if self._journal.state.branch is None:
            await self._run(step, kind, handler)
            return
        async with self._spawning.places.place(kind, self._control) as granted:
            if granted:
                await self._run(step, kind, handler)

    async def _run(self, step: Execute, kind: str, handler: Handler | None) -> None:
        node = self._graph.nodes[step.node]
        if not step.announced:
            self._announce(step)
        await self._journal.flush()
        stage = Stage(self._journal, step, self._clock, self._control, self._spawning, self._workspace)
        if handler is None:
            outcome: Outcome | None = failed_outcome(f"no handler for type {kind!r}")
        elif self._control.at_once:
            return
        else:
            outcome = await self._interruptible(handler, node, stage)
        if outcome is not None:
            if self._workspace is not None and node.id not in self._plan.handlers.readers:
                outcome = await commit_node(stage, node, kind, outcome)
            self._record_end(stage, outcome)
        self._control.session.give_back(stage.steered)

    def _announce(self, step: Execute | Retry) -> None:
        kind, _handler = self._plan.runs[step.node]
        self._journal.record(
            StageStarted(node=step.node, handler=kind, visit=step.visit, attempt=step.attempt, of=step.of)
        )

    async def _interruptible(self, handler: Handler, node: Node, stage: Stage) -> Outcome | None:
        """The attempt's outcome; None when it was interrupted, which uses up no retry (E4)."""
        context = Context(self._graph, self._journal.state)
        self._control.attach(asyncio.current_task())
        try:
            return await attempt(handler, node, context, self._graph, stage)
        except Waiting as waiting:
            self._waits = waiting.question
            return None
        except Suspended:
            return None
        except asyncio.CancelledError:
            if not self._control.at_once:
                raise
            return None
        finally:
            await self._control.detach()

    def _record_end(self, stage: Stage, outcome: Outcome) -> None:
        journal = self._journal
        running = journal.running
        verdict = judge(
            self._graph,
            running,
            outcome,
            lambda key: self._plan.handlers.may_write(running.handler, key),
            journal.redactor,
        )
        for warning in verdict.warnings:
            journal.record(warning)
        if verdict.again:
            self._retry(stage, verdict.outcome)
            return
        if stage.steered:
            stage.record_steered()
        ended = self._end_event(stage, verdict)
        before = journal.state.nodes[running.node]
        if (repeated := repeat_warning(self._graph, before, ended, self._clock.now_ms())) is not None:
            journal.record(repeated)
        journal.record(ended)
        self._control.session.meter.steps += 1

    def _retry(self, stage: Stage, outcome: Outcome) -> None:
        running = stage.journal.running
        backoff = backoff_of(self._graph.nodes[running.node])
        delay = (
            0 if backoff is None else backoff.delay_ms(running.attempt, self._clock.jitter(), outcome.retry_after)
        )
        self._journal.record(
            StageRetrying(
                of=running.of,
                status=outcome.status.value,
                failure_reason=outcome.failure_reason or outcome.notes,
                failure_class=_class_of(outcome),
                delay_ms=delay,
                **_attempt_fields(stage),
            )
        )

    def _end_event(self, stage: Stage, verdict: Verdict) -> StageCompleted | StageFailed:
        outcome, running = verdict.outcome, self._journal.running
        shared: dict[str, Any] = {
            "duration_ms": max(0, self._clock.now_ms() - running.entered_ms),
            "context_updates": verdict.updates,
            "notes": outcome.notes,
            "preferred_label": outcome.preferred_label,
            "suggested_next_ids": outcome.suggested_next_ids,
            "edge": outcome.edge,
            **_attempt_fields(stage),
        }
        if outcome.status is Status.FAIL and running.handler != "conditional":
            return StageFailed(failure_reason=outcome.failure_reason, failure_class=_class_of(outcome), **shared)
        return StageCompleted(status=outcome.status.value, word=outcome.word, **shared)

    def _refuse(self, step: Refuse) -> None:
        kind, _handler = self._plan.runs[step.node]
        self._journal.record(
            StageFailed(
                node=step.node,
                handler=kind,
                visit=step.visit,
                attempt=step.attempt,
                failure_reason=step.reason,
                failure_class="terminal",
            )
        )
        self._control.session.meter.steps += 1

    async def _wait(self, step: Retry) -> None:
        await self._journal.flush()
        left = min(step.due - self._clock.now_ms(), step.delay)  # a clock set back does not make it longer
        if left > 0 and await self._control.pausing_during(self._clock.sleep(left / 1000)):
            return
        self._announce(step)

    def _advance(self, step: Advance, *, restart: bool = False) -> None:
        ended = self._journal.state.ended
        candidates = step.candidates if _worth_recording(step) else ()
        self._journal.record(
            EdgeSelected(
                source=step.source,
                target=step.target,
                edge=step.edge,
                rule=step.rule,
                reason=step.reason,
                candidates=tuple(candidate.as_map() for candidate in candidates),
                gate=step.gate,
                restart=restart,
            )
        )
        if ended is not None:
            self._journal.record(self._checkpoint(ended, step.target))

    async def _restart(self, step: Restart) -> None:
        """End the session; the next one's contexts are there and named before anything is in them (E14)."""
        store = self._journal.store
        mailbox, context = (await store.create()).context_id, (await store.create()).context_id
        if step.advance is not None:
            self._advance(step.advance, restart=True)
        state = self._journal.state
        self._journal.record(
            PipelineRestarted(
                node=step.source,
                duration_ms=self._duration(),
                steps=state.steps,
                target=step.target,
                next_session=self._clock.display_id(),
                next_context=context,
                next_mailbox=mailbox,
            )
        )

    def _duration(self) -> int:
        state = self._journal.state
        return max(0, self._clock.now_ms() - state.started_ms - state.idle_ms)

    def _checkpoint(self, ended: NodeEnd, following: str) -> CheckpointSaved:
        state = self._journal.state
        record = state.nodes[ended.node]
        return CheckpointSaved(
            current_node=ended.node,
            next_node=following,
            completed=state.steps,
            visit=record.visits,
            retries=record.retries,
            changes=ended.changes,
            mailbox=state.mailbox,
            started_ms=state.started_ms,
            workspace=code_shown(state.workspace) if state.workspace else {},
            cost_micros=state.spent.cost_micros,
        )

    async def _publish(self, step: Finish) -> None:
        """Push the session's branches before its end is recorded (W9)."""
        if self._workspace is not None and self._journal.state.branch is None:
            await self._workspace.finish(completed=not step.error)

    def _finish(self, step: Finish) -> None:
        for warning in step.warnings:
            self._journal.record(warning)
        state = self._journal.state
        if state.ended is not None:
            self._journal.record(self._checkpoint(state.ended, ""))
        if state.branch is not None:
            status = "fail" if step.error else step.status
            self._journal.record(
                ParallelBranchEnded(node=step.node, status=status, failure_reason=step.error or step.reason)
            )
            return
        duration = self._duration()
        if step.error:
            self._journal.record(
                PipelineFailed(
                    node=step.node,
                    duration_ms=duration,
                    steps=state.steps,
                    error=step.error,
                    routing=_routing_record(step),
                )
            )
        else:
            self._journal.record(
                PipelineCompleted(status=step.status, node=step.node, duration_ms=duration, steps=state.steps)
            )

    async def _context(self) -> Context:
        """The context, in which the references that the outgoing conditions read are resolved."""
        return await routing_context(self._graph, self._journal.state, self._journal.resolve)


def _attempt_fields(stage: Stage) -> dict[str, Any]:
    """What each end of an attempt says: which it was, what it asked, got and spent, its agent's turns too (E35)."""
    running = stage.journal.running
    spent = stage.spent + running.counted
    return {
        "node": running.node,
        "handler": running.handler,
        "visit": running.visit,
        "attempt": running.attempt,
        "prompt": stage.prompted,
        "response": stage.responded,
        "tokens_in": spent.tokens_in,
        "tokens_out": spent.tokens_out,
        "cost_micros": spent.cost_micros,
    }


def _class_of(outcome: Outcome) -> str:
    return outcome.failure_class.value if outcome.failure_class else ""


def _worth_recording(step: Advance) -> bool:
    """Whether the candidates say more than the edge itself: there were several, or one had a condition."""
    return len(step.candidates) > 1 or any(c.edge.condition for c in step.candidates)


def _routing_record(step: Finish) -> dict[str, Json]:
    """The record of a routing that led nowhere; empty where the run ended for another reason."""
    if not step.candidates:
        return {}
    return {"rule": step.rule, "candidates": [candidate.as_map() for candidate in step.candidates]}
