"""What ``orchestra tools`` does."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from orchestra.app.pipelines import compile_pipeline, read
from orchestra.app.runs import folder_of, whereabouts
from orchestra.app.toolboxes import NodeTool, node_tools, tool_problems
from orchestra.cli._json import say_json
from orchestra.cli._stores import settings_for
from orchestra.cli._terminal import one_line, say
from orchestra.errors import ConfigError, InvalidPipeline
from orchestra.graph.report import counted
from orchestra.run.secrets import Redactor


def list_tools(name: str, node: str, *, as_json: bool, config: Path | None) -> int:
    """Print a row for each tool of each node. Raises ``InvalidPipeline`` and ``ConfigError``."""
    settings = settings_for(None, config, name)
    source, found = read(name)
    pipeline = compile_pipeline(source, found, variables={}, secrets=settings.secrets)
    graph = pipeline.checked()
    folder = folder_of(whereabouts(source))
    problems = tool_problems(graph, settings, folder)
    if problems:
        raise InvalidPipeline(tuple(problems))
    if node and node not in graph.nodes:
        raise ConfigError(f"there is no node {node!r} in {name}", fix=f"it has: {', '.join(graph.nodes)}")
    rows = [
        one for one in node_tools(graph, settings, folder, Redactor(settings.secrets)) if node in ("", one.node)
    ]
    if as_json:
        say_json([asdict(row) for row in rows])
    elif rows:
        _table(rows)
    else:
        say(f"{node or name} has no agent, so it has no tools")
    return 0


def _table(rows: list[NodeTool]) -> None:
    lines = [("NODE", "TOOL", "ACCESS", "FROM")]
    lines += [
        (row.node, one_line(row.name), "read" if row.read_only else "write", one_line(row.origin, 1000))
        for row in rows
    ]
    wide = [max(len(line[column]) for line in lines) for column in range(3)]
    for line in lines:
        cells = [cell.ljust(room) for cell, room in zip(line, wide, strict=False)]
        say("  ".join((*cells, line[3])))
    nodes = len({row.node for row in rows})
    say(f"{counted(len(rows), 'tool')} in {counted(nodes, 'node')}")
