"""One tool call: check arguments, run hooks, cut the output, remove secrets (A32)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import msgspec

from orchestra.agents.tools import Tool, ToolContext, ToolError, ToolResult
from orchestra.agents.tools.hooks import after, before
from orchestra.agents.tools.output import cut, limit_of, storage_note, store_text
from orchestra.errors import OrchestraError
from orchestra.ports import Suspended
from orchestra.run.codec import output_name
from orchestra.run.outcome import Json


async def perform(
    tools: Mapping[str, Tool], name: str, arguments: Mapping[str, Json], context: ToolContext
) -> ToolResult:
    """Call a tool by its name; whatever goes wrong with it is a result for the agent.

    Only our own errors (a lost store) and a cancellation are raised.
    """
    began = time.monotonic()
    tool = tools.get(name)
    if tool is None:
        result = error(f"unknown tool {name!r}; known: {', '.join(sorted(tools))}")
    else:
        result = await _run_hooks(tool, arguments, context)
    result = await _shorten(result, name, context)
    return replace(result, duration_ms=round((time.monotonic() - began) * 1000))


def error(message: str) -> ToolResult:
    """A failed call, for the agent."""
    return ToolResult(text=f"error: {message}", is_error=True)


async def _run_hooks(tool: Tool, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    problem = invalid(tool, arguments)
    if problem:
        return error(problem)
    denied = await before(tool.name, arguments, context)
    if denied is not None:
        return error(denied)
    result = await _call(tool, arguments, context)
    return await after(tool.name, arguments, result, context)


async def _call(tool: Tool, arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    try:
        return await tool.call(arguments, context)
    except ToolError as failure:
        return error(str(failure))
    except (OrchestraError, Suspended):
        raise
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        return error(f"{tool.name} was canceled")
    except Exception as failure:  # noqa: BLE001  the wall: a tool's exception is an error for the agent
        return error(f"{tool.name} failed: {type(failure).__name__}: {failure}")


def invalid(tool: Tool, arguments: Mapping[str, Json]) -> str:
    """What is wrong with a call's arguments, empty where nothing is."""
    validator = _validator(msgspec.json.encode(tool.parameters))
    found = sorted(validator.iter_errors(dict(arguments)), key=lambda one: list(map(str, one.absolute_path)))
    if not found:
        return ""
    first = found[0]
    where = ".".join(str(step) for step in first.absolute_path)
    return f"{tool.name}: {where + ': ' if where else ''}{first.message[:500]}"


@lru_cache(maxsize=256)
def _validator(schema: bytes) -> Any:
    from jsonschema import Draft202012Validator  # only a run whose agent calls a tool pays for it

    return Draft202012Validator(msgspec.json.decode(schema))


async def _shorten(result: ToolResult, name: str, context: ToolContext) -> ToolResult:
    """The result without secrets, cut to what the model gets; what is cut is stored before."""
    text = context.redactor.text(result.text.encode("utf-8", "replace").decode())
    limit = limit_of(name, context)
    if result.parts:
        context.outputs[output_name(result.parts)] = result.parts
    if len(text) <= limit:
        return replace(result, text=text)
    parts = result.parts or await store_text(text, context)
    size = result.size if result.parts else len(text.encode())
    context.outputs[output_name(parts)] = parts
    return replace(result, text=cut(text, limit, storage_note(parts, size)), parts=parts, size=size)
