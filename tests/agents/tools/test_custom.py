from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Literal

import pytest
from pydantic import BaseModel, Field
from toolbox import Box

from orchestra.agents.tools import ToolContext
from orchestra.agents.tools.configured import make_tool
from orchestra.agents.tools.custom import modifies_files, tool
from orchestra.agents.tools.selection import choose, inventory, wire_names
from orchestra.agents.tools.settings import ServerSpec, ShellToolSpec, ToolSettings
from orchestra.config.settings import settle
from orchestra.errors import ConfigError


class Level(Enum):
    LOW = "low"
    HIGH = "high"


class Point(BaseModel):
    x: int = Field(description="Across.")
    y: int = 0


@tool("say-hello")
def say_hello(name: str, times: int = 1, level: Level = Level.LOW, mode: Literal["a", "b"] = "a") -> str:
    """Greet somebody.

    Args:
        name: Who is greeted.
        times: How often, which may be
            more than once.
    """
    return f"hello {name} " * times + level.value + mode


@tool()
async def place_point(point: Point, context: ToolContext) -> dict[str, int]:
    """Place a point.

    :param point: Where.
    """
    await asyncio.sleep(0)
    return {"sum": point.x + point.y, "folders": len(context.folders)}


@tool("generate")
@modifies_files
def generate(name: str, context: ToolContext) -> list[str]:
    (context.folder("") / name).write_text("made")
    return [name]


@tool("explode", read_only=True)
def explode() -> None:
    raise ValueError("boom")


@tool("forever", timeout=0.2)
def forever() -> None:
    import time

    time.sleep(3600)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box(tmp_path, more=(say_hello, place_point, generate, explode, forever))


def test_the_schema_comes_from_type_hints_and_docstring() -> None:
    properties = say_hello.parameters["properties"]
    assert say_hello.description == "Greet somebody."
    assert properties["name"] == {"type": "string", "description": "Who is greeted."}
    assert properties["times"]["description"] == "How often, which may be more than once."
    assert properties["mode"]["enum"] == ["a", "b"]
    assert say_hello.parameters["required"] == ["name"]
    assert place_point.name == "place-point"
    assert list(place_point.parameters["properties"]) == ["point"]
    assert explode.read_only


def test_a_decorated_function_is_still_a_function() -> None:
    assert say_hello("Ann") == "hello Ann lowa"


def test_functions_are_called_with_values_of_their_own_types(box: Box) -> None:
    assert box.run("say-hello", name="Ann", level="high").text == "hello Ann higha"
    assert box.run("place-point", point={"x": 3, "y": 4}).text == '{\n  "sum": 7,\n  "folders": 1\n}'
    assert box.run("say-hello", name=3).is_error
    assert box.run("say-hello", name="Ann", nobody=3).is_error


def test_the_paths_that_a_function_returns_are_tracked(box: Box) -> None:
    assert box.run("generate", name="x.txt").files_written == ("x.txt",)
    assert box.context.tracker.take() == ("x.txt",)


def test_an_exception_of_a_tool_is_an_error_for_the_agent(box: Box) -> None:
    result = box.run("explode")
    assert result.is_error
    assert "ValueError: boom" in result.text


def test_a_function_that_never_ends_is_left_behind(box: Box) -> None:
    assert "more than 0.2 seconds" in box.run("forever").text


def test_a_function_that_no_schema_can_describe_is_refused() -> None:
    with pytest.raises(ConfigError):
        tool("bad")(lambda *everything: None)


SHELL = ShellToolSpec(
    name="run-tests",
    command="printf '<%s>' {{ path }} \"{{ path }}\" '{{ flags }}'; echo x > out",
    arguments={"path": {"type": "string"}, "flags": {"type": "string", "default": "-v"}},
)


