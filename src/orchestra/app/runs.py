"""Settings in, wired runner out: start a run, resume it (S26), replay it from a turn (S27)."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version

import msgspec
from msgspec import Struct, structs

from orchestra.agents.scripts import parse_script
from orchestra.agents.simulation import Scenario
from orchestra.app.pipelines import Pipeline
from orchestra.app.plans import (
    AS_RECORDED,
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
from orchestra.engine.below import check_inherited
from orchestra.engine.control import Control
from orchestra.engine.forking import TurnChoice, locate
from orchestra.engine.holding import machine, taken_error
from orchestra.engine.journal import Listener
from orchestra.engine.loading import load
from orchestra.engine.opening import Opening, OpenSession, ended_well, new_place, open_session, start_event
from orchestra.engine.running import Run as Run
from orchestra.engine.sessions import find, newest_of_chain, own
from orchestra.engine.wiring import Plan, RunnerProcess, Wiring
from orchestra.errors import ConfigError, CredentialsMissing, Source
from orchestra.graph.inputs import with_defaults
from orchestra.ports import Clock, Handler, Store
from orchestra.processes import tree
from orchestra.run.events import Meta, PipelineForked, Recorded, WarningRaised
from orchestra.run.fold import evolve
from orchestra.run.judging import is_reserved
from orchestra.run.outcome import Json
from orchestra.run.secrets import SHORTEST, KnownSecrets, Redactor
from orchestra.run.state import RunningNode, RunState

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")


def this_process() -> RunnerProcess:
    """Return who creates or runs a session."""
    return RunnerProcess(
        host=socket.gethostname(), pid=os.getpid(), version=version("orchestra-dot"), machine=machine()
    )


async def end_orphans(stage: RunningNode) -> tuple[WarningRaised, ...]:
    """End the processes of an interrupted command before it runs again; return the report (E4).

    They are found by their markers. On another machine nothing can be ended from here: the command is named.
    """
    if stage.tool_host != socket.gethostname():
        message = (
            f"the command of {stage.node} was interrupted on {stage.tool_host} and may still be running there:"
            f" its processes have {stage.tool} in {tree.MARKER} of their environment"
        )
    else:
        found, left = await tree.end(stage.tool)
        if not found:
            return ()
        pids = ", ".join(map(str, left or found))
        which = f"{'process' if len(left or found) == 1 else 'processes'} {pids}"
        became = "could not be stopped" if left else "was stopped"
        message = f"the command of {stage.node} was still running and {became}: {which}"
    return (WarningRaised(message=message, rule="orphaned_tool", node=stage.node),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSetup:
    """What a run of this process is joined with, however it begins.

    ``more`` are handlers by type besides the installed ones. ``control`` may carry a pause request already.
    """

    store: Store
    settings: Settings
    listeners: tuple[Listener, ...] = ()
    clock: Clock = field(default_factory=SystemClock)
    control: Control = field(default_factory=Control)
    more: Mapping[str, Handler] = field(default_factory=dict)

    def wiring(
        self, secrets: Mapping[str, str], *, interrupted: str = "", declared: tuple[str, ...] | None = None
    ) -> Wiring:
        """Return what the sessions of this process are opened with, whose record holds none of the secrets."""
        return Wiring(
            store=self.store,
            clock=self.clock,
            redactor=Redactor(secrets),
            listeners=self.listeners,
            origin=this_process(),
            sweep=end_orphans,
            interrupted=interrupted,
            secrets=declared,
            max_cost_micros=self.settings.max_cost_micros,
            at_once=self.settings.config.limits.run.parallel,
        )

    async def checked(self, plan: JoinedPlan, wiring: Wiring, state: RunState) -> tuple[Wiring, JoinedPlan]:
        """Return the wiring with its repositories; raise what forbids the run, before anything is written."""
        runnable(plan)
        if state.session and not plan.agents.folder.is_dir():
            raise ConfigError(
                f"session {state.session} works in {plan.agents.folder}, which does not exist",
                fix=f"if it was moved, name the pipeline there: orchestra resume {state.session} --graph FILE",
            )
        if self.settings.workspace is not None or state.workspace:
            simulated = bool(plan.simulation)
            wiring = wiring.on(
                await workspaces_of(self.settings, plan.graph.name, state.workspace, simulated=simulated)
            )
        await self.store.publish_types(*bundle())
        return wiring, plan

    async def recorded(self, state: RunState, changes: ResumeChanges) -> tuple[Wiring, JoinedPlan]:
        """Return with what a session continues from a state, or is only read if it ended well.

        Raises what forbids it.
        """
        done = ended_well(state)
        secrets = KnownSecrets({}) if done else secrets_of(state, self.settings)
        declared = None if done else self.settings.declared
        wiring = self.wiring(secrets, interrupted=changes.interrupted, declared=declared)
        in_force = self.settings.with_max_cost(state.max_cost_micros)
        plan = await recorded_plan(state, wiring, in_force, secrets, changes, self.more)
        return (wiring, plan) if done else await self.checked(plan, wiring, state)

    def run(self, opened: OpenSession[Plan]) -> Run:
        """Return the run of a session that was opened, ready to walk."""
        return Run(opened=opened, control=self.control)


async def start(
    setup: RunSetup,
    pipeline: Pipeline,
    *,
    variables: Mapping[str, str],
    simulation: Source | None = None,
    label: str = "",
) -> Run:
    """Open a session for a pipeline, ready to walk.

    Raises ``InvalidPipeline``, ``ConfigError`` and ``StoreError``. Nothing is written before every
    check has passed.
    """
    graph, settings = pipeline.checked_graph(), setup.settings
    wiring = setup.wiring(settings.secrets)
    given = check_variables(with_defaults(graph, variables), wiring.redactor)
    scenario = Scenario()
    if simulation is not None:
        scenario = parse_script(simulation, cast_of(pipeline))
        no_secret(simulation, wiring.redactor)
    plan = plan_of(pipeline, scenario, settings, setup.more)
    refuse_owned_names(given, plan)
    like = RunState(
        label=label or graph.text("label"),
        variables=given,
        backend=", ".join(dict.fromkeys(name for each in plan.whole() for name in each.brief.backends())),
        secrets=settings.declared,
    )
    wiring, plan = await setup.checked(plan, wiring, like)
    first = start_event(wiring, plan, like)
    opened = await open_session(wiring, plan, Opening(place=await new_place(wiring), first=first))
    for warning in (*_short_secrets(wiring.redactor), *_unpriced_models(plan)):
        opened.journal.record(warning)
    return setup.run(opened)


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
        for name in plan.brief.unpriced_models()
    ]


def check_variables(variables: Mapping[str, str], redactor: Redactor) -> dict[str, Json]:
    """Return the variables as they are recorded. Raises ``ConfigError`` for an unusable name or value."""
    for name, value in variables.items():
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"{name!r} is not a valid name of a variable", fix="use letters, digits and _ . - after a letter"
            )
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise ConfigError(f"the value of {name} is not UTF-8 text, so it cannot be recorded")
        _check_value(name, value, redactor, "a variable")
    return dict(variables)


def _values(given: Mapping[str, str], redactor: Redactor) -> dict[str, Json]:
    """Context values from a command line: JSON where it is JSON, else the text. Raises ``ConfigError``."""
    found: dict[str, Json] = {}
    for key, text in given.items():
        _check_value(key, text, redactor, "set")
        try:
            found[key] = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeEncodeError):
            found[key] = text
    return found


def _check_value(name: str, text: str, redactor: Redactor, use: str) -> None:
    if is_reserved(name):
        raise ConfigError(f"{name!r} is reserved for the engine and cannot be {use}")
    secret = next(iter(redactor.find(text)), None)
    if secret is not None:
        raise ConfigError(
            f"the value of {name} contains a secret ({secret[2]}); values are recorded unchanged",
            fix="pass it in an environment variable instead",
        )


async def resume(setup: RunSetup, session: str, changes: ResumeChanges = AS_RECORDED) -> tuple[Run, Pipeline]:
    """Take a session and make it ready to walk from where it is.

    A restarted session means the one in which it continues, which is started where that was not done yet (E14). One
    that ended well is returned with its result, and walking it does nothing. Nothing is recorded before every check
    has passed; then that the session is taken (S16), and how it continues with the first batch of the walk.

    Raises ``SessionNotFound``, ``SessionTaken``, ``CredentialsMissing``, ``ConfigError``, ``InvalidPipeline``,
    ``Undecided`` and ``StoreError``.
    """
    store = setup.store
    place, loaded = await newest_of_chain(store, own(await find(store, session)))
    if (holder := store.holder(place.context_id)) is not None:
        raise taken_error(holder)
    stop = read_stopped(setup.settings).get(place.session)
    why, gone = (stop.reason, stop.claim) if stop is not None else ("", "")

    prepared = partial(setup.recorded, changes=changes)
    opening = Opening(place=place, loaded=loaded, stopped=why, gone=gone)
    opened = await open_session(*await prepared(loaded.state), opening, prepared)
    if stop is not None:
        forget(place.session)
    return setup.run(opened), opened.plan.pipeline


def secrets_of(state: RunState, settings: Settings, *, needed: bool = True) -> KnownSecrets:
    """Return the secrets in force and those that the session had.

    Raises ``CredentialsMissing`` where one of those is ``needed`` and not set (S18).
    """
    wanted = settings.config.secrets
    recorded = known_secrets(os.environ, state.secrets, wanted.allow, wanted.ignore)
    missing = [name for name in state.secrets if name not in recorded]
    if needed and missing:
        raise CredentialsMissing(
            f"session {state.session} was started with {', '.join(missing)}, which is not set here",
            fix=f"export {missing[0]}=…",
        )
    return KnownSecrets({**recorded, **settings.secrets}, wanted.ignore)


class Future(Struct, frozen=True, kw_only=True):
    """What is different in the new session: variables, context values (as texts), pipeline texts, label."""

    variables: Mapping[str, str] = {}
    values: Mapping[str, str] = {}
    changes: ResumeChanges = AS_RECORDED
    label: str = ""


UNCHANGED = Future()


async def replay(setup: RunSetup, session: str, at: TurnChoice, future: Future = UNCHANGED) -> tuple[Run, Pipeline]:
    """Fork a session at a turn, and make the new one ready to walk; the old one stays as it is.

    Of ``SESSION/fan/x`` the turn is one of that branch: the other branches are then as they stood at that time.
    Nothing is written before every check has passed. Raises what ``resume`` raises.
    """
    store, (session, _, branch) = setup.store, session.partition("/")
    row = own(await find(store, session))
    spot = await locate(store, row, branch, at)
    loaded = await load(store, row.context_id, until=spot.turn_id)
    if ended_well(loaded.state):
        raise ConfigError(
            f"session {row.session} had already ended at that turn",
            fix="choose an earlier one: --node NODE, or --turn with a depth that"
            f" `orchestra log {row.session}` shows",
        )
    redactor = Redactor(secrets_of(loaded.state, setup.settings))
    forked = PipelineForked(
        label=future.label,
        variables=check_variables(future.variables, redactor),
        values=_values(future.values, redactor),
        parent=row.session,
        parent_context=row.context_id,
        from_turn=spot.turn_id,
        until=spot.until,
        mailbox=0,
    )
    name, now = setup.clock.display_id(), setup.clock.now_ms()
    meta = Meta(session=name, epoch=loaded.state.epoch + 1, sequence=1, at=now)
    state = evolve(loaded.state, Recorded(meta, forked))
    wiring, plan = await setup.recorded(state, structs.replace(future.changes, interrupted="rerun"))
    refuse_owned_names((*future.variables, *future.values), plan)
    await check_inherited(store, plan, state)
    place = await new_place(wiring, session=name, at=spot.turn_id)
    opening = Opening(place=place, loaded=loaded, first=forked)
    return setup.run(await open_session(wiring, plan, opening)), plan.pipeline
