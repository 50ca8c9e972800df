from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest
from toolbox import MemoryScope

from orchestra.agents.tools.settings import ServerSpec, ToolSettings
from orchestra.agents.tools.toolset import Toolbox, Toolset
from orchestra.agents.tools.trust import Trust, uses_of
from orchestra.errors import ConfigError, Source
from orchestra.graph.dot import parse
from orchestra.processes import tree
from orchestra.run.secrets import Redactor

DOT = """digraph p {
    graph ["tool_hooks.pre"="! grep -q forbidden"]
    start [shape=Mdiamond]; exit [shape=Msquare]
    work [prompt="x"]
    start -> work
    work -> exit [label="ship"]
    work -> work [label="again", condition="outcome=rework"]
}"""
GRAPH, _ = parse(Source("p.dot", DOT))
assert GRAPH is not None
MCP = {"command": sys.executable, "args": [str(Path(__file__).parent / "mcp_example.py")]}


class Opened:
    """A toolset in a folder, opened for as long as a function of the test runs."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.folder = folder
        self.scope = MemoryScope(Redactor({}))
        self.box = Toolbox(
            settings=ToolSettings(state=folder.parent / "state", **settings),  # type: ignore[arg-type]
            environment={"PATH": os.environ["PATH"]},
        )

    async def with_tools(self, act: object, *wanted: str) -> Toolset:
        assert GRAPH is not None
        async with self.box.open(
            node=GRAPH.nodes["work"],
            graph=GRAPH,
            scope=self.scope,  # type: ignore[arg-type]
            folders={"": self.folder},
            wanted=wanted,
        ) as toolset:
            await act(toolset)  # type: ignore[operator]
        return toolset

    def run(self, act: object, *wanted: str) -> Toolset:
        return asyncio.run(self.with_tools(act, *wanted))

    def warnings(self) -> list[str]:
        return [event.message for event in self.scope.events if hasattr(event, "rule")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "work"
    made.mkdir()
    return made


def test_the_outcome_tool_shows_the_nodes_own_labels_and_words(folder: Path) -> None:
    async def act(toolset: Toolset) -> None:
        schema = toolset.tools["report_outcome"].parameters["properties"]
        assert schema["preferred_label"]["enum"] == ["ship", "again"]
        assert "rework" in schema["status"]["enum"]
        result = await toolset.call("report_outcome", {"status": "success", "preferred_label": "ship"})
        assert result.outcome == {"status": "success", "preferred_label": "ship"}
        assert (await toolset.call("report_outcome", {"status": "great"})).is_error

    Opened(folder).run(act)


def test_the_graphs_hook_guards_every_call(folder: Path) -> None:
    async def act(toolset: Toolset) -> None:
        assert (await toolset.call("shell", {"command": "echo forbidden > x"})).is_error
        assert not (await toolset.call("shell", {"command": "echo fine > x"})).is_error

    Opened(folder).run(act)
    assert (folder / "x").read_text() == "fine\n"


def test_what_an_attempt_leaves_running_ends_with_it(folder: Path) -> None:
    async def act(toolset: Toolset) -> None:
        assert (await toolset.call("ex:add", {"a": 1, "b": 2})).text == "3"
        assert tree.members(toolset.context.marker)

    servers = {"ex": ServerSpec(name="ex", command=MCP["command"], arguments=tuple(MCP["args"]))}  # type: ignore[arg-type]
    toolset = Opened(folder, servers=servers).run(act, "+ex:add")
    assert not tree.members(toolset.context.marker)


def test_a_server_of_the_repository_runs_only_when_it_is_trusted(folder: Path) -> None:
    (folder / ".mcp.json").write_text(json.dumps({"mcpServers": {"theirs": MCP}}))

    async def act(toolset: Toolset) -> None:
        assert (await toolset.call("theirs:add", {"a": 1, "b": 2})).text == "3"

    with pytest.raises(ConfigError, match="theirs"):
        Opened(folder).run(act, "+theirs:add")
    opened = Opened(folder)
    Trust(folder.parent / "state").allow(folder, uses_of(folder))
    opened.run(act, "+theirs:add")


def test_skills_of_the_repository_are_read_only_when_they_are_trusted(folder: Path) -> None:
    skill = folder / ".agents" / "skills" / "deploy"
    skill.mkdir(parents=True)
    (skill / "SKILL.md").write_text("---\nname: deploy\ndescription: How to deploy.\n---\nPush the button.\n")
    (skill / "list.txt").write_text("one\n")
    (folder / "secret.txt").write_text("secret")

    async def without(toolset: Toolset) -> None:
        assert "read-skill" not in toolset.tools

    opened = Opened(folder)
    opened.run(without)
    assert "not trusted" in opened.warnings()[0]

    async def act(toolset: Toolset) -> None:
        assert "deploy: How to deploy." in toolset.tools["read-skill"].description
        assert "Push the button." in (await toolset.call("read-skill", {"name": "deploy"})).text
        assert (await toolset.call("read-skill", {"name": "deploy", "file": "list.txt"})).text == "one\n"
        for file in ("../../../secret.txt", "/etc/passwd"):
            assert (await toolset.call("read-skill", {"name": "deploy", "file": file})).is_error

    Trust(folder.parent / "state").allow(folder, uses_of(folder))
    Opened(folder).run(act)
    (skill / "list.txt").write_text("changed\n")
    Opened(folder).run(without)


def test_an_unknown_tool_is_refused_before_anything_starts(folder: Path) -> None:
    async def act(_toolset: Toolset) -> None:
        raise AssertionError("it was opened")

    with pytest.raises(ConfigError, match="teleport"):
        Opened(folder).run(act, "+teleport")
