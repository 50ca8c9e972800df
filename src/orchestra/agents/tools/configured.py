"""Shell tools from the settings: arguments reach the shell as data, never as code (A34)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchestra.agents.tools import FunctionTool, ToolContext, ToolError, ToolResult
from orchestra.agents.tools.settings import ShellToolSpec
from orchestra.agents.tools.shell import result_of, run
from orchestra.errors import ConfigError
from orchestra.graph.conditions import text_of
from orchestra.graph.shell import Expression, expressions
from orchestra.graph.substitution import substitute, variables
from orchestra.run.outcome import Json

MOST = 100_000
"""Bytes of one argument, which travels in an environment variable."""


def make_tool(spec: ShellToolSpec, repo: str, prefix: str) -> FunctionTool:
    """Return the tool for one repository.

    Raises ``ConfigError`` if its command cannot take its arguments as data.
    """
    found = expressions(spec.command, frozenset(spec.arguments))
    for one in found:
        if one.raw or one.hazard:
            why = "| raw puts it into the text" if one.raw else f"it stands in {one.hazard}, where it would be run"
            raise ConfigError(f"{spec.origin}: the argument {one.name!r} of the tool {spec.name!r}: {why}")
    text = substitute(spec.command, found, {})

    defaults = {name: given["default"] for name, given in spec.arguments.items() if "default" in given}

    async def call(arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
        folder = context.folder(repo)
        async with context.tracker.around() as changes:
            ran = await run(
                ("/bin/sh", "-c", text),
                folder,
                context,
                tool=f"{prefix}{spec.name}",
                seconds=spec.timeout,
                sandbox=context.sandbox,
                environment=_environment(found, {**defaults, **arguments}),
            )
        result = result_of(ran, spec.timeout)
        return ToolResult(
            text=result.text,
            is_error=result.is_error,
            files_written=changes.files,
            parts=result.parts,
            size=result.size,
        )

    return FunctionTool(
        name=f"{prefix}{spec.name}",
        description=spec.description or f"Runs: {spec.command}",
        parameters=_schema(spec),
        function=call,
        read_only=spec.read_only,
        idempotent=spec.idempotent,
        origin=spec.origin,
    )


def _environment(found: tuple[Expression, ...], arguments: Mapping[str, Json]) -> dict[str, str]:
    environment: dict[str, str] = {}
    for name, variable in variables(found).items():
        value = text_of(arguments.get(name))
        if "\0" in value:
            raise ToolError(f"{name} has a NUL character, which no shell can take")
        if len(value.encode("utf-8", "surrogatepass")) > MOST:
            raise ToolError(f"{name} is longer than {MOST} bytes; write it to a file and give its path")
        environment[variable] = value
    return environment


def _schema(spec: ShellToolSpec) -> dict[str, Json]:
    """An argument is required unless it has a default or says ``required: false``."""
    properties: dict[str, Any] = {}
    required: list[Json] = []
    for name, given in spec.arguments.items():
        shown = {key: value for key, value in given.items() if key != "required"}
        properties[name] = {"type": "string", **shown}
        if given.get("required", "default" not in given):
            required.append(name)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}
