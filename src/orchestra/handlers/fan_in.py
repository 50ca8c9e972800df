"""The fan-in: consolidates the results of branches (engine.md#branches)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from orchestra.graph.model import Graph, Node
from orchestra.handlers.merging import merge_code
from orchestra.ports import NodeAgents, Scope
from orchestra.run.events import WarningRaised
from orchestra.run.judging import is_reserved
from orchestra.run.outcome import FailureClass, Json, Outcome, Status, failed_outcome
from orchestra.run.parallel import best_of
from orchestra.run.state import Context

ASKED = 2
"""How often the backend is asked for the best candidate before the heuristic decides."""


@dataclass(frozen=True, slots=True)
class FanIn:
    """Picks the best result, by its agent where the node has a prompt, else by status, score and id."""

    agents: NodeAgents

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome:
        """Succeed with the best result under ``parallel.fan_in.*``; fail without one or without a quorum."""
        fan = scope.joined
        if fan is None:
            return failed_outcome(
                "no parallel results: it was not reached from its parallel node", FailureClass.TERMINAL
            )
        if fan.status == "skipped":
            return Outcome(status=Status.SKIPPED, notes="no branches were started")
        results = await _results(context, scope)
        shared: dict[str, Json] = {"parallel.fan_in.results": list(results)}
        if fan.status == "fail" or not any(r["status"] != "fail" for r in results):
            reason = fan.reason or "every branch failed"
            return Outcome(status=Status.FAIL, failure_reason=reason, context_updates=shared)
        best = await self._best(node, context, graph, scope, results)
        shared |= {
            "parallel.fan_in.best_id": best["id"],
            "parallel.fan_in.best_outcome": best["status"],
            "parallel.fan_in.best_response": best["response"],
        }
        outcome = Outcome(
            status=Status.SUCCESS,
            notes=f"best: {best['id']}",
            context_updates={**_merge_updates(node, results, best), **shared},
        )
        return await merge_code(node, fan, results, best, scope, outcome)

    async def _best(
        self, node: Node, context: Context, graph: Graph, scope: Scope, results: list[dict[str, Any]]
    ) -> Mapping[str, Any]:
        if not node.text("prompt"):
            return best_of(results)
        by_id = {str(result["id"]): result for result in results}
        task = await self.agents.task(node, context, graph, scope)
        question = prompt = _question(task.prompt, results)
        for before in range(ASKED):
            await self.agents.ask(replace(task, prompt=prompt, before=before, thread="", begun=False))
            named = _named_candidate(scope.responded, by_id)
            if named:
                return by_id[named]
            prompt = f"{question}\n\nYour answer named none of them. Answer with the JSON only."
        best = best_of(results)
        message = f"{node.id}: the answer names no branch; chose {best['id']} by status, score and id"
        scope.record(WarningRaised(message=message, rule="fan_in", node=node.id))
        return best


async def _results(context: Context, scope: Scope) -> list[dict[str, Any]]:
    value: Any = await scope.resolve(context.get("parallel.results", []))
    return list(value) if isinstance(value, list) else []


def _question(asked: str, results: list[dict[str, Any]]) -> str:
    told = "\n\n".join(
        f"## Candidate {result['id']}\nstatus: {result['status']}\n"
        f"{result['response'] or result['notes'] or '(no text)'}"
        for result in results
    )
    ids = ", ".join(str(result["id"]) for result in results)
    return (
        f"{asked}\n\n{told}\n\n"
        f'Choose one candidate. Answer with JSON only: {{"best": "ID"}}, where ID is one of: {ids}'
    )


def _named_candidate(answer: str, known: Mapping[str, object]) -> str:
    """The candidate that an answer names in its JSON object, or as its only word; empty for none."""
    text = answer.strip()
    if text in known:
        return text
    begin, end = text.find("{"), text.rfind("}")
    try:
        found = msgspec.json.decode(text[begin : end + 1]) if 0 <= begin < end else None
    except msgspec.DecodeError:
        found = None
    named = found.get("best") if isinstance(found, dict) else None
    return named if isinstance(named, str) and named in known else ""


def _merge_updates(node: Node, results: list[dict[str, Any]], best: Mapping[str, Any]) -> dict[str, Json]:
    """The context updates that the walk takes over: in branch order, later wins (``merge``)."""
    wanted: Mapping[str, list[Any]] = {"all": results, "best": [best]}
    chosen = wanted.get(node.text("merge"), [])
    return {key: value for result in chosen for key, value in result["updates"].items() if not is_reserved(key)}
