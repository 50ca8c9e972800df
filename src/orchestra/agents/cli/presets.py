"""The command-line agents that are known by name, and what the settings say of one (A6)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path

from orchestra.agents.cli.asking import PATIENCE, hook_options
from orchestra.agents.tools.tool_socket import NAME, ToolSocket

PROMPT = "{prompt}"
"""Placeholder for the prompt in ``args``; without it the prompt is the last argument."""

SESSION = "{session}"
"""Placeholder for the session's id in ``resume``."""

STARTING = 60
"""Seconds within which the server of the node's tools has to be connected; the program waits for it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cli:
    """How a command-line agent is run.

    ``args`` follow the command; ``resume`` stand for them where a session is continued. ``free`` are added where no
    call of its tools is asked for, ``asks`` is how it asks where they are: ``claude``, ``codex`` or not at all.
    ``open`` are added where
    Orchestra's own sandbox confines the program, whose own would not work in it. ``input`` is ``stdin`` or ``arg``;
    ``events`` says what it writes. ``keys`` are the variables of its own provider, ``env`` more of them, None for
    the value that Orchestra has itself. ``homes`` are its own folders below the home folder. ``mcp`` is how it is
    told of the node's own tools: ``claude``, ``codex`` or not at all.
    """

    name: str
    command: str
    args: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    free: tuple[str, ...] = ()
    asks: str = ""
    confined: tuple[str, ...] = ()
    open: tuple[str, ...] = ()
    input: str = "stdin"
    events: str = "none"
    model_arg: str = ""
    effort_arg: tuple[str, ...] = ()
    system_arg: str = ""
    folder_arg: str = ""
    provider: str = ""
    keys: tuple[str, ...] = ()
    settings: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str | None] = field(default_factory=dict)
    homes: tuple[str, ...] = ()
    mcp: str = ""
    install: str = ""


PRESETS: Mapping[str, Cli] = {
    "claude": Cli(
        name="claude",
        command="claude",
        args=("-p", "--output-format", "stream-json", "--verbose"),
        free=("--permission-mode", "acceptEdits", "--allowedTools", "Bash,Edit,Write,Read,Glob,Grep"),
        asks="claude",
        resume=("--resume", SESSION),
        events="claude-stream-json",
        model_arg="--model",
        effort_arg=("--effort", "{effort}"),
        system_arg="--append-system-prompt",
        folder_arg="--add-dir",
        provider="anthropic",
        keys=("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
        settings={
            "DISABLE_AUTOUPDATER": "1",
            "MCP_CONNECTION_NONBLOCKING": "0",
            "MCP_TIMEOUT": str(STARTING * 1000),
            "MCP_CONNECT_TIMEOUT_MS": str(STARTING * 1000),
            "MCP_TOOL_TIMEOUT": str(PATIENCE * 1000),
            "CLAUDE_CODE_MCP_TOOL_IDLE_TIMEOUT": str(PATIENCE * 1000),
        },
        homes=(".claude",),
        mcp="claude",
        install="npm install -g @anthropic-ai/claude-code",
    ),
    "codex": Cli(
        name="codex",
        command="codex",
        args=("exec", "--json", "--skip-git-repo-check", "-"),
        asks="codex",
        resume=("exec", "resume", SESSION, "--json", "--skip-git-repo-check", "-"),
        confined=("-c", 'sandbox_mode="workspace-write"'),
        open=("--dangerously-bypass-approvals-and-sandbox",),
        events="codex-json",
        model_arg="-m",
        effort_arg=("-c", 'model_reasoning_effort="{effort}"'),
        provider="openai",
        keys=("OPENAI_API_KEY", "CODEX_API_KEY"),
        homes=(".codex",),
        mcp="codex",
        install="npm install -g @openai/codex",
    ),
    "gemini": Cli(
        name="gemini",
        command="gemini",
        args=("--output-format", "stream-json", "--yolo"),
        resume=("--resume", SESSION),
        events="gemini-stream-json",
        model_arg="-m",
        folder_arg="--include-directories",
        provider="google",
        keys=("GEMINI_API_KEY", "GOOGLE_API_KEY"),
        settings={"GEMINI_CLI_TRUST_WORKSPACE": "true"},
        homes=(".gemini",),
        install="npm install -g @google/gemini-cli",
    ),
}
"""Whose options were tried with claude 2.1.197, codex 0.171.0 and gemini 0.61.0."""

KEYS = frozenset(key for preset in PRESETS.values() for key in preset.keys)
"""Every variable that holds a key of one of them: no other program gets it."""


def from_preset(
    name: str,
    *,
    preset: str = "",
    command: str = "",
    args: tuple[str, ...] | None = None,
    env: Mapping[str, str | None] | None = None,
    input: str = "",  # noqa: A002  as the settings call it
    events: str = "",
    model_arg: str = "",
) -> Cli:
    """A command-line agent from its settings; what they leave open is its preset's."""
    base = PRESETS.get(preset or name) or Cli(name=name, command=command)
    changes: dict[str, object] = {"name": name, "env": {**base.env, **(env or {})}}
    if args is not None:
        changes |= {"args": args, "free": (), "confined": (), "open": ()}
        if base.resume[:1] == ("exec",) and args[:1] == ("exec",):
            changes["resume"] = ("exec", "resume", SESSION, *args[1:])
    for key, value in {"command": command, "input": input, "events": events, "model_arg": model_arg}.items():
        if value:
            changes[key] = value
    return replace(base, **changes)  # type: ignore[arg-type]


