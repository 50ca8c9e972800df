"""Walk a recorded session without agents, commands and network, by its own text or another (S27)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from orchestra.app.briefs import Brief
from orchestra.app.plans import AS_RECORDED, ResumeChanges, pipeline_of
from orchestra.app.runs import secrets_of
from orchestra.config.settings import Settings
from orchestra.engine.gaps import Chain, chains
from orchestra.engine.loading import recorded_in, resolve
from orchestra.engine.sessions import Row, find, has_begun, row_of
from orchestra.errors import ConfigError, SessionNotFound, UnknownEvent
from orchestra.graph.shell import expressions
from orchestra.graph.substitution import substitute
from orchestra.ports import Store
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
from orchestra.run.rewalk import Divergence, find_divergence
from orchestra.run.secrets import KnownSecrets, Redactor
from orchestra.run.state import NEW, Context, RunState, routing_context


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


async def rewalk(
    session: str, *, store: Store, settings: Settings, changes: ResumeChanges = AS_RECORDED
) -> RewalkReport:
    """Walk a session's record, and those of its restarts, with its own pipeline or with another.

    Nothing is run and nothing is written. It stops where the walks part. Of ``SESSION/fan/x`` only that branch and
    those in it are compared.

    Raises ``SessionNotFound``, ``InvalidPipeline``, ``UnknownEvent`` and ``StoreError``.
    """
    session, _, branch = session.partition("/")
    row: Row | None = await find(store, session)
    walk = _Rewalk(store, settings, changes, branch)
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

    def __init__(self, store: Store, settings: Settings, changes: ResumeChanges, only: str) -> None:
        self._store = store
        self._settings = settings
        self._changes = changes
        self._only = only
        self._redactor = Redactor(settings.secrets)
        self._briefs: tuple[Brief, Brief] | None = None
        self._of: tuple[object, ...] = ()
        self.state: RunState = NEW
        self.nodes = self.edges = self.texts = 0
        self.others: list[ChangedText] = []
        self.parting: Divergence | None = None
        self._branch = ""

    async def over(self, row: Row) -> Row | None:
        """Walk one session; return its restart, if there is one."""
        walks = await chains(self._store, row)
        if self._only and all(walk.path != self._only for walk in walks):
            raise SessionNotFound(
                f"session {row.session} has no branch {self._only!r}", fix=f"see: orchestra log {row.session}"
            )
        forks = {(walk.parent, walk.depth) for walk in walks}
        stood: dict[tuple[int, int], RunState] = {}
        for number, walk in enumerate(walks):
            self.state, self._branch = stood.get((walk.parent, walk.depth), NEW), walk.path
            compared = not self._only or f"{walk.path}/".startswith(f"{self._only}/")
            for recorded in _events_of(walk, row.session):
                if compared:
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
        if self._only or following is None or not await has_begun(self._store, following.mailbox):
            return None
        return row_of(following, row.pipeline)

    async def _hold_against(self, recorded: Recorded) -> None:
        event, state = recorded.event, self.state
        if not state.dot or not current(recorded.meta, state):
            return
        before, now = await self._in_force(state)
        self.parting = find_divergence(
            now.graph,
            state,
            await routing_context(now.graph, state, self._resolve),
            event,
            recorded.depth,
            strict=self._changes.graph is None,
            redactor=self._redactor,
        )
        if self.parting is not None:
            self.parting = replace(self.parting, branch=self._branch)
        else:
            self.nodes += isinstance(event, StageStarted) and event.attempt == 1
            self.edges += isinstance(event, EdgeSelected)
            await self._text(before, now, event, recorded.depth)

    async def _in_force(self, state: RunState) -> tuple[Brief, Brief]:
        """Return the recorded pipeline and the one to walk, compiled again if text or variables have changed."""
        of = (state.dot, state.variables, state.dotfiles)
        if self._briefs is None or any(one is not other for one, other in zip(of, self._of, strict=True)):
            secrets = secrets_of(state, self._settings, needed=False)
            self._redactor = Redactor(secrets)
            before = await self._brief(state, secrets, AS_RECORDED)
            changed = self._changes.graph is not None
            now = await self._brief(state, secrets, self._changes) if changed else before
            self._briefs, self._of = (before, now), of
        return self._briefs

    async def _brief(self, state: RunState, secrets: KnownSecrets, changes: ResumeChanges) -> Brief:
        pipeline = await pipeline_of(state, self._store, secrets, changes)
        return Brief(graph=pipeline.checked_graph(), settings=self._settings, file=pipeline.source.name)

    async def _text(self, before: Brief, now: Brief, event: Event, depth: int) -> None:
        """Hold the prompt or the command that an event records against the one that the node has."""
        match event:
            case StageCompleted() | StageFailed() | StageRetrying() if event.handler == "codergen" and event.prompt:
                recorded, visit = await self._resolve(event.prompt), event.visit
                own = await self._own_prompt(before, event.node) if now is not before else ""
                wanted = prompt_as_asked(await self._own_prompt(now, event.node), recorded, own)
            case ToolStarted() if now.graph.type_of(event.node) == "tool":
                command = now.graph.nodes[event.node].text("tool_command")
                found = expressions(command)
                if any(expression.raw for expression in found):
                    return  # its text holds values, and those are outcomes
                recorded, visit = await self._resolve(event.command), self.state.nodes[event.node].visits
                wanted = self._redactor.text(substitute(command, found, {}))
            case _:
                return
        self.texts += 1
        if recorded != wanted:
            text = ChangedText(
                depth=depth, node=event.node, visit=visit, recorded=recorded, now=wanted, branch=self._branch
            )
            self.others.append(text)

    async def _own_prompt(self, brief: Brief, node_id: str) -> str:
        """A node's task and prompt with the values that its context had; the text itself where one is missing."""
        if node_id not in brief.graph.nodes:
            return ""
        node, context = brief.graph.nodes[node_id], Context(brief.graph, self.state)
        values = {key: await self._resolve(context[key]) for key in context}
        try:
            composed = brief.compose(node, values, placeholders=False).user
        except ConfigError:
            composed = own_prompt(node)
        return self._redactor.text(composed)

    async def _resolve(self, value: Any) -> Any:
        return await resolve(self._store, value)
