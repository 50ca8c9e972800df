"""The LLM task: composes the prompt, asks the backend, records both (engine.md 5, Attractor 4.5)."""

from __future__ import annotations

from dataclasses import dataclass

from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask, CodergenBackend, Scope
from orchestra.run.context import Context
from orchestra.run.outcome import Outcome, Status
from orchestra.run.prompts import agent_prompt


@dataclass(frozen=True, slots=True)
class Codergen:
    """Runs a codergen node on a backend."""

    backend: CodergenBackend

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome | None:
        """The backend's outcome; plain text is success (Attractor 4.5). The prompt is the label where none is.

        Instructions from outside stand behind it (S15).
        """
        prompt = agent_prompt(node, scope.steering())
        scope.prompt(prompt)
        answer = await self.backend.run(
            AgentTask(node=node, graph=graph, prompt=prompt, context=context, scope=scope), scope
        )
        if answer is None or isinstance(answer, Outcome):
            return answer
        if not isinstance(answer, str):
            raise TypeError(f"the backend answered with a {type(answer).__name__}, neither text nor an Outcome")
        scope.response(answer)
        return Outcome(status=Status.SUCCESS)