@pytest.mark.parametrize(
    "nasty",
    ["a b", "$(touch hacked)", "`touch hacked`", "; touch hacked", "'; touch hacked; '", '"$HOME"', "-rf\n*", ""],
)
def test_arguments_of_shell_tools_are_data(tmp_path: Path, nasty: str) -> None:
    box = Box(tmp_path, more=(make_tool(SHELL, "", ""),))
    result = box.run("run-tests", path=nasty, flags="x")
    assert result.text == f"<{nasty}><{nasty}><x>"
    assert result.files_written == ("out",)
    assert box.run("run-tests", path=nasty).text.endswith("<-v>")
    assert not (tmp_path / "hacked").exists()
    assert box.run("run-tests").is_error


def test_a_command_that_would_run_its_argument_is_refused() -> None:
    for command in ("sh -c {{ path }}", "eval {{ path }}", "echo {{ path | raw }}"):
        with pytest.raises(ConfigError):
            make_tool(ShellToolSpec(name="x", command=command, arguments={"path": {}}), "", "")


def test_an_agent_without_a_list_has_the_base_set() -> None:
    stock = inventory(ToolSettings(shell_tools=(SHELL,)), [""])
    assert choose(stock, ()).tools == (
        "read-file",
        "write-file",
        "edit-file",
        "list-files",
        "search-code",
        "shell",
    )


def test_a_list_restricts_and_a_plus_adds() -> None:
    settings = ToolSettings(shell_tools=(SHELL,), servers={"db": ServerSpec(name="db", command="x")})
    stock = inventory(settings, ["backend"])
    assert choose(stock, ["read-file", "backend:run-tests"]).tools == ("read-file", "run-tests")
    added = choose(stock, ["+run-tests", "+db:query"])
    assert len(added.tools) == 7
    assert added.servers == {"db": ("query",)}
    assert choose(stock, ["db:*"]).tools == ()
    only = replace(stock, servers={"db": ServerSpec(name="db", offered=("query",))})
    assert choose(only, ["db:drop", "db:query", "db:*"]).unknown == {"db:drop": "mcp.db.tools has: query"}


def test_an_unknown_tool_is_named_with_what_may_be_meant() -> None:
    found = choose(inventory(ToolSettings(), [""]), ["read_file", "report_outcome", "teleport"])
    assert found.unknown["read_file"] == "did you mean 'read-file'?"
    assert "known" in found.unknown["teleport"]
    assert "report_outcome" not in found.unknown


def test_with_several_repositories_a_plain_name_means_each() -> None:
    stock = inventory(ToolSettings(shell_tools=(SHELL,)), ["a", "b"])
    assert choose(stock, ["run-tests", "a:shell"]).tools == ("a:run-tests", "b:run-tests", "a:shell")


def test_tools_come_from_a_module_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "my_tools.py").write_text(
        "from orchestra.agents.tools.custom import tool\n@tool('fly')\ndef fly(to: str) -> str:\n"
        "    'Fly.'\n    return to\n"
    )
    stock = inventory(ToolSettings(base=tmp_path, modules=("my_tools.py",)), [""])
    assert stock.tools["fly"].description == "Fly."
    with pytest.raises(ConfigError, match="nothing_here"):
        inventory(ToolSettings(base=tmp_path, modules=("nothing_here.py",)), [""])


def test_every_name_reaches_providers_in_a_form_they_take() -> None:
    wire = wire_names(["backend:read-file", "backend__read-file", "x" * 80, "9 lives", "ünder"])
    assert all(len(name) <= 64 and name.isascii() for name in wire)
    assert list(wire.values()) == ["backend:read-file", "backend__read-file", "x" * 80, "9 lives", "ünder"]
    assert "backend__read-file" in wire


def test_the_function_in_the_documents_is_the_example() -> None:
    root = Path(__file__).resolve().parents[3]
    assert (root / "examples" / "fix-test" / "my_tools.py").read_text() in (root / "docs" / "tools.md").read_text()


def test_the_settings_in_the_documents_can_be_read(tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    blocks = re.findall(r"^```yaml\n(.*?)^```", (root / "docs" / "tools.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        (tmp_path / "orchestra.yaml").write_text(block)
        settle(folders=(tmp_path,), environment={"HOME": str(tmp_path)})
