"""``orchestra pause``, ``cancel`` and ``steer``: requests to a session that another process runs."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from orchestra.app.asking import RequestResult, ask
from orchestra.app.stores import open_store
from orchestra.cli.options import AsJson, Config, Session, StoreOption
from orchestra.cli.stores import aim_commands, hint, settings_for, there
from orchestra.cli.terminal import one_line, say, say_json
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.engine.mailbox import CANCEL, INTERRUPT, PAUSE, STEER
from orchestra.errors import StoreError
from orchestra.run.views import Phase


def pause(
    session: Session,
    now: Annotated[bool, typer.Option("--now", help="Interrupt the running node; a resume runs it again.")] = False,
    store: StoreOption = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Pause a run after its current node, from any terminal or machine that can reach the store.

    Exit codes: 0: paused, pausing after the current node, or not running; 1: the runner may be gone.
    """
    action = "interrupt" if now else "pause"
    raise typer.Exit(ask_session(session, action, "", store=store, config=config, as_json=as_json))


def cancel(
    session: Session,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Reason to record.", show_default=False)] = "",
    store: StoreOption = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a session now, running or not. Its children are canceled too. `resume` can continue it later.

    Exit codes: 0: canceled, or already ended; 1: it has not stopped yet.
    """
    raise typer.Exit(ask_session(session, "cancel", why, store=store, config=config, as_json=as_json))


def steer(
    session: Session,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="An instruction for the agents.")],
    store: StoreOption = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Send an instruction to the agents of a session: to a running one, else in the prompt of the next.

    A model at work gets it before its next call.

    Exit codes: 0: queued in the session's mailbox; 2: the session has ended.
    """
    if not text.strip():
        raise typer.BadParameter("TEXT is empty; write the instruction")
    raise typer.Exit(ask_session(session, "steer", text, store=store, config=config, as_json=as_json))


PATIENCE = {PAUSE: 2.0, INTERRUPT: 15.0, CANCEL: 15.0, STEER: 0.0}
"""Seconds to wait for the runner to act; the current node may take longer than a pause request waits."""


def ask_session(
    session: str, action: str, text: str, *, store: str | None, config: Path | None, as_json: bool
) -> int:
    """Send the request and print its result. Return 0 if it is or will be carried out, 1 if not certain."""
    settings = settings_for(store, config)
    there(settings, session)
    try:
        asked = asyncio.run(_send_request(settings, session, action, text))
    except StoreError as error:
        error.fix = aim_commands(error.fix, hint(settings, store))
        raise
    doubtful = not asked.done and action != STEER and asked.after.phase is Phase.DOUBTFUL
    if as_json:
        request = asked.request.turn_id if asked.request is not None else None
        said: dict[str, object] = {**asdict(asked.after), "asked": action, "request": request}
        for name in ("children", "notes"):
            if found := list(getattr(asked, name)):
                said[name] = found
        say_json(said, indent=2)
    else:
        for line in _lines(asked, action, hint(settings, store)):
            say(line)
    return 1 if doubtful or (action == CANCEL and not asked.done) else 0


async def _send_request(settings: Settings, session: str, action: str, text: str) -> RequestResult:
    store = open_store(settings)
    try:
        return await ask(store, settings, session, action, text, clock=SystemClock(), patience=PATIENCE[action])
    finally:
        await store.close()


def _lines(asked: RequestResult, action: str, aim: str) -> list[str]:
    before, after = asked.before, asked.after
    name, look = after.session, f"  details: orchestra status{aim} {after.session} --detail"
    if action == STEER:
        waits = (
            "queued for the agent at work, before its next model call, or for the next one"
            if before.phase in (Phase.RUNNING, Phase.WAITING)
            else "queued for the first agent after a resume"
        )
        return [f"{name}: {waits}"]
    if asked.request is None and not asked.children:
        reason = f" ({one_line(after.detail, 200)})" if after.detail else ""
        return [f"{name} is already {after.phase}{reason}; nothing was changed", look]
    if asked.done:
        on = [] if after.phase is Phase.COMPLETED else [f"  resume: orchestra resume{aim} {name}"]
        at = f" at {after.node}" if after.node else ""
        notes = [f"  note: {one_line(note, 400)}" for note in asked.notes]
        return [f"{name} is {after.phase}{at}{_with_it(asked.children)}", *notes, *on]
    if after.phase is Phase.DOUBTFUL:
        return [f"request sent, but the runner of {name} may be gone: {after.detail}", look]
    if action == PAUSE:
        return [
            f"request sent: {name} pauses after {after.node or 'its current node'}",
            f"  pause now: orchestra pause{aim} {name} --now",
        ]
    return [f"request sent: {name} has not stopped yet", look]


def _with_it(children: tuple[str, ...]) -> str:
    if not children:
        return ""
    return f", with its {'child' if len(children) == 1 else 'children'} {', '.join(children)}"
