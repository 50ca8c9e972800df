from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from toolbox import Box, repository

from orchestra.agents.tools.calls import perform
from orchestra.agents.tools.mcp_client import repository_servers, serve_tools, specs_of
from orchestra.agents.tools.reporting import reporting
from orchestra.agents.tools.selection import by_name, wire_names
from orchestra.agents.tools.settings import ServerSpec
from orchestra.agents.tools.tool_socket import open_tool_socket
from orchestra.agents.tools.toolset import Toolset
from orchestra.agents.tools.trust import Trust, uses_of
from orchestra.errors import ConfigError
from orchestra.processes import tree
from orchestra.processes.sandbox import Sandbox, unavailable

EXAMPLE_FILE = Path(__file__).parent / "mcp_example.py"
EXAMPLE = ServerSpec(name="ex", command=sys.executable, arguments=(str(EXAMPLE_FILE),), timeout=30)


def test_tools_of_a_server_are_called_by_server_and_name(tmp_path: Path) -> None:
    box = Box(tmp_path)

    async def scenario() -> None:
        async with serve_tools({"ex": ["*"]}, {"ex": EXAMPLE}, box.context) as tools:
            named = by_name(tools)
            assert set(named) == {"ex:add", "ex:variable", "ex:look", "ex:die", "ex:fail"}
            assert (await perform(named, "ex:add", {"a": 2, "b": 3}, box.context)).text == "5"
            failed = await perform(named, "ex:fail", {"word": "oh no"}, box.context)
            assert failed.is_error
            assert (await perform(named, "ex:variable", {"name": "HOME"}, box.context)).text
            dead = await perform(named, "ex:die", {}, box.context)
            assert dead.is_error
            assert (await perform(named, "ex:add", {"a": 2, "b": 3}, box.context)).is_error
        assert not tree.members(box.context.marker)

    asyncio.run(scenario())


def test_a_tool_that_a_server_does_not_have_is_an_error_beside_all_of_its_tools_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with serve_tools({"ex": ["nope", "*"]}, {"ex": EXAMPLE}, Box(tmp_path).context):
            pass

    with pytest.raises(ConfigError, match="has no tool 'nope'"):
        asyncio.run(scenario())


@pytest.mark.skipif(bool(unavailable()), reason="bwrap does not work here")
def test_a_server_runs_in_the_sandbox_of_its_nodes_tools(tmp_path: Path) -> None:
    work, outside, home = tmp_path / "work", tmp_path / "outside.txt", tmp_path / "work" / "home"
    home.mkdir(parents=True)
    outside.write_text("secret")
    inside = work / "inside.txt"
    box = Box(work, sandbox=Sandbox(mode="bwrap", write=(work,), read=(EXAMPLE_FILE.parent,)))

    async def seen(spec: ServerSpec, *files: Path) -> list[str]:
        async with serve_tools({"ex": ["look"]}, {"ex": spec}, box.context) as tools:
            calls = [perform(by_name(tools), "ex:look", {"path": str(file)}, box.context) for file in files]
            return [(await call).text for call in calls]

    assert asyncio.run(seen(EXAMPLE, inside, outside)) == ["hidden", "hidden"]
    assert inside.read_text() == "touched"
    assert outside.read_text() == "secret"
    own = specs_of({"ex": {"command": EXAMPLE.command, "args": [str(EXAMPLE_FILE)], "sandbox": False}}, "o.yaml")
    assert asyncio.run(seen(own["ex"], outside)) == ["secret"]
    theirs = specs_of({"ex": {"command": "x", "sandbox": False}}, ".mcp.json", repository=str(work))
    assert theirs["ex"].confined
    assert not tree.members(box.context.marker)


def test_a_server_that_cannot_start_is_an_error_with_what_it_wrote(tmp_path: Path) -> None:
    box = Box(tmp_path)

    async def scenario(spec: ServerSpec, wanted: str = "*") -> None:
        async with serve_tools({"ex": [wanted]}, {"ex": spec}, box.context):
            raise AssertionError("it started")

    broken = replace(EXAMPLE, arguments=(*EXAMPLE.arguments, "--broken"))
    with pytest.raises(ConfigError, match="this server cannot start"):
        asyncio.run(scenario(broken))
    with pytest.raises(ConfigError, match="cannot be started"):
        asyncio.run(scenario(replace(EXAMPLE, command="/no/such/program")))
    with pytest.raises(ConfigError, match="did not answer"):
        asyncio.run(scenario(ServerSpec(name="ex", command="sleep", arguments=("60",), timeout=0.5)))
    with pytest.raises(ConfigError, match="no tool 'fly'"):
        asyncio.run(scenario(EXAMPLE, "fly"))
    assert not tree.members(box.context.marker)