def arguments(
    cli: Cli,
    prompt: str,
    *,
    private: Path,
    session: str = "",
    model: str = "",
    effort: str = "",
    system: str = "",
    confined: bool = False,
    tool_socket: ToolSocket | None = None,
    asking: bool = False,
) -> tuple[str, ...]:
    """The command line. ``private`` is the folder of the status file, which the program may write to;
    ``confined``: Orchestra's sandbox holds the program, which needs none of its own. ``tool_socket`` is that of
    the node's own tools. Where ``asking``, the program asks before each call of its own tools."""
    options = hook_options(cli.asks) if asking else cli.free
    options += cli.open if confined else cli.confined
    if tool_socket is not None and find_spec("mcp") is not None:
        options += _mcp(cli, tool_socket, private)
    if model and cli.model_arg:
        options += (cli.model_arg, model)
    if effort and cli.effort_arg:
        options += tuple(part.replace("{effort}", effort) for part in cli.effort_arg)
    if system and cli.system_arg:
        options += (cli.system_arg, system)
    if cli.folder_arg:
        options += (cli.folder_arg, str(private))
    args = _with_session(cli, session) if session else cli.args
    if args and args[-1] == "-":  # standard input, the last argument
        args = (*args[:-1], *options, "-")
    elif PROMPT in args:
        args = (*options, *args)
    else:
        args = (*args, *options)
    if cli.input == "arg":
        args = tuple(prompt if part == PROMPT else part for part in args) if PROMPT in args else (*args, prompt)
    return (cli.command, *args)


def _mcp(cli: Cli, tool_socket: ToolSocket, private: Path) -> tuple[str, ...]:
    """Return the options that name the node's own tools; the token is in a private file."""
    if cli.mcp == "claude":
        file = private / "mcp.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps(tool_socket.mcp_json()), encoding="utf-8")
        return ("--mcp-config", str(file), "--allowedTools", f"mcp__{NAME}")
    if cli.mcp == "codex":
        command, *arguments = tool_socket.command
        server = f"mcp_servers.{NAME}"
        return (
            *("-c", f"{server}.command={json.dumps(command)}", "-c", f"{server}.args={json.dumps(arguments)}"),
            *("-c", f"{server}.env_vars={json.dumps(sorted(tool_socket.environment))}"),
            *("-c", f'{server}.default_tools_approval_mode="approve"'),
            *("-c", f"{server}.required=true", "-c", f"{server}.startup_timeout_sec={STARTING}"),
            *("-c", f"{server}.tool_timeout_sec={PATIENCE}"),
        )
    return ()


def _with_session(cli: Cli, session: str) -> tuple[str, ...]:
    parts = tuple(part.replace(SESSION, session) for part in cli.resume)
    return parts if parts and parts[0] == "exec" else (*cli.args, *parts)


def environment(cli: Cli, around: Mapping[str, str], providers_keys: frozenset[str]) -> dict[str, str]:
    """What the program sees: no provider's key but its own, and what its settings name."""
    found = {name: value for name, value in around.items() if name not in providers_keys | KEYS}
    found |= {name: around[name] for name in cli.keys if name in around}
    for name, value in {**cli.settings, **cli.env}.items():
        if value is not None:
            found[name] = value
        elif name in around:
            found[name] = around[name]
    return found
