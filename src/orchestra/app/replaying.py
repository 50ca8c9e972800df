"""From a turn of a recorded session to a new one that goes on from there in its own way (S27)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from orchestra.app.orphans import end_orphans
from orchestra.app.pipelines import Pipeline
from orchestra.app.resuming import AS_RECORDED, Changes, pipeline_of, resumed_of, script_of, secrets_of
from orchestra.app.runs import NONE_MORE, check_variables, plan_of, runnable, this_process
from orchestra.app.workspaces import workspaces_of
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.cxdb.registry import bundle
from orchestra.engine.control import Control
from orchestra.engine.forking import Wanted, fork_session, locate
from orchestra.engine.inherited import check_inherited
from orchestra.engine.journal import Listener
from orchestra.engine.lineage import Wiring
from orchestra.engine.loading import load
from orchestra.engine.running import Run
from orchestra.engine.sessions import find, own
from orchestra.engine.walk import Handlers
from orchestra.errors import ConfigError
from orchestra.ports import Clock, Handler, Store
from orchestra.run.context import reserved
from orchestra.run.events import Meta, PipelineForked, Recorded
from orchestra.run.fold import evolve
from orchestra.run.outcome import Json
from orchestra.run.secrets import Redactor
from orchestra.run.state import RunState


class Future(Struct, frozen=True, kw_only=True):
    """What is to be different in the new session: variables, context values as texts, texts, its name."""

    variables: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    changes: Changes = AS_RECORDED
    label: str = ""


async def replay(
    session: str,
    *,
    at: Wanted,
    future: Future,
    store: Store,
    settings: Settings,
    listeners: tuple[Listener, ...] = (),
    clock: Clock | None = None,
    control: Control | None = None,
    more: Mapping[str, Handler] = NONE_MORE,
) -> tuple[Run, Pipeline]:
    """Fork a session at a turn, and make the new one ready to walk on; the old one stays as it is.

    Nothing is written before every check has passed. Raises what ``resume`` raises.
    """
    clock = clock or SystemClock()
    row = own(await find(store, session))
    spot = await locate(store, row.context_id, row.session, at)
    loaded = await load(store, row.context_id, spot.following, spot.turn.turn_id)
    _goes_on(loaded.state, row.session)
    secrets = secrets_of(loaded.state, settings)
    redactor = Redactor(secrets)
    forked = PipelineForked(
        label=future.label,
        variables=check_variables(future.variables, redactor),
        values=_values(future.values, redactor),
        parent=row.session,
        parent_context=row.context_id,
        from_turn=spot.turn.turn_id,
        until=spot.until,
        mailbox=0,
    )
    meta = Meta(session=clock.display_id(), epoch=loaded.state.epoch + 1, sequence=1, at=clock.now_ms())
    state = evolve(loaded.state, Recorded(meta, forked))
    changes = replace(future.changes, interrupted="rerun")
    pipeline = await pipeline_of(state, store, secrets, changes)
    plan = plan_of(pipeline, await script_of(state, store, pipeline, changes, redactor), more, state.workdir)
    wiring = Wiring(
        store=store,
        clock=clock,
        redactor=redactor,
        listeners=listeners,
        origin=this_process(),
        sweep=end_orphans,
        workspaces=await workspaces_of(settings, state.workspace),
    )
    runnable(pipeline, plan)
    _unowned((*future.variables, *future.values), plan.handlers)
    await check_inherited(store, plan, state)
    await store.publish_types(*bundle())
    opened = await fork_session(
        store=store,
        clock=clock,
        redactor=redactor,
        listeners=listeners,
        origin=wiring.origin,
        session=meta.session,
        spot=spot,
        loaded=loaded,
        forked=forked,
    )
    opened.journal.record(resumed_of(pipeline, opened.journal.state, settings, changes))
    return Run(opened=opened, plan=plan, wiring=wiring, control=control or Control()), pipeline


def _goes_on(state: RunState, session: str) -> None:
    """Raise ``ConfigError`` where the session had ended well at that turn, and there is nothing to go on with."""
    if state.result is not None and state.result.good:
        raise ConfigError(
            f"session {session} had ended at that turn",
            fix=f"name an earlier one: --node NODE, or --turn with a number that `orchestra log {session}` shows",
        )


def _values(given: Mapping[str, str], redactor: Redactor) -> dict[str, Json]:
    """Context values from a command line: JSON where it is JSON, else the text. Raises ``ConfigError``."""
    found: dict[str, Json] = {}
    for key, text in given.items():
        if reserved(key):
            raise ConfigError(f"{key!r} belongs to the engine and cannot be set")
        secret = next(iter(redactor.find(text)), None)
        if secret is not None:
            raise ConfigError(f"the value of {key} holds a secret ({secret[2]}); values are recorded as they are")
        try:
            found[key] = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError):
            found[key] = text
    return found


def _unowned(names: tuple[str, ...], registry: Handlers) -> None:
    for name in names:
        if registry.owned(name):
            raise ConfigError(f"{name!r} belongs to a handler and cannot be given")
