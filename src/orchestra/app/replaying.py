"""Replay: fork a session at a recorded turn, and continue in a new session (S27)."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import Struct, field

from orchestra.app.pipelines import Pipeline
from orchestra.app.resuming import AS_RECORDED, ResumeChanges, recorded_plan, secrets_of
from orchestra.app.runs import NONE_MORE, check_variables, refuse_owned_names, runnable, wiring_of
from orchestra.app.workspaces import workspaces_of
from orchestra.config.settings import Settings
from orchestra.cxdb.format.registry import bundle
from orchestra.engine.control import Control
from orchestra.engine.forking import TurnChoice, locate, locate_in
from orchestra.engine.inherited import check_inherited
from orchestra.engine.journal import Listener
from orchestra.engine.loading import load
from orchestra.engine.opening import begin, new_place, resume_event
from orchestra.engine.running import Run
from orchestra.engine.sessions import find, own
from orchestra.errors import ConfigError
from orchestra.ports import Clock, Handler, Store
from orchestra.run.context import is_reserved
from orchestra.run.events import Meta, PipelineForked, Recorded
from orchestra.run.fold import evolve
from orchestra.run.outcome import Json
from orchestra.run.secrets import Redactor
from orchestra.run.state import RunState


class Future(Struct, frozen=True, kw_only=True):
    """What is different in the new session: variables, context values (as texts), pipeline texts, label."""

    variables: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)
    changes: ResumeChanges = AS_RECORDED
    label: str = ""


async def replay(
    session: str,
    *,
    at: TurnChoice,
    future: Future,
    store: Store,
    settings: Settings,
    listeners: tuple[Listener, ...] = (),
    clock: Clock | None = None,
    control: Control | None = None,
    more: Mapping[str, Handler] = NONE_MORE,
) -> tuple[Run, Pipeline]:
    """Fork a session at a turn, and make the new one ready to walk; the old one stays as it is.

    Of ``SESSION/fan/x`` the turn is one of that branch: the other branches are then as they stood at that time.
    Nothing is written before every check has passed. Raises what ``resume`` raises.
    """
    session, _, branch = session.partition("/")
    row = own(await find(store, session))
    found = locate_in(store, row, branch, at) if branch else locate(store, row.context_id, row.session, at)
    spot = await found
    loaded = await load(store, row.context_id, spot.following, spot.turn.turn_id)
    _goes_on(loaded.state, row.session)
    secrets = secrets_of(loaded.state, settings)
    redactor = Redactor(secrets)
    wiring = wiring_of(
        store,
        redactor,
        listeners,
        clock,
        interrupted="rerun",
        secrets=settings.declared,
        at_once=settings.config.limits.run.parallel,
    )
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
    now = wiring.clock.now_ms()
    meta = Meta(session=wiring.clock.display_id(), epoch=loaded.state.epoch + 1, sequence=1, at=now)
    state = evolve(loaded.state, Recorded(meta, forked))
    pipeline, plan = await recorded_plan(state, wiring, settings, secrets, future.changes, more)
    wiring = wiring.on(await workspaces_of(settings, state.workspace, simulated=bool(plan.simulation)))
    runnable(pipeline, plan, settings)
    refuse_owned_names((*future.variables, *future.values), plan)
    await check_inherited(store, plan, state)
    await store.publish_types(*bundle())
    place = await new_place(wiring, session=meta.session, at=spot.turn.turn_id)
    opened = await begin(wiring, place, forked, loaded)
    opened.journal.record(resume_event(wiring, plan, opened.journal.state))
    return Run(opened=opened, plan=plan, wiring=wiring, control=control or Control()), pipeline


def _goes_on(state: RunState, session: str) -> None:
    """Raise ``ConfigError`` if the session had succeeded at that turn: nothing is left to run."""
    if state.result is not None and state.result.good:
        raise ConfigError(
            f"session {session} had already ended at that turn",
            fix=f"choose an earlier one: --node NODE, or --turn with a depth that `orchestra log {session}` shows",
        )


def _values(given: Mapping[str, str], redactor: Redactor) -> dict[str, Json]:
    """Context values from a command line: JSON where it is JSON, else the text. Raises ``ConfigError``."""
    found: dict[str, Json] = {}
    for key, text in given.items():
        if is_reserved(key):
            raise ConfigError(f"{key!r} is reserved for the engine and cannot be set")
        secret = next(iter(redactor.find(text)), None)
        if secret is not None:
            raise ConfigError(f"the value of {key} contains a secret ({secret[2]}); values are recorded unchanged")
        try:
            found[key] = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError):
            found[key] = text
    return found
