"""``orchestra pause``, ``cancel`` and ``steer``: requests to a session that another process runs."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config, Session, Store


def pause(
    session: Session,
    now: Annotated[bool, typer.Option("--now", help="Interrupt the running node; a resume runs it again.")] = False,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Pause a run after its current node, from any terminal or machine that can reach the store.

    Exit codes: 0: paused, pausing after the current node, or not running; 1: the runner may be gone.
    """
    from orchestra.cli._asking import ask_session

    action = "interrupt" if now else "pause"
    raise typer.Exit(ask_session(session, action, "", store=store, config=config, as_json=as_json))


def cancel(
    session: Session,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Reason to record.", show_default=False)] = "",
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Cancel a session now, running or not. Its children are canceled too. `resume` can continue it later.

    Exit codes: 0: canceled, or already ended; 1: it has not stopped yet.
    """
    from orchestra.cli._asking import ask_session

    raise typer.Exit(ask_session(session, "cancel", why, store=store, config=config, as_json=as_json))


def steer(
    session: Session,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="An instruction for the agents.")],
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Send an instruction to the agents of a session. It is appended to the prompt of the next agent.

    Exit codes: 0: queued in the session's mailbox; 2: the session has ended.
    """
    from orchestra.cli._asking import ask_session

    if not text.strip():
        raise typer.BadParameter("TEXT is empty; write the instruction")
    raise typer.Exit(ask_session(session, "steer", text, store=store, config=config, as_json=as_json))
