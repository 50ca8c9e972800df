"""The simulation backend: scripted answers, no model, key or network (cli.md#simulation-scripts).

A script gives per node a list of results; each execution of the node, retries included, takes the
next one, and the last repeats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from orchestra.agents.exchanges import answer_of_person
from orchestra.config.schema import (
    WRONG,
    MapOf,
    SettingPlace,
    choice,
    key,
    length,
    mapping,
    number,
    one_or_many,
    text,
    whole,
    words,
)
from orchestra.errors import Terminal, Transient
from orchestra.graph.model import Graph, Node
from orchestra.ports import AgentTask, Handler, Scope, Turns
from orchestra.run.commands import command_outcome
from orchestra.run.outcome import (
    GOOD,
    FailureClass,
    Json,
    Outcome,
    Status,
    failed_outcome,
    legal_words,
    read_status,
)
from orchestra.run.secrets import plain_json
from orchestra.run.state import Context


def _status(value: Any, place: SettingPlace) -> str:
    return words(value, place) or place.fault(
        "is empty", f"write one of {', '.join(Status)}, or a word that an outgoing edge asks for"
    )


def _updates(value: Any, place: SettingPlace) -> Any:
    found = mapping(value, place)
    try:
        return WRONG if found is WRONG else plain_json(found)
    except ValueError as error:
        return place.fault(str(error))


def _writes(value: Any, place: SettingPlace) -> dict[str, str]:
    """Files and their texts, by paths inside the workspace."""
    found = MapOf(text)(value, place)
    for name in found:
        if not name or name.startswith("/") or {"..", ".git", ""} & set(name.split("/")):
            place.at(name).key_fault("is not a path inside the workspace")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptedResult:
    """One scripted result.

    ``delay`` and ``retry_after`` are in seconds; ``error`` is raised as an exception of its ``failure_class`` would
    be; tokens and cost (in dollars) are counted as a model's. For a tool node ``text`` is the output; without
    ``exit_code``, that is 0 or 1 by the status. ``writes`` are files by path, which an agent writes into its
    workspace.
    """

    status: str = key(_status, "how it ends", default="success")
    text: str | None = key(words, "what it answers or prints", default=None)
    label: str = key(words, "the label of the edge that it prefers", default="")
    suggest: tuple[str, ...] = key(one_or_many(words), "nodes that it suggests", default=())
    updates: Mapping[str, Json] = key(_updates, "values for the context", factory=dict)
    notes: str = key(words, "its notes", default="")
    reason: str = key(words, "why it fails", default="")
    failure_class: str = key(choice(*FailureClass), "the kind of failure", default="")
    retry_after: float = key(length, "how long the provider asks to wait", default=0.0)
    delay: float = key(length, "how long it takes", default=0.0)
    error: str = key(words, "the exception that it raises", default="")
    tokens_in: int = key(whole(), "tokens read", default=0)
    tokens_out: int = key(whole(), "tokens written", default=0)
    cost: float = key(number(0, 1e6), "dollars", default=0.0)
    exit_code: int | None = key(whole(0, 255), "the command's exit code", default=None)
    stderr: str = key(words, "what it writes to standard error", default="")
    writes: Mapping[str, str] = key(_writes, "files by path", factory=dict)


ONLY_AGENTS = frozenset({"label", "suggest", "updates", "retry_after", "tokens_in", "tokens_out", "cost", "writes"})
ONLY_COMMANDS = frozenset({"exit_code", "stderr"})
"""The keys that only one of the two kinds of nodes has."""


Script = Mapping[str, tuple[ScriptedResult, ...]]
"""Scripted results by node id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """A script with those of the nodes' children; ``text`` is what is recorded of it.

    There is one for each time that a node runs its child; the last serves all further times.
    """

    script: Script = field(default_factory=dict)
    text: str = ""
    children: Mapping[str, tuple[Scenario, ...]] = field(default_factory=dict)


