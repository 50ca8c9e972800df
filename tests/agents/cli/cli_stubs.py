"""Stub programs in the place of command-line agents, and runs with them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchestra.agents.backends.cli import CliAgents
from orchestra.agents.bounds import Rules
from orchestra.agents.cli.presets import Cli, from_preset
from orchestra.config.environment import PROVIDER_KEYS
from orchestra.run.conversation import Message
from support import Session, agents_on, opened, ran

RECORDED = Path(__file__).parent / "recorded"
ONE = "digraph t { start [shape=Mdiamond] exit [shape=Msquare] work [%s] start -> work -> exit }"


def stub(folder: Path, body: str, name: str = "agent") -> str:
    """An executable shell script."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def backend(cli: Cli, folder: Path, *, environment: Mapping[str, str] | None = None, **more: Any) -> CliAgents:
    rules = more.pop("rules", Rules())
    return CliAgents(
        named=lambda task: cli,
        folders=lambda task: {"": folder},
        environment={**os.environ, **(environment or {})},
        keys=frozenset(PROVIDER_KEYS),
        rules=lambda task: rules,
        **more,
    )


def agent(folder: Path, body: str, preset: str = "", **more: Any) -> Cli:
    return from_preset("stub", preset=preset, command=stub(folder, body), **more)


async def outcome(
    cli: Cli, folder: Path, node: str = 'prompt="do it"', *, text: str = "", options: Any = None, **more: Any
) -> Session:
    """A pipeline of one node, run to its end."""
    work = agents_on(backend(cli, folder, **more))
    return await ran(text or ONE % node, more={"codergen": work}, **(options or {}))


async def ready(cli: Cli, folder: Path, node: str = 'prompt="do it"', *, text: str = "", **more: Any) -> Session:
    """The same, not run yet."""
    return await opened(text or ONE % node, more={"codergen": agents_on(backend(cli, folder, **more))})


def texts(messages: tuple[Message, ...]) -> list[str]:
    return [f"{message.role}: {message.text}" for message in messages]
