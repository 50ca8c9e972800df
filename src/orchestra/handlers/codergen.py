"""The LLM task: compose the prompt, ask the backend, record both (engine.md#handlers, Attractor 4.5)."""

from __future__ import annotations

from dataclasses import dataclass

from orchestra.errors import ConfigError
from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask, Briefing, CodergenBackend, Scope
from orchestra.run.outcome import FailureClass, Outcome, Status, failed_outcome
from orchestra.run.prompts import FAILED_BEFORE, agent_prompt
from orchestra.run.state import Context


async def plain_briefing(node: Node, context: Context, graph: Graph, scope: Scope) -> AgentTask:
    """Return a task with only the node's own prompt; steering instructions follow it (S15).

    The prompt is the label where there is none. A retry is told why the previous attempt failed (A3).
    """
    talk = scope.talk
    prompt = agent_prompt(node, () if talk.begun else scope.steering())
    if talk.failed_before:
        prompt = f"{prompt}\n\n{FAILED_BEFORE}{talk.failed_before}"
    return AgentTask(
        node=node,
        graph=graph,
        prompt=prompt,
        context=context,
        scope=scope,
        thread=talk.name,
        begun=talk.begun,
    )


@dataclass(frozen=True, slots=True)
class Codergen:
    """Runs a codergen node on a backend; ``briefing`` makes its task."""

    backend: CodergenBackend
    briefing: Briefing = plain_briefing

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome | None:
        """The backend's outcome; plain text is success (Attractor 4.5)."""
        try:
            task = await self.briefing(node, context, graph, scope)
        except ConfigError as error:  # the same prompt would be wrong again
            return failed_outcome(error.message + (f" ({error.fix})" if error.fix else ""), FailureClass.TERMINAL)
        scope.prompt(task.prompt)
        answer = await self.backend.run(task, scope)
        if answer is None or isinstance(answer, Outcome):
            return answer
        if not isinstance(answer, str):
            raise TypeError(f"the backend answered with a {type(answer).__name__}, neither text nor an Outcome")
        scope.response(answer)
        return Outcome(status=Status.SUCCESS)