def test_a_server_is_reached_by_http_too(tmp_path: Path) -> None:
    box = Box(tmp_path)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [EXAMPLE.command, *EXAMPLE.arguments, "--http", str(port)], stderr=subprocess.DEVNULL, cwd=tmp_path
    )
    spec = ServerSpec(name="web", url=f"http://127.0.0.1:{port}/mcp", headers={"x-key": "1"}, timeout=20)
    try:

        async def scenario(tries: int) -> None:
            for _each in range(tries):
                with contextlib.suppress(OSError):
                    (await asyncio.open_connection("127.0.0.1", port))[1].close()
                    break
                await asyncio.sleep(0.1)
            async with serve_tools({"web": ["add"]}, {"web": spec}, box.context) as tools:
                assert (await perform(by_name(tools), "web:add", {"a": 2, "b": 3}, box.context)).text == "5"

        asyncio.run(scenario(100))
        server.kill()
        server.wait()
        with pytest.raises(ConfigError, match="cannot be started"):
            asyncio.run(scenario(1))
    finally:
        server.kill()
        server.wait()


def test_only_the_operators_settings_see_the_environment() -> None:
    servers = {"x": {"command": "run", "env": {"TOKEN": "${SECRET}"}}}
    environment = {"SECRET": "s3cret"}
    own = specs_of(servers, "orchestra.yaml", environment=environment)
    theirs = specs_of(servers, ".mcp.json", repository="/r", environment=environment)
    assert own["x"].environment["TOKEN"] == "s3cret"
    assert theirs["x"].environment["TOKEN"] == "${SECRET}"


def test_trust_holds_until_the_command_or_its_files_change(tmp_path: Path) -> None:
    repo, trust = tmp_path / "repo", Trust(tmp_path / "state")
    repo.mkdir()
    (repo / "server.py").write_text("print(1)")
    servers = {"mcpServers": {"x": {"command": "python3", "args": ["server.py"]}}}
    (repo / ".mcp.json").write_text(json.dumps(servers))
    assert repository_servers(repo)["x"].repository == str(repo)
    assert not trust.allows(repo, uses_of(repo)[0])
    trust.allow(repo, uses_of(repo))
    assert trust.allows(repo, uses_of(repo)[0])
    (repo / "server.py").write_text("print(2)")
    assert not trust.allows(repo, uses_of(repo)[0])
    trust.allow(repo, uses_of(repo))
    servers["mcpServers"]["x"]["args"].append("--more")
    (repo / ".mcp.json").write_text(json.dumps(servers))
    assert not trust.allows(repo, uses_of(repo)[0])
    assert trust.revoke(repo)
    assert (tmp_path / "state" / "trust.json").stat().st_mode & 0o077 == 0


def test_a_worktree_has_what_its_repository_was_allowed_as_long_as_it_is_the_same(tmp_path: Path) -> None:
    repo, tree, trust = tmp_path / "repo", tmp_path / "tree", Trust(tmp_path / "state")
    repo.mkdir()
    (repo / "server.py").write_text("print(1)")
    servers = {"mcpServers": {"x": {"command": "python3", "args": ["server.py"]}}}
    (repo / ".mcp.json").write_text(json.dumps(servers))
    repository(repo)
    subprocess.run(("git", "worktree", "add", "-q", str(tree)), cwd=repo, check=True, capture_output=True)
    assert not trust.allows(tree, uses_of(tree)[0])
    trust.allow(repo, uses_of(repo))
    assert trust.allows(tree, uses_of(tree)[0])
    (tree / "server.py").write_text("print(2)")
    assert not trust.allows(tree, uses_of(tree)[0])


def test_a_cli_agent_calls_the_tools_of_its_node_through_the_program(tmp_path: Path) -> None:
    from mcp import Client, StdioServerParameters, stdio_client

    box = Box(tmp_path, more=(reporting(["yes", "no"]),))
    toolset = Toolset(box.tools, wire_names(box.tools), box.context)
    ended: list[str] = []

    async def scenario() -> None:
        async def told(name: str, _arguments: object, _result: object) -> None:
            ended.append(name)

        async with open_tool_socket(toolset, told) as tool_socket:
            command, *arguments = tool_socket.command
            server = StdioServerParameters(
                command=command, args=arguments, env={"PATH": os.environ["PATH"], **tool_socket.environment}
            )
            async with Client(stdio_client(server)) as client:
                names = [one.name for one in (await client.list_tools()).tools]
                assert "report_outcome" in names
                assert "read-file" in names
                written = await client.call_tool("write-file", {"path": "a.txt", "content": "hello"})
                assert not written.is_error
                refused = await client.call_tool("read-file", {"path": "../x"})
                assert refused.is_error
                await client.call_tool("report_outcome", {"status": "success", "preferred_label": "yes"})
            stranger = await asyncio.open_unix_connection(str(tool_socket.socket))
            stranger[1].write(b'{"token":"guess"}\n{"do":"list"}\n')
            assert await stranger[0].read() == b""
            stranger[1].close()
        assert not tool_socket.socket.exists()

    asyncio.run(scenario())
    assert (tmp_path / "a.txt").read_text() == "hello"
    assert ended == ["write-file", "read-file", "report_outcome"]
    assert box.context.tracker.take() == ("a.txt",)
