"""Resume a recorded session: check its pipeline again, wire its runner, continue (S26)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from orchestra.agents.scripts import Cast, parse_script
from orchestra.agents.simulation import Scenario
from orchestra.app.children import recorded_reader
from orchestra.app.costs import max_cost_of, with_max_cost
from orchestra.app.pipelines import Pipeline, compile_pipeline
from orchestra.app.runs import NONE_MORE, cast_of, no_secret, plan_of, runnable, text_hash, wiring_of
from orchestra.app.stopped import forget, read_stopped
from orchestra.app.workspaces import workspaces_of
from orchestra.config.environment import known_secrets
from orchestra.config.settings import Settings
from orchestra.cxdb.format.registry import bundle
from orchestra.engine.control import Control
from orchestra.engine.holding import taken_error
from orchestra.engine.inherited import check_decided
from orchestra.engine.journal import Listener
from orchestra.engine.loading import resolve
from orchestra.engine.opening import ended_well, newest_of_chain, no_node_lost
from orchestra.engine.opening import resume as resume_session
from orchestra.engine.running import Run
from orchestra.engine.sessions import find, own
from orchestra.engine.wiring import Plan, Wiring
from orchestra.errors import CredentialsMissing, Diagnostic, Source
from orchestra.graph.dot import decode, parse
from orchestra.ports import Clock, Handler, Store
from orchestra.run.secrets import KnownSecrets, Redactor
from orchestra.run.state import RunState

SCRIPT_NAME = "the recorded simulation script"


class ResumeChanges(Struct, frozen=True, kw_only=True):
    """What is different from now on.

    ``graph`` and ``simulation`` replace the recorded texts. ``interrupted`` (``rerun`` or ``fail``) decides about
    an attempt that was cut off, of this session or of its children; otherwise its node's ``on_interrupt`` does.
    """

    graph: Source | None = None
    found: tuple[Diagnostic, ...] = ()
    simulation: Source | None = None
    interrupted: str = ""


AS_RECORDED = ResumeChanges()


async def resume(
    session: str,
    *,
    store: Store,
    settings: Settings,
    changes: ResumeChanges = AS_RECORDED,
    listeners: tuple[Listener, ...] = (),
    clock: Clock | None = None,
    control: Control | None = None,
    more: Mapping[str, Handler] = NONE_MORE,
) -> tuple[Run, Pipeline]:
    """Take a session and make it ready to walk from where it is.

    A restarted session means the one in which it continues, which is started where that was not done yet (E14). One
    that ended well is returned with its result, and walking it does nothing. Nothing is recorded before every check
    has passed; then that the session is taken (S16), and how it continues with the first batch of the walk.

    Raises ``SessionNotFound``, ``SessionTaken``, ``CredentialsMissing``, ``ConfigError``, ``InvalidPipeline``,
    ``Undecided`` and ``StoreError``.
    """
    place, loaded = await newest_of_chain(store, own(await find(store, session)))
    if (holder := store.holder(place.context_id)) is not None:
        raise taken_error(holder)
    pipelines: list[Pipeline] = []

    async def prepared(state: RunState) -> tuple[Wiring, Plan]:
        done = ended_well(state)
        in_force = with_max_cost(settings, state.max_cost_micros)
        secrets = KnownSecrets({}) if done else secrets_of(state, settings)
        declared = None if done else settings.declared
        wiring = wiring_of(
            store,
            Redactor(secrets),
            listeners,
            clock,
            interrupted=changes.interrupted,
            secrets=declared,
            max_cost_micros=max_cost_of(settings),
            at_once=settings.config.limits.run.parallel,
        )
        pipeline, plan = await recorded_plan(state, wiring, in_force, secrets, changes, more)
        if not done:
            runnable(pipeline, plan, settings)
            if state.stage is not None and (state.children or state.fans):
                await check_decided(wiring, plan, state)
            if settings.workspace is not None or state.workspace:
                wiring = wiring.on(await workspaces_of(settings, state.workspace, simulated=bool(plan.simulation)))
            await store.publish_types(*bundle())
        pipelines.append(pipeline)
        return wiring, plan

    stop = read_stopped(settings).get(place.session)
    opened, wiring, plan = await resume_session(
        prepared,
        place,
        loaded,
        store=stop.reason if stop is not None else "",
        gone=stop.claim if stop is not None else "",
    )
    if stop is not None:
        forget(place.session)
    return Run(opened=opened, plan=plan, wiring=wiring, control=control or Control()), pipelines[-1]


def changed_file(state: RunState) -> str:
    """Return the file that a session was started from if its text has changed since; else an empty text."""
    path = Path(state.file)
    try:
        if not path.is_absolute() or not path.is_file():
            return ""
        source, _found = decode(state.file, path.read_bytes())
    except OSError:
        return ""
    return state.file if text_hash(source.text) != state.graph_hash else ""


def secrets_of(state: RunState, settings: Settings) -> KnownSecrets:
    """Return the secrets in force and those that the session had. Raises ``CredentialsMissing`` (S18)."""
    wanted = settings.config.secrets
    recorded = known_secrets(os.environ, state.secrets, wanted.allow, wanted.ignore)
    missing = [name for name in state.secrets if name not in recorded]
    if missing:
        raise CredentialsMissing(
            f"session {state.session} was started with {', '.join(missing)}, which is not set here",
            fix=f"export {missing[0]}=…",
        )
    return KnownSecrets({**recorded, **settings.secrets}, wanted.ignore)


# --- the pipeline and its script -----------------------------------------------------------------


async def recorded_plan(
    state: RunState,
    wiring: Wiring,
    settings: Settings,
    secrets: KnownSecrets,
    changes: ResumeChanges,
    more: Mapping[str, Handler],
) -> tuple[Pipeline, Plan]:
    """Return the pipeline with which a session continues, and its plan. Raises ``ConfigError``."""
    pipeline = await pipeline_of(state, wiring.store, secrets, changes)
    given = changes.graph is not None
    if given:
        no_node_lost(plan_of(pipeline, Scenario(), settings, more, state.workdir), state)
    script = await _script_of(state, wiring.store, pipeline, changes, wiring.redactor)
    return pipeline, plan_of(pipeline, script, settings, more, state.workdir, given=given)


async def pipeline_of(state: RunState, store: Store, secrets: KnownSecrets, changes: ResumeChanges) -> Pipeline:
    """Return the recorded pipeline, or the one that replaces it (S26)."""
    variables = {name: str(await resolve(store, value)) for name, value in state.variables.items()}
    source = changes.graph or Source(state.file or "the recorded pipeline", await resolve(store, state.dot))
    reading = None
    if changes.graph is None:
        known = {path: await resolve(store, text) for path, text in state.dotfiles.items()}
        reading = recorded_reader(known, str(Path(source.name).parent))
    return compile_pipeline(source, changes.found, variables=variables, secrets=secrets, reading=reading)


async def _script_of(
    state: RunState, store: Store, pipeline: Pipeline, changes: ResumeChanges, redactor: Redactor
) -> Scenario:
    """The script given now, else the recorded one, which may name nodes that a new graph has no longer."""
    if changes.simulation is not None:
        no_secret(changes.simulation, redactor)
        return parse_script(changes.simulation, cast_of(pipeline))
    text = await resolve(store, state.simulation)
    if not text:
        return Scenario()
    before, _found = parse(Source(state.file, await resolve(store, state.dot)))
    nodes = {**(before.nodes if before else {}), **pipeline.checked().nodes}
    return parse_script(
        Source(SCRIPT_NAME, text), Cast(nodes=nodes, tools=None, children=cast_of(pipeline).children)
    )
