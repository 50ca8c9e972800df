"""Walk a recorded session without agents, commands and network, by its own text or another (S27)."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from orchestra.agents.prompts import prompt_of, with_goal
from orchestra.app.pipelines import compile_pipeline
from orchestra.app.plans import AS_RECORDED, pipeline_of
from orchestra.config.environment import known_secrets
from orchestra.config.settings import Settings
from orchestra.engine.gaps import Chain, chains
from orchestra.engine.loading import recorded_in
from orchestra.engine.sessions import Row, find, has_begun, row_of
from orchestra.errors import ConfigError, Diagnostic, Source, UnknownEvent
from orchestra.graph.model import Graph
from orchestra.graph.paths import keys_of
from orchestra.graph.shell import expressions
from orchestra.graph.substitution import substitute
from orchestra.ports import Store
from orchestra.run.codec import blob_value
from orchestra.run.declare import BlobRef
from orchestra.run.events import (
    EdgeSelected,
    Event,
    Recorded,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
    ToolStarted,
)
from orchestra.run.fold import current, evolve
from orchestra.run.prompts import own_prompt, prompt_as_asked
from orchestra.run.rewalk import Divergence, parting
from orchestra.run.secrets import KnownSecrets, Redactor
from orchestra.run.state import NEW, Context, RunState


class ChangedText(Struct, frozen=True, kw_only=True):
    """A prompt or a command that would be another one now: of which turn, branch, node and visit."""

    depth: int
    node: str
    visit: int
    recorded: str
    now: str
    branch: str = ""


class RewalkReport(Struct, frozen=True, kw_only=True):
    """The result: what was compared, what differs, and where the session diverged or ended.

    ``nodes``, ``edges`` and ``texts`` count what was compared; ``sessions`` counts a session and its restarts.
    """

    session: str
    sessions: int = 1
    nodes: int = 0
    edges: int = 0
    texts: int = 0
    others: tuple[ChangedText, ...] = ()
    parting: Divergence | None = None
    ended: bool = False

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return self.parting is None and not self.others


class Another(Struct, frozen=True, kw_only=True):
    """The pipeline to walk with instead of the recorded one, as it was read."""

    source: Source
    found: tuple[Diagnostic, ...] = ()


async def rewalk(session: str, *, store: Store, settings: Settings, another: Another | None = None) -> RewalkReport:
    """Walk a session's record, and those of its restarts, with its own text or
    with another. Nothing is run and nothing is written. It stops where the walks part.

    Raises ``SessionNotFound``, ``InvalidPipeline``, ``UnknownEvent`` and ``StoreError``.
    """
    row: Row | None = await find(store, session)
    walk = _Rewalk(store=store, settings=settings, another=another)
    sessions = 0
    while row is not None and walk.parting is None:
        sessions, name = sessions + 1, row.session
        row = await walk.over(row)
    return RewalkReport(
        session=name,
        sessions=sessions,
        nodes=walk.nodes,
        edges=walk.edges,
        texts=walk.texts,
        others=tuple(walk.others),
        parting=walk.parting,
        ended=walk.state.result is not None or walk.state.following is not None,
    )


def _events_of(walk: Chain, session: str) -> Iterator[Recorded]:
    """The events of a walk. Raises ``UnknownEvent``."""
    for turn in walk.turns:
        recorded = recorded_in(turn)
        if recorded is None:
            raise UnknownEvent(
                f"session {session} has unreadable turns, so their decisions are unknown",
                fix=f"list them: orchestra log {session}",
            )
        yield recorded


class _Rewalk:
    """The state of a walk over one session after the other."""

    def __init__(self, *, store: Store, settings: Settings, another: Another | None) -> None:
        self._store = store
        self._settings = settings
        self._another = another
        self._redactor = Redactor(settings.secrets)
        self._graph: Graph | None = None
        self._of: tuple[object, ...] = ()
        self.state: RunState = NEW
        self.nodes = self.edges = self.texts = 0
        self.others: list[ChangedText] = []
        self.parting: Divergence | None = None
        self._branch = ""

    async def over(self, row: Row) -> Row | None:
        """Walk one session; return its restart, if there is one."""
        walks = await chains(self._store, row)
        forks = {(walk.parent, walk.depth) for walk in walks}
        stood: dict[tuple[int, int], RunState] = {}
        for number, walk in enumerate(walks):
            self.state, self._branch = stood.get((walk.parent, walk.depth), NEW), walk.path
            for recorded in _events_of(walk, row.session):
                await self._hold_against(recorded)
                if self.parting is not None:
                    return None
                self.state = evolve(self.state, recorded)
                if (number, recorded.depth) in forks:
                    stood[number, recorded.depth] = self.state
            if not number:
                main = self.state
        self.state = main
        following = self.state.following
        if following is None or not await has_begun(self._store, following.mailbox):
            return None
        return row_of(following, row.pipeline)

    async def _hold_against(self, recorded: Recorded) -> None:
        event, state = recorded.event, self.state
        if not state.dot or not current(recorded.meta, state):
            return
        graph = await self._pipeline(state)
        self.parting = parting(
            graph,
            state,
            await self._context(graph, state),
            event,
            recorded.depth,
            strict=self._another is None,
            redactor=self._redactor,
        )
        if self.parting is not None:
            self.parting = replace(self.parting, branch=self._branch)
        else:
            self.nodes += isinstance(event, StageStarted) and event.attempt == 1
            self.edges += isinstance(event, EdgeSelected)
            await self._text(graph, event, recorded.depth)

    async def _pipeline(self, state: RunState) -> Graph:
        """Return the graph in force, compiled again if the text or the variables have changed."""
        of = (state.dot, state.variables, state.dotfiles)
        if self._graph is None or any(one is not other for one, other in zip(of, self._of, strict=True)):
            wanted = self._settings.config.secrets
            recorded = known_secrets(os.environ, state.secrets, wanted.allow, wanted.ignore)
            secrets = KnownSecrets({**recorded, **self._settings.secrets}, wanted.ignore)
            self._redactor = Redactor(secrets)
            if self._another is None:
                pipeline = await pipeline_of(state, self._store, secrets, AS_RECORDED)
            else:
                variables = {name: str(await self._resolve(value)) for name, value in state.variables.items()}
                pipeline = compile_pipeline(
                    self._another.source, self._another.found, variables=variables, secrets=secrets
                )
            self._graph, self._of = pipeline.checked_graph(), of
        return self._graph

    async def _context(self, graph: Graph, state: RunState) -> Mapping[str, object]:
        """The context, in which what the outgoing conditions read is resolved."""
        context = Context(graph, state)
        if state.ended is None or state.ended.node not in graph.nodes:
            return context
        names = {name for edge in graph.outgoing(state.ended.node) for name in edge.condition.keys}
        keys = {key for name in names for key in keys_of(name)}
        wanted = {key: value for key in keys if isinstance(value := context.get(key), BlobRef)}
        return context.with_resolved({key: await self._resolve(value) for key, value in wanted.items()})

    async def _text(self, graph: Graph, event: Event, depth: int) -> None:
        """Hold the prompt or the command that an event records against the one that the node has."""
        match event:
            case StageCompleted() | StageFailed() | StageRetrying() if event.handler == "codergen" and event.prompt:
                recorded, visit = await self._resolve(event.prompt), event.visit
                now = prompt_as_asked(self._redactor.text(await self._own_prompt(graph, event.node)), recorded)
            case ToolStarted():
                command = graph.nodes[event.node].text("tool_command")
                found = expressions(command)
                if any(expression.raw for expression in found):
                    return  # its text holds values, and those are outcomes
                recorded, now = (
                    await self._resolve(event.command),
                    self._redactor.text(substitute(command, found, {})),
                )
                visit = self.state.nodes[event.node].visits
            case _:
                return
        self.texts += 1
        if recorded != now:
            text = ChangedText(
                depth=depth, node=event.node, visit=visit, recorded=recorded, now=now, branch=self._branch
            )
            self.others.append(text)

    async def _own_prompt(self, graph: Graph, node_id: str) -> str:
        """A node's prompt with the values that its context had."""
        node = graph.nodes[node_id]
        if "{{" not in own_prompt(node):
            return own_prompt(node)
        context = Context(graph, self.state)
        values = {key: await self._resolve(context[key]) for key in context}
        try:
            return prompt_of(node, with_goal(values, graph))
        except ConfigError:  # it names a value that the recorded run did not have
            return own_prompt(node)

    async def _resolve(self, value: Any) -> Any:
        if not isinstance(value, BlobRef):
            return value
        return blob_value(value, await self._store.get_blob(bytes.fromhex(value.hash)))
