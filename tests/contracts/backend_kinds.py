"""Every backend behind one interface: scripted, asked by a node, its calls counted (A2)."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestra.agents.codergen import Agents
from orchestra.agents.simulation import ScriptedResult
from orchestra.app import plugins
from orchestra.app.plans import agents_of
from orchestra.config.settings import Settings, settle
from orchestra.modelserver import ModelServer, parse

SAY, FAIL, HANG = "say", "fail", "hang"
Step = tuple[str, str]
"""What a backend does when asked: ``(SAY, text)``, ``(FAIL, transient | terminal | quota)``, ``(HANG, "")``."""

SECRET = "sk-contract-0123456789abcdef"
KEYS = ("ANTHROPIC_API_KEY", "OPENAI_API_KEY")


@dataclass(kw_only=True)
class Kind:
    """One backend, ready to be asked."""

    name: str
    handler: Agents
    folder: Path
    server: ModelServer | None = None

    @property
    def asked(self) -> int:
        """How often it was asked."""
        if self.server is not None:
            return len(self.server.requests)
        file = self.folder / "asked"
        return len(file.read_text().splitlines()) if file.exists() else 0


NAMES = ("simulation", "direct", "langgraph", "cli", "plug")
COUNTED = ("direct", "langgraph", "cli", "plug")
"""Those that are asked outside of the engine, so that it can be counted."""


@contextmanager
def backend(name: str, steps: Sequence[Step], folder: Path) -> Iterator[Kind]:
    """The backend with its answers, the last of which repeats."""
    with ExitStack() as stack:
        server = None
        if name in ("direct", "langgraph"):
            server = stack.enter_context(ModelServer(parse(json.dumps({"answers": [_served(*s) for s in steps]}))))
        if name == "plug":
            stack.enter_context(_plugged(folder))
        stack.enter_context(_key())
        _prepare(folder, steps)
        settings = _settings(name, folder, server)
        script = {"work": tuple(_scripted(*step) for step in steps)} if name == "simulation" else {}
        agents = agents_of(settings, folder, str(folder / "p.dot"), script, simulated=name == "simulation")
        yield Kind(name=name, handler=agents, folder=folder, server=server)


@contextmanager
def _key() -> Iterator[None]:
    """Keys in the environment, as an operator has them."""
    before = {name: os.environ.get(name) for name in KEYS}
    os.environ.update(dict.fromkeys(KEYS, SECRET))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _settings(name: str, folder: Path, server: ModelServer | None) -> Settings:
    base = f"base_url: {server.url}, " if server is not None else ""
    (folder / "orchestra.yaml").write_text(
        f"""
backend: {name}
providers:
  anthropic: {{{base}retries: 0, models: {{worker: claude-sonnet-4-5}}}}
cli:
  stub: {{command: {folder}/stub, events: codex-json, env: [ANTHROPIC_API_KEY]}}
"""
    )
    return settle(folders=(folder,), environment=os.environ)


def _served(kind: str, text: str) -> Mapping[str, Any]:
    if kind == SAY:
        return {"text": text, "usage": {"input": 10, "output": 5}}
    if kind == HANG:
        return {"text": "never", "silent_after": 0}
    return {"error": {"transient": "overloaded", "terminal": "unauthorized", "quota": "insufficient_quota"}[text]}


def _scripted(kind: str, text: str) -> ScriptedResult:
    return ScriptedResult(text=text) if kind == SAY else ScriptedResult(error="it failed", failure_class=text)


_TOLD = {"transient": "stream disconnected", "terminal": "unexpected status 401", "quota": "Quota exceeded."}


def _prepare(folder: Path, steps: Sequence[Step]) -> None:
    """The stub program, and what it and the installed backend answer."""
    (folder / "steps.json").write_text(json.dumps(steps))
    for number, (kind, text) in enumerate(steps, 1):
        lines: list[Mapping[str, Any]] = [{"type": "thread.started", "thread_id": "t1"}]
        if kind == SAY:
            lines.append({"type": "item.completed", "item": {"id": "i", "type": "agent_message", "text": text}})
            lines.append({"type": "turn.completed", "usage": {"input_tokens": 10, "output_tokens": 5}})
        elif kind == FAIL:
            lines.append({"type": "turn.failed", "error": {"message": _TOLD[text]}})
        (folder / f"answer-{number}").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / f"hang-{number}").write_text("1" if kind == HANG else "")
    program = f"""#!/bin/sh
cd {folder}
echo "$ANTHROPIC_API_KEY" >> seen
echo asked >> asked
n=$(wc -l < asked)
[ -e answer-$n ] || n={len(steps)}
cat answer-$n
[ -s hang-$n ] && sleep 60
exit 0
"""
    (folder / "stub").write_text(program)
    (folder / "stub").chmod(0o755)


PLUG = """
import asyncio, json
from pathlib import Path
from orchestra.errors import Terminal, Transient
from orchestra.run.conversation import AgentTurn, Message, Usage

FOLDER = Path({folder!r})


class Plug:
    async def run(self, task, turns):
        asked = FOLDER / "asked"
        asked.write_text((asked.read_text() if asked.exists() else "") + "asked\\n")
        steps = json.loads((FOLDER / "steps.json").read_text())
        kind, text = steps[min(len(asked.read_text().splitlines()), len(steps)) - 1]
        if kind == "hang":
            await asyncio.sleep(60)
        if kind == "fail":
            if text == "quota":
                turns.halt("no quota")
            raise (Terminal if text == "terminal" else Transient)("it failed")
        messages = (Message(role="user", text=task.prompt), Message(role="assistant", text=text))
        usage = Usage(input=10, output=5)
        await turns.on_turn(
            AgentTurn(thread=task.thread, turn=1, messages=messages, fresh=True, usage=usage, model="own")
        )
        return text
"""


@contextmanager
def _plugged(folder: Path) -> Iterator[None]:
    """An installed package that brings the backend ``plug`` (A16)."""
    site = folder / "site"
    (site / "plug-1.0.dist-info").mkdir(parents=True)
    (site / "plug-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (site / "plug-1.0.dist-info" / "entry_points.txt").write_text("[orchestra.backends]\nplug = own_plug:Plug\n")
    (site / "own_plug.py").write_text(PLUG.format(folder=str(folder)))
    sys.path.insert(0, str(site))
    plugins.entry_points_of_ours.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(site))
        sys.modules.pop("own_plug", None)
        plugins.entry_points_of_ours.cache_clear()
