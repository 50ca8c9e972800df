"""The whole of ``orchestra.yaml`` as typed, frozen values (configuration.md).

``orchestra.config.reading`` reads a document into a ``Config``. Lengths of time are in seconds, money in US
dollars, paths as they are written (relative to the file). ``None`` means not set.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestra.config.providers import ALIASES, KINDS, Provider, Providers, providers
from orchestra.config.schema import (
    WRONG,
    MapOf,
    Section,
    SettingPlace,
    argument,
    bound,
    choice,
    flag,
    key,
    length,
    list_of,
    number,
    one_or_many,
    text,
    whole,
    word,
)

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")
"""The values of ``reasoning_effort`` (language.md#model-stylesheet)."""

BUILT_IN_TOOLS = (
    "read-file",
    "write-file",
    "edit-file",
    "list-files",
    "search-code",
    "shell",
    "report_outcome",
    "ask-human",
)
"""Tools that need no command; their entry under ``tools`` sets their timeout, output and approval."""

BACKENDS = ("simulation", "direct", "langgraph", "cli", "cli_agent")
"""The backends of our own (A7)."""

BACKEND_GROUP = "orchestra.backends"
"""The entry points by which installed packages offer more (A16)."""

CLI_PRESETS = ("claude", "codex", "gemini")
"""Command-line agents that are known by name (A6)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceSetting:
    """A model's price in dollars per million tokens (A14)."""

    input: float = key(number(), "dollars per million input tokens", default=0.0, required=True)
    output: float = key(number(), "dollars per million output tokens", default=0.0, required=True)
    cache_read: float | None = key(number(), "dollars per million tokens read from the cache", default=None)
    cache_write: float | None = key(number(), "dollars per million tokens written to the cache", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What may be used; None is no bound (A5)."""

    turns: int | None = key(whole(1), "turns of the agent", default=None)
    tool_calls: int | None = key(whole(1), "tool calls", default=None)
    tokens: int | None = key(whole(1), "tokens, in and out", default=None)
    cost: float | None = key(bound(number()), "dollars", default=None)
    time: float | None = key(bound(length), "wall time, as in 30m", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit(Bounds):
    """Hard bounds; ``soft`` are those at which the agent is warned."""

    soft: Bounds = key(Section(Bounds), "bounds that cause a warning", factory=Bounds)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunLimit(Limit):
    """Bounds of a whole run, its children included."""

    parallel: int = key(whole(1, 1000), "nodes that do work at the same time", default=16)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """Bounds per run and per visit of a node."""

    run: RunLimit = key(Section(RunLimit), "bounds of a whole run", factory=RunLimit)
    node: Limit = key(Section(Limit), "bounds of each visit of a node", factory=Limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """When a tool call needs a person's approval (H11).

    ``rule`` is ``always``, ``never``, ``patterns`` or empty for not set; ``tools`` holds an agent's rules by tool.
    """

    rule: str = ""
    patterns: tuple[str, ...] = ()
    tools: Mapping[str, Approval] | None = None


def approval(value: Any, place: SettingPlace) -> Approval:
    """``always``, ``never``, a list of patterns, or rules by tool."""
    if isinstance(value, list):
        return Approval(rule="patterns", patterns=list_of(word)(value, place))
    if isinstance(value, dict):
        return Approval(rule="patterns", tools=MapOf(approval)(value, place))
    found = choice("always", "never")(value, place)
    return Approval() if found is WRONG else Approval(rule=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Agent:
    """An agent that nodes name with ``agent="NAME"``."""

    name: str = ""
    role: str = key(word, "role file or its text's name (A20)", default="")
    persona: str = key(word, "persona file", default="")
    personality: str = key(word, "personality file", default="")
    task: str = key(word, "task file, a template", default="")
    tools: tuple[str, ...] | None = key(list_of(word), "tools by name; `+name` adds to the base set", default=None)
    model: str = key(word, "model, or an alias of its provider's `models`", default="")
    provider: str = key(word, "provider by its name here", default="")
    backend: str = key(word, "backend", default="")
    cli: str = key(word, "command-line agent, for the backend cli", default="")
    reasoning_effort: str = key(choice(*EFFORTS), "reasoning effort", default="")
    max_tokens: int | None = key(whole(1), "maximum tokens of one answer", default=None)
    temperature: float | None = key(number(0, 2), "sampling temperature", default=None)
    max_turns: int | None = key(whole(1), "turns per visit of a node", default=None)
    mode: str = key(choice("autonomous", "interactive"), "interactive: a person talks with it", default="")
    project_docs: bool = key(flag, "whether AGENTS.md is part of the system message (A24)", default=True)
    approve: Approval = key(
        approval, "which tool calls need approval: always, never, or patterns", factory=Approval
    )
    mcp: tuple[str, ...] | None = key(list_of(word), "MCP servers by name, all of whose tools it has", default=None)
    skills: tuple[str, ...] | None = key(list_of(word), "skills by name; all where it is not set", default=None)
    fallbacks: tuple[str, ...] = key(list_of(word), "provider:model to use when this one fails (A15)", default=())
    limits: Limit = key(Section(Limit), "bounds of each visit of a node", factory=Limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolEntry:
    """A shell tool (A34), or the settings of a built-in one. ``args`` are JSON Schemas by name."""

    name: str = ""
    command: str = key(word, "shell command; arguments as {{ name }}", default="")
    description: str = key(text, "what it does, for the model", default="")
    args: Mapping[str, Mapping[str, Any]] = key(MapOf(argument), "arguments, each a JSON Schema", factory=dict)
    timeout: float | None = key(bound(length), "how long a call may take", default=None)
    approve: Approval = key(approval, "which calls need a person's approval", factory=Approval)
    read_only: bool = key(flag, "whether it changes nothing, so that it may be run again", default=False)
    idempotent: bool = key(flag, "whether it is safe to run again", default=False)
    output_limit: int | None = key(whole(100), "characters of the output that the model gets (A32)", default=None)
    repo: str = key(word, "repository that it works in", default="")


def strings(value: Any, place: SettingPlace) -> dict[str, str]:
    """Names with texts; numbers and booleans are written as texts."""
    found = MapOf(_stringlike)(value, place)
    return dict(found)


def _stringlike(value: Any, place: SettingPlace) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, int | float) else text(value, place)


def environment(value: Any, place: SettingPlace) -> dict[str, str | None]:
    """Variables with their values, or a list of names that are passed on (None)."""
    if isinstance(value, list):
        return dict.fromkeys(list_of(word)(value, place))
    return dict(strings(value, place))


@dataclass(frozen=True, slots=True, kw_only=True)
class McpServer:
    """An MCP server, in the form of ``.mcp.json``: a command, or a URL."""

    name: str = ""
    type: str = key(choice("stdio", "http", "streamable-http"), "how it is reached", default="")
    command: str = key(word, "program that speaks MCP on its standard streams", default="")
    args: tuple[str, ...] = key(list_of(text), "its arguments", default=())
    env: Mapping[str, str] = key(strings, "its environment; ${NAME} is a variable's value", factory=dict)
    cwd: str = key(word, "its working directory", default="")
    url: str = key(word, "address of a server that speaks HTTP", default="")
    headers: Mapping[str, str] = key(strings, "HTTP headers; ${NAME} is a variable's value", factory=dict)
    timeout: float | None = key(bound(length), "how long a call may take", default=None)
    approve: Approval = key(approval, "which calls need a person's approval", factory=Approval)
    tools: tuple[str, ...] | None = key(list_of(word), "the tools to offer; all where it is not set", default=None)
    sandbox: bool = key(flag, "whether its program runs in the sandbox, where there is one", default=True)
    disabled: bool = key(flag, "disable the server", default=False)


def mcp_servers(value: Any, place: SettingPlace) -> dict[str, McpServer]:
    """Servers by name, also below ``mcpServers`` as in ``.mcp.json``."""
    if isinstance(value, dict) and list(value) == ["mcpServers"]:
        value, place = value["mcpServers"], place.at("mcpServers")
    found = MapOf(Section(McpServer, named=True))(value, place)
    for name, server in found.items():
        if not server.command and not server.url:
            place.at(name).key_fault("has neither command nor url", "add `command: PROGRAM` or `url: http://…`")
        if server.command and server.url:
            place.at(name, "url").key_fault("command is also set", "remove one of them")
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CliAgent:
    """A command-line agent for the backend ``cli`` (A6). ``env`` has None where a variable is passed on."""

    name: str = ""
    preset: str = key(choice(*CLI_PRESETS), "the defaults to use: claude, codex or gemini", default="")
    command: str = key(word, "program", default="")
    args: tuple[str, ...] | None = key(list_of(text), "its arguments", default=None)
    env: Mapping[str, str | None] = key(environment, "names to pass on, or names with values", factory=dict)
    input: str = key(choice("stdin", "arg"), "how it receives the prompt", default="")
    events: str = key(
        choice("claude-stream-json", "codex-json", "gemini-stream-json", "none"),
        "what it writes on its output",
        default="",
    )
    model_arg: str = key(word, "option that names the model, such as --model", default="")


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompts:
    """Where layer files are looked for (A23)."""

    paths: tuple[str, ...] = key(list_of(word), "folders, relative to this file", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Cxdb:
    """Where runs are kept (S1)."""

    path: str | None = key(text, "folder of the embedded store, relative to this file; or 'memory'", default=None)
    url: str | None = key(text, "a CXDB server instead of a folder, by its HTTP address", default=None)
    mirror: str | None = key(text, "a CXDB server that gets a copy of what the folder holds", default=None)
    address: str | None = key(text, "the server's binary protocol's address: host:9009", default=None)
    patience: float | None = key(length, "how long to wait for a lost server", default=None)
    token_file: str | None = key(text, "a file that holds the server's token", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class RepoSection:
    """A git repository that runs work on (workspace.md)."""

    name: str = ""
    path: str = key(word, "folder, relative to this file", default="", required=True)
    branch_prefix: str = key(text, "prefix of session branches", default="orchestra/")
    remote: str = key(word, "address to clone from and push to", default="")
    push: str = key(choice("never", "on_completion", "on_checkpoint"), "when branches are pushed", default="")
    clone_depth: int | None = key(whole(0), "commits that a clone has; 0 is all", default=None)
    in_place: bool = key(flag, "work in the checkout itself instead of a worktree", default=False)
    setup: str = key(word, "command that prepares a new worktree", default="")
    setup_key: tuple[str, ...] = key(list_of(word), "files that `setup` depends on", default=())
    copy: tuple[str, ...] = key(list_of(word), "ignored files to copy from the checkout", default=())
    link: tuple[str, ...] = key(list_of(word), "ignored folders to link from the checkout", default=())
    filters: tuple[str, ...] = key(list_of(word), "git filters and merge drivers that may be run", default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceSection:
    """The repositories under a run, or the folder in which it works."""

    folder: str = key(
        word, "where commands and agents work, without repositories (default: the pipeline's folder)", default=""
    )
    repos: Mapping[str, RepoSection] = key(
        MapOf(Section(RepoSection, named=True)), "repositories by name", factory=dict
    )
    tools: Mapping[str, Mapping[str, ToolEntry]] = key(
        MapOf(MapOf(Section(ToolEntry, named=True))), "shell tools by repository", factory=dict
    )
    commit_messages: str = key(
        choice("template", "auto"), "how they are written; auto asks the `cheap` model", default="template"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Humans:
    """How people are asked (humans.md)."""

    interviewer: str = key(
        choice("console", "auto-approve", "mailbox"), "who answers: console, auto-approve or mailbox", default=""
    )
    notify: str = key(word, "command that gets each question as JSON", default="")
    timeout: float | None = key(
        bound(length), "how long a person has for a question that sets no time itself", default=None
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class SandboxSetting:
    """What commands may touch (A36)."""

    mode: str = key(choice("none", "bwrap", "auto"), "none, bwrap, or auto: where it works", default="none")
    network: str = key(choice("none", "full"), "what commands reach", default="none")
    read: tuple[str, ...] = key(list_of(word), "folders that commands may read though they are hidden", default=())


def sandbox(value: Any, place: SettingPlace) -> SandboxSetting:
    """A mode alone, or ``mode`` and ``network``."""
    if isinstance(value, dict) or value is None:
        return Section(SandboxSetting)(value, place)
    if value in (True, "on", "yes"):
        place.fault(
            f"expected none, bwrap or auto, not {value!r}", "write `sandbox: auto` to use bwrap where it works"
        )
        return SandboxSetting()
    found = choice("none", "bwrap", "auto")(value, place)
    return SandboxSetting() if found is WRONG else SandboxSetting(mode=found)


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """What is never recorded."""

    names: tuple[str, ...] = key(list_of(word), "names of environment variables", default=())
    allow: tuple[str, ...] = key(
        list_of(word), "variables that are recorded although their names look like secrets", default=()
    )
    ignore: tuple[str, ...] = key(
        list_of(word), "texts, or names of key formats such as openai-key, that are no secrets", default=()
    )


def secrets(value: Any, place: SettingPlace) -> Secrets:
    """A list of variables' names, or the same below ``names``."""
    if isinstance(value, list):
        return Secrets(names=list_of(word)(value, place))
    return Section(Secrets)(value, place)


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineSection:
    """Settings of one pipeline, by its file's name."""

    name: str = ""
    backend: str = key(word, "backend of its nodes", default="")
    limits: LimitSettings = key(
        Section(LimitSettings), "its bounds, instead of the general ones", factory=LimitSettings
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """All settings. ``agent``, ``provider`` and the like look one up by its name."""

    backend: str = key(
        word, "backend of codergen nodes: simulation, direct, langgraph or cli", default="simulation"
    )
    providers: Providers = key(providers, "model providers, and which is the default", factory=Providers)
    prices: Mapping[str, PriceSetting] = key(
        MapOf(Section(PriceSetting)), "prices by model or provider:model", factory=dict
    )
    limits: LimitSettings = key(Section(LimitSettings), "bounds of runs and nodes", factory=LimitSettings)
    agents: Mapping[str, Agent] = key(MapOf(Section(Agent, named=True)), "agents by name", factory=dict)
    tools: Mapping[str, ToolEntry] = key(MapOf(Section(ToolEntry, named=True)), "tools by name", factory=dict)
    tools_module: tuple[str, ...] = key(one_or_many(word), "Python modules or files that define tools", default=())
    mcp: Mapping[str, McpServer] = key(mcp_servers, "MCP servers by name", factory=dict)
    cli: Mapping[str, CliAgent] = key(
        MapOf(Section(CliAgent, named=True)), "command-line agents by name", factory=dict
    )
    prompts: Prompts = key(Section(Prompts), "where layer files are", factory=Prompts)
    cxdb: Cxdb = key(Section(Cxdb), "where runs are recorded", factory=Cxdb)
    workspace: WorkspaceSection = key(
        Section(WorkspaceSection), "repositories that runs work on", factory=WorkspaceSection
    )
    humans: Humans = key(Section(Humans), "how people are asked", factory=Humans)
    sandbox: SandboxSetting = key(sandbox, "what commands may touch", factory=SandboxSetting)
    skills: tuple[str, ...] = key(list_of(word), "folders of skills, relative to this file", default=())
    secrets: Secrets = key(secrets, "environment variables that are never recorded", factory=Secrets)
    pipelines: Mapping[str, PipelineSection] = key(
        MapOf(Section(PipelineSection, named=True)), "settings of one pipeline by its file's name", factory=dict
    )

    def provider(self, name: str) -> Provider | None:
        """The provider by that name: configured, or a kind that needs no configuration; None for another name."""
        found = self.providers.named.get(name)
        name = ALIASES.get(name, name) if found is None else name
        found = found or self.providers.named.get(name)
        return found or (Provider(name=name, kind=name) if name in KINDS else None)
