"""Shell commands before and after every tool call; a hook without an answer denies (A35)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import msgspec

from orchestra.agents.tools import ToolContext, ToolError, ToolResult
from orchestra.agents.tools.shell import Ran, run
from orchestra.graph.model import Graph, Node
from orchestra.run.events import WarningRaised
from orchestra.run.outcome import Json
from orchestra.run.secrets import clean

_SHOWN = 2000
_VARIABLE = 32 * 1024


def hook_commands(graph: Graph, node: Node) -> tuple[str, str]:
    """The commands before and after a node's tool calls: the node's own, else the graph's."""
    return tuple(  # type: ignore[return-value]
        node.text(f"tool_hooks.{which}") or graph.text(f"tool_hooks.{which}") for which in ("pre", "post")
    )


async def before(tool: str, arguments: Mapping[str, Json], context: ToolContext) -> str | None:
    """Why the hook denies a call, None where it does not: it has to end with 0 in time."""
    if not context.hooks.pre:
        return None
    ran, problem = await _ran(context.hooks.pre, "pre", tool, {"arguments": arguments}, context)
    if ran is not None and ran.code == 0:
        return None
    why = problem or _words(ran) or "it gave no reason"
    _warn(context, "tool_denied", f"the hook before {tool} denied the call: {why}")
    return f"the call was denied by a hook: {why}"


async def after(tool: str, arguments: Mapping[str, Json], result: ToolResult, context: ToolContext) -> ToolResult:
    """The result, with what the hook after the call complains of: the call itself is done."""
    if not context.hooks.post:
        return result
    files = [clean(file) for file in result.files_written]
    told = {"text": clean(result.text), "is_error": result.is_error, "files_written": files}
    ran, problem = await _ran(context.hooks.post, "post", tool, {"arguments": arguments, "result": told}, context)
    if ran is not None and ran.code == 0:
        return result
    why = problem or _words(ran) or "it gave no reason"
    _warn(context, "tool_hook", f"the hook after {tool} failed: {why}")
    return replace(result, text=f"{result.text}\n[the hook after the call failed: {why}]", is_error=True)


async def _ran(
    command: str, when: str, tool: str, told: Mapping[str, object], context: ToolContext
) -> tuple[Ran | None, str]:
    """How a hook ended, or why it could not run."""
    message = {"session": context.session, "node": context.node, "tool": tool, "when": when, **told}
    words = msgspec.json.encode(told["arguments"]).decode()
    environment = {
        "ORCHESTRA_HOOK": when,
        "ORCHESTRA_SESSION": context.session,
        "ORCHESTRA_NODE": context.node,
        "ORCHESTRA_TOOL_NAME": tool,
        "ORCHESTRA_TOOL_ARGUMENTS": words if len(words) <= _VARIABLE else "",
    }
    folder = next(iter(context.folders.values()))
    try:
        ran = await run(
            ("/bin/sh", "-c", command),
            folder,
            context,
            tool=f"{when} hook",
            seconds=context.hooks.timeout,
            sandbox=context.sandbox,
            environment={name: value.replace("\0", "") for name, value in environment.items()},
            given=msgspec.json.encode(message),
        )
    except ToolError as error:
        return None, str(error)
    if ran.code is None:
        return ran, f"it took more than {context.hooks.timeout:g} seconds"
    return ran, ""


def _words(ran: Ran | None) -> str:
    return "" if ran is None else (ran.stderr.strip() or ran.stdout.strip())[:_SHOWN]


def _warn(context: ToolContext, rule: str, message: str) -> None:
    context.scope.record(WarningRaised(message=message, rule=rule, node=context.node))
