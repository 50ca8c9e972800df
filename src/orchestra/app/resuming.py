"""From a recorded session to one that goes on: its text checked again, its runner wired (S26)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from msgspec import Struct

from orchestra.agents.scripts import Cast, parse_script
from orchestra.agents.simulation import Scenario
from orchestra.app.children import recorded, texts
from orchestra.app.orphans import end_orphans
from orchestra.app.pipelines import Pipeline, compile_pipeline
from orchestra.app.runs import (
    NONE_MORE,
    cast_of,
    no_secret,
    plan_of,
    runnable,
    text_hash,
    this_process,
    whereabouts,
)
from orchestra.app.stopped import forget, remembered
from orchestra.app.workspaces import workspaces_of
from orchestra.clock import SystemClock
from orchestra.config.environment import known_secrets
from orchestra.config.settings import Settings
from orchestra.cxdb.registry import bundle
from orchestra.engine.control import Control
from orchestra.engine.holding import taken
from orchestra.engine.journal import Listener
from orchestra.engine.lineage import Plan, Wiring, newest_of_chain, next_session
from orchestra.engine.running import Run
from orchestra.engine.sessions import Opened, find, own, reopen_session
from orchestra.errors import ConfigError, CredentialsMissing, Diagnostic, Source, Undecided
from orchestra.graph.dot import decode, parse
from orchestra.graph.model import Graph
from orchestra.ports import Clock, Handler, Store
from orchestra.run.blobs import BlobRef
from orchestra.run.codec import blob_value
from orchestra.run.declare import changed
from orchestra.run.events import PipelinePaused, PipelineResumed
from orchestra.run.resuming import cut_off, resumption
from orchestra.run.secrets import Redactor
from orchestra.run.state import RunState

SCRIPT_NAME = "the recorded simulation script"


class Changes(Struct, frozen=True, kw_only=True):
    """What is to be different from now on. ``graph`` and ``simulation`` stand for the recorded texts;
    ``interrupted`` (``rerun`` or ``fail``) says what becomes of an attempt that was cut off, else its node's
    ``on_interrupt`` does."""

    graph: Source | None = None
    found: tuple[Diagnostic, ...] = ()
    simulation: Source | None = None
    interrupted: str = ""


AS_RECORDED = Changes()


async def resume(
    session: str,
    *,
    store: Store,
    settings: Settings,
    changes: Changes = AS_RECORDED,
    listeners: tuple[Listener, ...] = (),
    clock: Clock | None = None,
    control: Control | None = None,
    more: Mapping[str, Handler] = NONE_MORE,
) -> tuple[Run, Pipeline]:
    """Take a session and make it ready to walk on from where it stands.

    A session that was restarted stands for the one in which it goes on, which is begun where that was not done yet
    (E14). One that ended well comes back with its result, and walking it does nothing. Nothing is recorded before
    every check has passed; then that the session is taken, at once (S16), and how it goes on with the first batch
    of the walk.

    Raises ``SessionNotFound``, ``SessionTaken``, ``CredentialsMissing``, ``ConfigError``, ``InvalidPipeline``,
    ``Undecided`` and ``StoreError``.
    """
    clock = clock or SystemClock()
    row, loaded = await newest_of_chain(store, own(await find(store, session)))
    if (holder := store.holder(row.context_id)) is not None:
        raise taken(holder)
    checked = await _checked(loaded.state, store, settings, changes, more)
    stop = remembered(settings).get(row.session)
    opened = await reopen_session(
        store=store,
        clock=clock,
        redactor=checked.redactor,
        listeners=listeners,
        origin=this_process(),
        row=row,
        known=loaded,
        gone=stop.claim if stop is not None and stop.session == row.session else "",
    )
    try:
        state = opened.journal.state
        if _moved(loaded.state, state):
            checked = await _checked(state, store, settings, changes, more)
            opened.journal.redactor = checked.redactor
        pipeline, plan, done = checked.pipeline, checked.plan, _done(state)
        wiring = Wiring(
            store=store,
            clock=clock,
            redactor=checked.redactor,
            listeners=listeners,
            origin=this_process(),
            sweep=end_orphans,
            workspaces=None if done else await workspaces_of(settings, state.workspace),
        )
        if not done:
            await store.publish_types(*bundle())
        swept = await wiring.sweep(state)
        if state.following is not None:
            before, opened = opened, await next_session(wiring, plan.graph, opened, state.following)
            await before.hold.release()
            state = opened.journal.state
        if not done:
            state = await _stop_recorded(opened, settings)
            resumed = resumed_of(pipeline, state, settings, changes)
            void = (await store.head(opened.mailbox)).turn_id  # pauses and cancels from before are void (S15)
            opened.journal.record(changed(resumed, void_until=void))
            for warning in swept:
                opened.journal.record(warning)
    except BaseException:
        await opened.hold.release()
        raise
    return Run(opened=opened, plan=plan, wiring=wiring, control=control or Control()), pipeline


class _Checked(NamedTuple):
    pipeline: Pipeline
    plan: Plan
    redactor: Redactor


def _done(state: RunState) -> bool:
    return state.result is not None and state.result.good


async def _checked(
    state: RunState, store: Store, settings: Settings, changes: Changes, more: Mapping[str, Handler]
) -> _Checked:
    """What the session goes on with, every check passed. Raises as ``resume`` does."""
    done = _done(state)
    secrets = {} if done else secrets_of(state, settings)
    redactor = Redactor(secrets)
    pipeline = await pipeline_of(state, store, secrets, changes)
    plan = plan_of(pipeline, await script_of(state, store, pipeline, changes, redactor), more, state.workdir)
    if not done:
        runnable(pipeline, plan)
        if state.following is None:
            resumed_of(pipeline, state, settings, changes)
    return _Checked(pipeline, plan, redactor)


_CHECKED = ("dot", "dotfiles", "simulation", "secrets", "variables", "nodes", "next_node", "ended", "result")
"""What of a state the checks look at, beside the node that is at work."""


def _moved(before: RunState, now: RunState) -> bool:
    """Whether somebody else went on with the session between its checks and its taking."""
    at = [state.stage and (state.stage.node, state.stage.due, state.stage.refused) for state in (before, now)]
    return at[0] != at[1] or any(getattr(before, name) != getattr(now, name) for name in _CHECKED)


async def _stop_recorded(opened: Opened, settings: Settings) -> RunState:
    """Record that the store had stopped the run, now that it is back (S20); the state then."""
    journal, stop = opened.journal, remembered(settings).get(opened.session)
    if stop is not None:
        if journal.state.result is None and not journal.state.paused:
            stage = journal.state.stage
            node = stage.node if stage is not None else journal.state.next_node
            journal.record(PipelinePaused(node=node, reason=f"the store failed: {stop.reason}"))
            await journal.flush()
        forget(opened.session)
    return journal.state


def changed_file(state: RunState) -> str:
    """The file that a session was started from, where it holds another text now; else empty."""
    path = Path(state.file)
    try:
        if not path.is_absolute() or not path.is_file():
            return ""
        source, _found = decode(state.file, path.read_bytes())
    except OSError:
        return ""
    return state.file if text_hash(source.text) != state.graph_hash else ""


def secrets_of(state: RunState, settings: Settings) -> dict[str, str]:
    """The secrets in force, and those that the session had. Raises ``CredentialsMissing`` (S18)."""
    recorded = known_secrets(os.environ, state.secrets)
    missing = [name for name in state.secrets if name not in recorded]
    if missing:
        raise CredentialsMissing(
            f"session {state.session} was started with {', '.join(missing)}, which has no value here",
            fix=f"give it one, such as: export {missing[0]}=…",
        )
    return {**recorded, **settings.secrets}


# --- the pipeline and its script -----------------------------------------------------------------


async def pipeline_of(state: RunState, store: Store, secrets: dict[str, str], changes: Changes) -> Pipeline:
    """The pipeline with which it goes on: the recorded text, or the one that stands for it now (S26)."""
    variables = {name: str(await _resolved(store, value)) for name, value in state.variables.items()}
    source = changes.graph or Source(state.file or "the recorded pipeline", await _resolved(store, state.dot))
    reading = None
    if changes.graph is None:
        known = {path: await _resolved(store, text) for path, text in state.dotfiles.items()}
        reading = recorded(known, str(Path(source.name).parent))
    pipeline = compile_pipeline(source, changes.found, variables=variables, secrets=secrets, reading=reading)
    if changes.graph is not None:
        _holds_all(pipeline.checked(), state, source.name)
    return pipeline


async def _resolved(store: Store, value: Any) -> Any:
    if not isinstance(value, BlobRef):
        return value
    return blob_value(value, await store.get_blob(bytes.fromhex(value.hash)))


def _holds_all(graph: Graph, state: RunState, name: str) -> None:
    """Raise ``ConfigError`` where the graph lacks a node that the session has been at, or comes to next (S26)."""
    stage, ended = state.stage, state.ended
    recorded = [
        *state.nodes,
        state.next_node,
        stage.node if stage is not None else "",
        ended.node if ended is not None else "",
    ]
    lost = [node for node in dict.fromkeys(recorded) if node and node not in graph.nodes]
    if not lost:
        return
    near = get_close_matches(lost[0], list(graph.nodes), n=1)
    hint = f"; is {near[0]!r} what {lost[0]!r} is called now?" if near else ""
    raise ConfigError(
        f"{name} has no node {', '.join(map(repr, lost[:5]))}, where session {state.session} has been",
        fix=f"keep every node that the session has been at{hint}",
    )


async def script_of(
    state: RunState, store: Store, pipeline: Pipeline, changes: Changes, redactor: Redactor
) -> Scenario:
    """The script given now, else the recorded one, in which nodes that a new graph left out may stand."""
    graph = pipeline.checked()
    if changes.simulation is not None:
        no_secret(changes.simulation, redactor)
        return parse_script(changes.simulation, cast_of(pipeline))
    text = await _resolved(store, state.simulation)
    if not text:
        return Scenario()
    before, _found = parse(Source(state.file, await _resolved(store, state.dot)))
    nodes = {**(before.nodes if before else {}), **graph.nodes}
    cast = Cast(nodes=nodes, tools=None, children=cast_of(pipeline).children)
    return parse_script(Source(SCRIPT_NAME, text), cast)


# --- what is recorded ----------------------------------------------------------------------------


def resumed_of(pipeline: Pipeline, state: RunState, settings: Settings, changes: Changes) -> PipelineResumed:
    """How it goes on, and what is different from now on. Raises ``Undecided``."""
    graph, stage = pipeline.checked(), cut_off(state)
    interrupted = changes.interrupted
    if stage is not None and not stage.elsewhere and not state.failed and not interrupted:
        interrupted = graph.nodes[stage.node].text("on_interrupt") or "rerun"
        if interrupted == "ask":
            raise Undecided(state.session, stage.node)
    event = resumption(graph, state, interrupted=interrupted)
    text = pipeline.source.text
    if text_hash(text) != state.graph_hash or (changes.graph is not None and texts(pipeline)):
        event = changed(
            event,
            dot=text,
            file=whereabouts(pipeline.source),
            graph_hash=text_hash(text),
            dotfiles=texts(pipeline),
        )
    if changes.simulation is not None and changes.simulation.text != state.simulation:
        event = changed(event, simulation=changes.simulation.text)
    return changed(event, secrets=settings.declared) if settings.declared != state.secrets else event
