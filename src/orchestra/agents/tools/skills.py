"""Skills: folders with a ``SKILL.md``, offered by name and description, read on request."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestra.agents.tools import FunctionTool, ToolContext, ToolError, ToolResult
from orchestra.agents.tools.files import read_file_in
from orchestra.agents.tools.schemas import schema, string, text
from orchestra.errors import ConfigError
from orchestra.run.outcome import Json

FILE = "SKILL.md"
REPOSITORY_FOLDER = ".agents/skills"
NAME = "read-skill"
_LONGEST = 256 * 1024
_FRONT = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Skill:
    """A skill: its name, what it is for, its folder."""

    name: str
    description: str
    folder: Path


def skills_in(folders: Iterable[Path]) -> list[Skill]:
    """The skills of folders: each is one itself, or holds some. Raises ``ConfigError`` for one without a
    description."""
    found: dict[str, Skill] = {}
    for folder in folders:
        if (folder / FILE).is_file():
            places = [folder]
        elif folder.is_dir():
            places = sorted(one.parent for one in folder.glob(f"*/{FILE}"))
        else:
            raise ConfigError(f"skills: {folder} is not a folder")
        for place in places:
            skill = _skill(place)
            found.setdefault(skill.name, skill)
    return list(found.values())


def _skill(folder: Path) -> Skill:
    from yaml import YAMLError, safe_load

    file = folder / FILE
    try:
        front = _FRONT.match(file.read_text(encoding="utf-8"))
        said = safe_load(front[1]) if front else None
    except (OSError, UnicodeDecodeError, YAMLError) as error:
        raise ConfigError(f"{file} cannot be read: {error}".partition("\n")[0]) from error
    if not isinstance(said, Mapping) or not isinstance(said.get("description"), str):
        raise ConfigError(f"{file} has no description", fix="begin it with --- name: … description: … ---")
    return Skill(str(said.get("name") or folder.name), " ".join(said["description"].split()), folder)


def skill_tool(skills: Sequence[Skill]) -> FunctionTool:
    """Return the tool that reads a skill or a file of its folder; its description lists all skills."""
    by_name = {skill.name: skill for skill in skills}

    async def call(arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
        name = string(arguments, "name")
        skill = by_name.get(name)
        if skill is None:
            raise ToolError(f"unknown skill {name!r}; known: {', '.join(by_name)}")
        return ToolResult(text=await asyncio.to_thread(read_file_in, skill.folder, string(arguments, "file", FILE)))

    listed = "\n".join(f"- {skill.name}: {skill.description}" for skill in skills)
    return FunctionTool(
        name=NAME,
        description=f"Read the instructions of a skill before a task that it is for. The skills:\n{listed}",
        parameters=schema(
            "name",
            name=text("The skill's name.", enum=list(by_name)),
            file=text(f"A file in the skill's folder; {FILE} without it."),
        ),
        function=call,
        read_only=True,
        origin="skills",
    )
