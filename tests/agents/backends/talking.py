"""An agent at work in tests: a graph of agents on the memory store, asking a model server by the real clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestra.app.plans import agents_of
from orchestra.config.settings import settle
from orchestra.cxdb.memory import MemoryStore
from orchestra.errors import StoreUnreachable
from orchestra.modelserver import Exchange, ModelServer, parse
from orchestra.ports import Store
from orchestra.run.events import AgentResponded, AgentToolEnded, AgentTurnCompleted
from support import CountingStore, Session, opened, resumed

GRAPH = 'work [prompt="do it"] start -> work -> exit'
MODELS = {"openai": "gpt-5", "anthropic": "claude-haiku-4-5-test", "google": "gemini-2.5-pro"}
VENDORS = {
    "openrouter": "anthropic/claude-haiku-4-5",
    "azure": "my-deployment",
    "vertex": "gemini-2.5-pro",
    "bedrock": "anthropic.claude-haiku-4-5-v1:0",
}
"""Providers that serve others' models, with a model of each."""

PATHS = {"openai": "/v1", "responses": "/v1", "openrouter": "/api/v1"}


def settings_text(
    url: str, provider: str, more: str = "", own: str = "", cheap: str = "", timeout: str = "20s"
) -> str:
    kind = "openai" if provider == "responses" else provider
    api = ", api: responses" if provider == "responses" else ""
    address = url + PATHS.get(provider, "")
    model, cheap = {**MODELS, **VENDORS}[kind], f", cheap: {cheap}" if cheap else ""
    return (
        f"backend: langgraph\nproviders:\n  default: {kind}\n"
        f'  {kind}: {{base_url: "{address}", models: {{worker: "{model}"{cheap}}}, retries: 2, '
        f"timeout: {timeout}{api}{own}}}\n{more}"
    )


@dataclass
class World:
    """A model server with the handlers of agents that ask it; everything works in ``folder``."""

    server: ModelServer
    folder: Path
    provider: str
    more: str
    own: str = ""
    """Further settings of the provider."""
    cheap: str = ""
    """The provider's cheap model; empty for none."""
    timeout: str = "20s"
    """How long the provider may be silent: so long that a busy machine is not taken for it."""

    @property
    def requests(self) -> list[Exchange]:
        return self.server.requests

    def handlers(self) -> dict[str, Any]:
        file = self.folder / "orchestra.yaml"
        file.write_text(
            settings_text(self.server.url, self.provider, self.more, self.own, self.cheap, self.timeout)
        )
        settings = settle(folders=(self.folder,), environment={}, config=file)
        pipeline = str(self.folder / "p.dot")
        agents = agents_of(settings, self.folder, pipeline, {}, simulated=False)
        return {"codergen": agents}

    async def session(self, graph: str = GRAPH, store: Store | None = None) -> Session:
        return await opened(graph, more=self.handlers(), store=store)

    async def ran(self, graph: str = GRAPH) -> Session:
        return await (await self.session(graph)).walk()

    async def again(self, session: Session, epoch: int = 2) -> Session:
        """Another runner on what the store holds."""
        return await (await resumed(session, epoch=epoch)).walk()


@contextmanager
def world(folder: Path, script: str, provider: str = "openai", more: str = "") -> Iterator[World]:
    with ModelServer(parse(script)) as server:
        world = World(server=server, folder=folder, provider=provider, more=more)
        if "silent_after" in script:
            world.timeout = "1s"
        yield world


def turns(session: Session) -> list[Any]:
    return session.of(AgentResponded, AgentToolEnded, AgentTurnCompleted)


def results(session: Session) -> list[dict[str, Any]]:
    """The results of tools, as the model got them."""
    return [message for event in turns(session) for message in event.messages if message.get("role") == "tool"]


async def killed_at(here: World, append: int, graph: str = GRAPH) -> Session | None:
    """A run whose store fails from one append on, as a kill leaves it; None where it ended before."""
    store = CountingStore(MemoryStore())
    session = await here.session(graph, store)
    store.fail_from = store.appends + append
    try:
        await session.walk()
    except StoreUnreachable:
        store.fail_from = 0
        return session
    return None
