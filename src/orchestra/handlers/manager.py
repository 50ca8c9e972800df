"""The manager loop: supervises a child pipeline while it runs (engine.md#managers, Attractor 4.11)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from msgspec.structs import replace

from orchestra.graph.conditions import Condition, resolve
from orchestra.graph.model import Graph, Node
from orchestra.graph.parser.conditions import parse_condition
from orchestra.handlers.pipeline import ENDS
from orchestra.ports import Child, NodeAgents, Scope, Telemetry
from orchestra.run.events import WarningRaised
from orchestra.run.outcome import GOOD, FailureClass, Json, Outcome, Status
from orchestra.run.state import Context

_STATUS = {"success": "completed", "fail": "failed"}
"""Ends of a child in Attractor's words; its other states are called the same."""


@dataclass(frozen=True, slots=True)
class Manager:
    """Runs a node's child or watches a session until its end, a condition, or the last cycle."""

    agents: NodeAgents

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        """Success where the child succeeds or ``manager.stop_condition`` holds; else a failure that says why."""
        session = "" if node.flag("stack.child_autostart") else node.text("stack.child_session")
        async with scope.child(session) as child:
            return await _Watch(self, node, context, graph, scope, child).outcome()


class _Watch:
    """One execution of a manager: what it counts while it watches."""

    def __init__(
        self, manager: Manager, node: Node, context: Context, graph: Graph, scope: Scope, child: Child
    ) -> None:
        self._manager = manager
        self._node = node
        self._context = context
        self._graph = graph
        self._scope = scope
        self._child = child
        self._actions = {word.strip() for word in node.text("manager.actions").split(",")}
        self._poll = _seconds(node, "manager.poll_interval", 45.0)
        self._cooldown = _seconds(node, "manager.steer_cooldown", 2 * self._poll)
        self._steers = 0
        self._steered_ms = scope.now_ms()

    async def outcome(self) -> Outcome:
        """Observe, steer and wait, cycle by cycle; the cycles pause with the child."""
        left = self._node.integer("manager.max_cycles")
        stop = parse_condition(self._node.text("manager.stop_condition"))
        while (seen := self._child.telemetry()).status not in ("success", "fail"):
            if stop and await self._holds(stop, seen):
                return await self._stop(f"stopped by {self._node.id}: {stop.text}")
            if seen.ended:
                break
            if seen.status == "running":
                if not left:
                    return await self._give_up()
                left -= 1
                await self._steer(seen)
            await self._child.wait_for_change(self._poll)
        if seen.status == "success":
            return Outcome(status=Status.SUCCESS, context_updates=observations(seen))
        return Outcome(
            status=Status.FAIL,
            context_updates=observations(seen),
            failure_reason=f"session {seen.session} {ENDS[seen.status]} at {seen.node}: {seen.reason}",
            failure_class=FailureClass.CANCELED if seen.status == "canceled" else None,
        )

    async def _stop(self, reason: str) -> Outcome:
        await self._child.stop(reason)
        return Outcome(status=Status.SUCCESS, context_updates=observations(self._child.telemetry()), notes=reason)

    async def _give_up(self) -> Outcome:
        cycles = self._node.integer("manager.max_cycles")
        reason = f"{self._node.id} reached its limit of {cycles} cycles"
        await self._child.stop(reason)
        seen = self._child.telemetry()
        return Outcome(
            status=Status.FAIL,
            context_updates=observations(seen),
            failure_reason=f"{reason}, and stopped session {seen.session}",
        )

    async def _holds(self, stop: Condition, seen: Telemetry) -> bool:
        """Whether the stop condition holds for the context with what is seen of the child."""
        observed = observations(seen) if "observe" in self._actions else {}
        known = (await self._context.reading(stop.keys, self._scope.resolve)).with_values(observed)
        outcome, label = str(known.get("outcome", "")), str(known.get("preferred_label", ""))
        return stop.holds(lambda key: resolve(key, outcome, label, known))

    async def _steer(self, seen: Telemetry) -> None:
        """Ask for one instruction and deliver it, where that is due."""
        since = self._scope.now_ms() - self._steered_ms  # less than nothing where the clock was set back
        if "steer" not in self._actions or 0 <= since < self._cooldown * 1000:
            return
        instruction = await self._instruction(seen)
        self._steers += 1
        self._steered_ms = self._scope.now_ms()
        if instruction and not self._child.telemetry().ended:
            await self._child.steer(instruction)

    async def _instruction(self, seen: Telemetry) -> str:
        """What the node's agent says, given its prompt and what is seen of the child."""
        told = "\n".join(f"{key}: {value}" for key, value in observations(seen).items())
        task = await self._manager.agents.task(self._node, self._context, self._graph, self._scope)
        prompt = f"{task.prompt}\n\nState of the child pipeline:\n{told}"
        answer = await self._manager.agents.ask(
            replace(task, prompt=prompt, before=self._steers, thread="", begun=False)
        )
        if isinstance(answer, Outcome) and answer.status not in GOOD:
            said = answer.failure_reason or answer.notes or answer.status.value
            self._scope.record(
                WarningRaised(message=f"no instruction for the child: {said}", rule="steer", node=self._node.id)
            )
            return ""
        return "" if answer is None else self._scope.responded


def observations(seen: Telemetry) -> Mapping[str, Json]:
    """Return what the context gets of the child."""
    plain: dict[str, Json] = {f"stack.child.{key}": value for key, value in asdict(seen).items()}
    return {**plain, "stack.child.status": _STATUS.get(seen.status, seen.status)}


def _seconds(node: Node, key: str, otherwise: float) -> float:
    duration = node.duration(key)
    return otherwise if duration is None else duration.seconds
