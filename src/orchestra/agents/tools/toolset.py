"""The tools of one attempt: chosen, with servers started, and processes ended at its end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestra.agents.tools import Hooks, Tool, ToolContext, ToolResult
from orchestra.agents.tools.calls import perform
from orchestra.agents.tools.hooks import hook_commands
from orchestra.agents.tools.mcp_client import repository_servers, serve_tools
from orchestra.agents.tools.output import output_tool
from orchestra.agents.tools.reporting import report_tool
from orchestra.agents.tools.selection import Inventory, ToolSelection, by_name, choose, inventory, wire_names
from orchestra.agents.tools.settings import ServerSpec, ToolSettings
from orchestra.agents.tools.skills import REPOSITORY_FOLDER, Skill, skill_tool, skills_in
from orchestra.agents.tools.tracking import WriteTracker
from orchestra.agents.tools.trust import Trust, uses_of
from orchestra.errors import ConfigError
from orchestra.graph.model import Graph, Node
from orchestra.ports import Scope
from orchestra.processes import tree
from orchestra.processes.sandbox import policy
from orchestra.run.events import ToolOutput, WarningRaised
from orchestra.run.outcome import Json
from orchestra.run.secrets import Redactor


@dataclass(frozen=True, slots=True)
class Toolset:
    """What a backend offers to its model. ``wire`` are the names that every provider accepts, to ours."""

    tools: Mapping[str, Tool]
    wire: Mapping[str, str]
    context: ToolContext

    async def call(self, name: str, arguments: Mapping[str, Json], part: str = "") -> ToolResult:
        """Call a tool by its name, or by the name that a provider knows it by. Never raises for what a tool
        does; ``part`` names the call in a question."""
        return await perform(self.tools, self.wire.get(name, name), arguments, replace(self.context, part=part))

    def read_only(self, name: str) -> bool:
        """Whether a tool changes nothing, so that it may run in parallel and again (A9)."""
        tool = self.tools.get(self.wire.get(name, name))
        return tool is not None and tool.read_only


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolbox:
    """Makes the tools of nodes. ``environment`` holds no provider's key; ``more`` are tools of installed
    packages."""

    settings: ToolSettings
    environment: Mapping[str, str]
    redactor: Redactor = field(default_factory=lambda: Redactor({}))
    more: Sequence[Tool] = ()

    def choose(self, folders: Mapping[str, Path], wanted: Sequence[str]) -> tuple[dict[str, Tool], ToolSelection]:
        """Every known tool, and what an agent has by its list. Raises ``ConfigError`` for a name that is
        unknown."""
        stock = self.stock(folders)
        found = choose(stock, wanted)
        for name, hint in found.unknown.items():
            raise ConfigError(f"unknown tool {name!r}", fix=hint)
        return dict(stock.tools), found

    def stock(self, folders: Mapping[str, Path]) -> Inventory:
        """Every tool that can be named for these repositories. Raises ``ConfigError``."""
        servers, _refused = self.servers(folders.values())
        return inventory(replace(self.settings, servers=servers), folders, self.more)

    def servers(self, folders: Iterable[Path]) -> tuple[dict[str, ServerSpec], list[str]]:
        """Return the servers that may start: the operator's and trusted ones; and the untrusted ones."""
        found = dict(self.settings.servers)
        refused: list[str] = []
        trust = Trust(self.settings.state)
        for folder in folders:
            own = repository_servers(folder)
            for wanted in uses_of(folder) if own else ():
                name = wanted.key.removeprefix("mcp:")
                if name not in own or name in self.settings.servers:
                    continue
                if trust.allows(folder, wanted):
                    found[name] = own[name]
                else:
                    refused.append(f"the MCP server {name!r} of {folder} is not trusted: orchestra trust {folder}")
        return found, refused

    def skills(self, folders: Mapping[str, Path]) -> tuple[list[Skill], list[str]]:
        """The skills that may be read, and what is not used because it was not trusted."""
        places, refused = list(self.settings.skills), []
        trust = Trust(self.settings.state)
        for folder in folders.values():
            own = folder / REPOSITORY_FOLDER
            if not own.is_dir():
                continue
            wanted = next(one for one in uses_of(folder) if one.key == "skills")
            if trust.allows(folder, wanted):
                places.append(own)
            else:
                refused.append(f"the skills in {own} are not trusted: orchestra trust {folder}")
        return skills_in(places), refused

    def _context(self, node: Node, graph: Graph, scope: Scope, folders: Mapping[str, Path]) -> ToolContext:
        pre, post = hook_commands(graph, node)
        return ToolContext(
            node=node.id,
            scope=scope,
            folders=folders,
            environment=self.environment,
            redactor=self.redactor,
            tracker=WriteTracker(folders, self.settings.store),
            session=scope.session,
            sandbox=policy(
                self.settings.sandbox, self.settings.network, list(folders.values()), self.settings.readable
            ),
            hooks=Hooks(pre=pre, post=post, timeout=self.settings.hook_timeout),
            cut=self.settings.cut,
            seconds=self.settings.seconds,
            show=lambda tool, text: scope.show(ToolOutput(node=node.id, stream=tool, text=text)),
        )

    @asynccontextmanager
    async def open(
        self,
        *,
        node: Node,
        graph: Graph,
        scope: Scope,
        folders: Mapping[str, Path],
        wanted: Sequence[str] = (),
        own: Sequence[Tool] = (),
        only_skills: Sequence[str] | None = None,
    ) -> AsyncIterator[Toolset]:
        """The tools of an attempt, while it lasts; nothing that they started runs afterwards.

        ``wanted`` is the list of the agent and the node; ``own`` are tools that belong to the node (``ask-human``);
        ``only_skills`` are the skills that the agent has, None for all. Raises ``ConfigError`` for an unknown
        tool, or a server that cannot be started.
        """
        stock, found = self.choose(folders, wanted)
        servers, refused = self.servers(folders.values())
        skills, refused_skills = self.skills(folders)
        if only_skills is not None:
            skills = [skill for skill in skills if skill.name in only_skills]
        for message in (*refused, *refused_skills):
            scope.record(WarningRaised(message=message, rule="not_trusted", node=node.id))
        context = self._context(node, graph, scope, folders)
        tools = [stock[name] for name in found.tools]
        tools += [skill_tool(skills)] if skills else []
        tools += [*own, output_tool(), report_tool(graph, node.id)]
        try:
            async with serve_tools(found.servers, servers, context) as more:
                named = by_name([*tools, *more])
                yield Toolset(named, wire_names(named), context)
        finally:
            if context.recorded or found.servers:
                await tree.end(context.marker)