class SimulatedError(Exception):
    """The exception that a script asked for."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """Answers from a script; nodes that it does not name succeed with a canned text."""

    script: Script = field(default_factory=dict)

    async def run(self, task: AgentTask, turns: Turns) -> str | Outcome:
        """The scripted result of this execution, else ``[Simulated] Response for stage: <id>``."""
        spoken = await self._speak(task, 0)
        if not task.interactive:
            return spoken
        number = 0
        while not (isinstance(spoken, Outcome) and spoken.status not in GOOD):
            number += 1
            text = spoken if isinstance(spoken, str) else task.scope.responded
            said = await answer_of_person(task, text, number)
            if isinstance(said, Outcome):
                return spoken if said.status in GOOD and isinstance(spoken, Outcome) else said
            spoken = await self._speak(task, number)
        return spoken

    async def _speak(self, task: AgentTask, more: int) -> str | Outcome:
        """What the agent says when it is its turn."""
        results = self.script.get(task.node.id, ())
        canned = f"[Simulated] Response for stage: {task.node.id}"
        if not results:
            task.scope.response(canned)
            return canned
        result = await _play(results, task.scope, task.before + more)
        task.scope.response(canned if result.text is None else result.text)
        await _write_files(result, task)
        return _outcome(task, result)


@dataclass(frozen=True, slots=True)
class SimulatedTools:
    """Tool nodes as a script has them: those that it names end as it says, the others are run."""

    script: Script
    real: Handler

    async def __call__(self, node: Node, context: Context, graph: Graph, scope: Scope) -> Outcome | None:
        """What the end of the command would mean; nothing is run."""
        results = self.script.get(node.id, ())
        if not results:
            return await self.real(node, context, graph, scope)
        result = await _play(results, scope)
        code = result.exit_code
        if code is None:
            code = 0 if result.status == Status.SUCCESS else 1
        ended = command_outcome(node.id, code, result.text or "", result.stderr)
        return replace(
            ended,
            notes=result.notes or "simulated: no command was run",
            failure_reason=result.reason or ended.failure_reason,
            failure_class=FailureClass(result.failure_class) if result.failure_class else ended.failure_class,
        )


async def _write_files(result: ScriptedResult, task: AgentTask) -> None:
    """Write the files of a result, and commit them as an agent's turn would be."""
    workspace = task.scope.workspace
    if workspace is None or not result.writes:
        return
    for name, content in result.writes.items():
        _write(workspace.folder() / name, content)
    files = tuple(result.writes)
    await task.scope.commit(files=files, turn=1, intent=result.text or task.prompt, model="simulation")


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


async def _play(results: tuple[ScriptedResult, ...], scope: Scope, before: int = 0) -> ScriptedResult:
    """The result of this execution, after its delay; raises what it raises."""
    result = results[min(scope.execution + before, len(results)) - 1]
    if result.delay:
        await scope.sleep(result.delay)
    scope.spend(
        tokens_in=result.tokens_in, tokens_out=result.tokens_out, cost_micros=round(result.cost * 1_000_000)
    )
    if result.error:
        raise _exception_of(result)
    return result


def _exception_of(result: ScriptedResult) -> Exception:
    """The exception of a result, as a backend would raise it."""
    match result.failure_class:
        case FailureClass.TERMINAL:
            return Terminal(result.error)
        case FailureClass.TRANSIENT:
            return Transient(result.error, retry_after=result.retry_after)
        case _:
            return SimulatedError(result.error)


def _outcome(task: AgentTask, result: ScriptedResult) -> Outcome:
    status, word, problem = read_status(result.status, legal_words(task.graph, task.node.id))
    if problem:
        return failed_outcome(problem, FailureClass.TERMINAL)
    outcome = Outcome(
        status=status,
        word=word,
        preferred_label=result.label,
        suggested_next_ids=result.suggest,
        context_updates=result.updates,
        notes=result.notes,
        failure_reason=result.reason
        or (f"simulated {status.value}" if status in (Status.FAIL, Status.RETRY) else ""),
        failure_class=FailureClass(result.failure_class) if result.failure_class else None,
        retry_after=result.retry_after,
    )
    if not task.output_schema or result.text is None or f"outputs.{task.node.id}" in result.updates:
        return outcome
    from orchestra.agents.verdicts import fit_schema  # only a node with a schema pays for it

    found = fit_schema(task, outcome, result.text) if status in GOOD else outcome
    return found if isinstance(found, Outcome) else found.otherwise
