"""Settings in, wired runner out: start a run, resume it (S26), replay it from a turn (S27)."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version

import msgspec
from msgspec import Struct, field

from orchestra.agents.scripts import parse_script
from orchestra.agents.simulation import Scenario
from orchestra.app.orphans import end_orphans
from orchestra.app.pipelines import Pipeline
from orchestra.app.plans import (
    AS_RECORDED,
    NONE_MORE,
    JoinedPlan,
    ResumeChanges,
    cast_of,
    no_secret,
    plan_of,
    recorded_plan,
    refuse_owned_names,
    runnable,
)
from orchestra.app.stopped import forget, read_stopped
from orchestra.app.workspaces import workspaces_of
from orchestra.clock import SystemClock
from orchestra.config.environment import known_secrets
from orchestra.config.settings import Settings
from orchestra.cxdb.format.registry import bundle
from orchestra.engine.control import Control
from orchestra.engine.forking import TurnChoice, locate, locate_in
from orchestra.engine.holding import machine, taken_error
from orchestra.engine.inherited import check_inherited
from orchestra.engine.journal import Listener
from orchestra.engine.loading import load
from orchestra.engine.opening import (
    Opening,
    ended_well,
    lock_session,
    new_place,
    newest_of_chain,
    open_session,
    start_event,
)
from orchestra.engine.running import Run as Run
from orchestra.engine.sessions import find, own
from orchestra.engine.wiring import Plan, RunnerProcess, Wiring
from orchestra.errors import ConfigError, CredentialsMissing, Source
from orchestra.graph.inputs import with_defaults
from orchestra.ports import Clock, Handler, Store
from orchestra.run.events import Meta, PipelineForked, Recorded, WarningRaised
from orchestra.run.fold import evolve
from orchestra.run.judging import is_reserved
from orchestra.run.outcome import Json
from orchestra.run.secrets import SHORTEST, KnownSecrets, Redactor
from orchestra.run.state import RunState

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def this_process() -> RunnerProcess:
    """Return who creates or runs a session."""
    return RunnerProcess(
        host=socket.gethostname(), pid=os.getpid(), version=version("orchestra-dot"), machine=machine()
    )


@dataclass(frozen=True, slots=True)
class _Surroundings:
    """What a run of this process is joined with, however it begins."""

    store: Store
    settings: Settings
    listeners: tuple[Listener, ...]
    clock: Clock
    more: Mapping[str, Handler]

    def wiring(
        self, redactor: Redactor, *, interrupted: str = "", secrets: tuple[str, ...] | None = None
    ) -> Wiring:
        """Return what the sessions of this process are opened with."""
        return Wiring(
            store=self.store,
            clock=self.clock,
            redactor=redactor,
            listeners=self.listeners,
            origin=this_process(),
            sweep=end_orphans,
            interrupted=interrupted,
            secrets=secrets,
            max_cost_micros=self.settings.max_cost_micros,
            at_once=self.settings.config.limits.run.parallel,
        )

    async def checked(self, pipeline: Pipeline, plan: JoinedPlan, wiring: Wiring, state: RunState) -> Wiring:
        """Return the wiring with its repositories; raise what forbids the run, before anything is written."""
        runnable(pipeline, plan)
        if self.settings.workspace is not None or state.workspace:
            simulated = bool(plan.simulation)
            wiring = wiring.on(await workspaces_of(self.settings, state.workspace, simulated=simulated))
        await self.store.publish_types(*bundle())
        return wiring

    async def recorded(
        self, state: RunState, changes: ResumeChanges, interrupted: str
    ) -> tuple[Pipeline, JoinedPlan, Wiring]:
        """Return with what a session continues from a state, or is only read if it ended well.

        Raises what forbids it.
        """
        done = ended_well(state)
        secrets = KnownSecrets({}) if done else secrets_of(state, self.settings)
        declared = None if done else self.settings.declared
        wiring = self.wiring(Redactor(secrets), interrupted=interrupted, secrets=declared)
        in_force = self.settings.with_max_cost(state.max_cost_micros)
        pipeline, plan = await recorded_plan(state, wiring, in_force, secrets, changes, self.more)
        return pipeline, plan, wiring if done else await self.checked(pipeline, plan, wiring, state)


def wiring_of(store: Store, settings: Settings, clock: Clock) -> Wiring:
    """Return what the sessions of this process are opened with that nothing runs."""
    return _Surroundings(store, settings, (), clock, NONE_MORE).wiring(Redactor(settings.secrets))


async def start(
    pipeline: Pipeline,
    *,
    store: Store,
    settings: Settings,
    variables: Mapping[str, str],
    simulation: Source | None = None,
    label: str = "",
    listeners: tuple[Listener, ...] = (),
    clock: Clock | None = None,
    control: Control | None = None,
    more: Mapping[str, Handler] = NONE_MORE,
) -> Run:
    """Open a session for a pipeline, ready to walk; ``control`` may carry a pause request already.

    Raises ``InvalidPipeline``, ``ConfigError`` and ``StoreError``. Nothing is written before every
    check has passed.
    """
    around = _Surroundings(store, settings, listeners, clock or SystemClock(), more)
    graph = pipeline.checked_graph()
    redactor = Redactor(settings.secrets)
    given = check_variables(with_defaults(graph, variables), redactor)
    scenario = Scenario()
    if simulation is not None:
        scenario = parse_script(simulation, cast_of(pipeline))
        no_secret(simulation, redactor)
    plan = plan_of(pipeline, scenario, settings, more)
    refuse_owned_names(given, plan)
    like = RunState(
        label=label or graph.text("label"),
        variables=given,
        backend=", ".join(plan.agents.used_backends(graph)),
        secrets=settings.declared,
    )
    wiring = await around.checked(pipeline, plan, around.wiring(redactor), like)
    first = start_event(wiring, plan, like)
    opened = await lock_session(wiring, Opening(place=await new_place(wiring), first=first))
    for warning in (*_short_secrets(redactor), *_unpriced_models(plan)):
        opened.journal.record(warning)
    return Run(opened=opened, plan=plan, wiring=wiring, control=control or Control())


def _short_secrets(redactor: Redactor) -> list[WarningRaised]:
    return [
        WarningRaised(
            message=f"the value of {name} is shorter than {SHORTEST} characters and is not redacted",
            rule="short_secret",
        )
        for name in redactor.short
    ]


def _unpriced_models(plan: JoinedPlan) -> list[WarningRaised]:
    """What is said before a run of models without a price (A14)."""
    bound = plan.agents.settings.config.limits.run.cost is not None
    more = ", and the cost limit does not count it" if bound else ""
    return [
        WarningRaised(
            message=f"no price is known for the model {name}{more}; add it under `prices:`", rule="unpriced"
        )
        for name in plan.agents.unpriced_models(plan.graph)
    ]


def check_variables(variables: Mapping[str, str], redactor: Redactor) -> dict[str, Json]:
    """Return the variables as they are recorded. Raises ``ConfigError`` for an unusable name or value."""
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is not a valid name of a variable", fix="use letters, digits and _ . - after a letter"
            )
        if is_reserved(name):
            raise ConfigError(f"{name!r} is reserved for the engine and cannot be a variable")
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigError(f"the value of {name} is not UTF-8 text, so it cannot be recorded")
        found = next(iter(redactor.find(value)), None)
        if found is not None:
            raise ConfigError(
                f"the value of {name} contains a secret ({found[2]}); variables are recorded unchanged",
                fix="pass it in an environment variable instead",
            )
    return dict(variables)


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
    around = _Surroundings(store, settings, listeners, clock or SystemClock(), more)
    place, loaded = await newest_of_chain(store, own(await find(store, session)))
    if (holder := store.holder(place.context_id)) is not None:
        raise taken_error(holder)
    pipelines: list[Pipeline] = []

    async def prepared(state: RunState) -> tuple[Wiring, Plan]:
        pipeline, plan, wiring = await around.recorded(state, changes, changes.interrupted)
        pipelines.append(pipeline)
        return wiring, plan

    stop = read_stopped(settings).get(place.session)
    why, gone = (stop.reason, stop.claim) if stop is not None else ("", "")
    opened, wiring, plan = await open_session(prepared, Opening(place=place, loaded=loaded, stopped=why, gone=gone))
    if stop is not None:
        forget(place.session)
    return Run(opened=opened, plan=plan, wiring=wiring, control=control or Control()), pipelines[-1]


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
    around = _Surroundings(store, settings, listeners, clock or SystemClock(), more)
    session, _, branch = session.partition("/")
    row = own(await find(store, session))
    found = locate_in(store, row, branch, at) if branch else locate(store, row.context_id, row.session, at)
    spot = await found
    loaded = await load(store, row.context_id, until=spot.turn.turn_id)
    _goes_on(loaded.state, row.session)
    redactor = Redactor(secrets_of(loaded.state, settings))
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
    name, now = around.clock.display_id(), around.clock.now_ms()
    meta = Meta(session=name, epoch=loaded.state.epoch + 1, sequence=1, at=now)
    state = evolve(loaded.state, Recorded(meta, forked))
    pipeline, plan, wiring = await around.recorded(state, future.changes, "rerun")
    refuse_owned_names((*future.variables, *future.values), plan)
    await check_inherited(store, plan, state)
    place = await new_place(wiring, session=name, at=spot.turn.turn_id)

    async def prepared(_state: RunState) -> tuple[Wiring, Plan]:
        return wiring, plan

    opened, _wiring, _plan = await open_session(prepared, Opening(place=place, loaded=loaded, first=forked))
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
