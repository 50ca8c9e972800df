"""``orchestra pause``, ``cancel`` and ``steer``: wishes for a session that another process runs."""

from __future__ import annotations

from typing import Annotated

import typer

from orchestra.cli.options import AsJson, Config, Session, Store


def pause(
    session: Session,
    now: Annotated[bool, typer.Option("--now", help="Interrupt the node at work; it is run again later.")] = False,
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Let a run pause after the node at work, from any terminal or machine that reaches the store.

    Exit code 0: it paused, will when the node has ended, or nothing runs; 1: its runner may be gone.
    """
    from orchestra.cli._asking import ask_session

    action = "interrupt" if now else "pause"
    raise typer.Exit(ask_session(session, action, "", store=store, config=config, as_json=as_json))


def cancel(
    session: Session,
    why: Annotated[
        str, typer.Option("--why", metavar="TEXT", help="What the record says.", show_default=False)
    ] = "",
    store: Store = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """End a run now, whether or not somebody runs it; it can be taken up again with resume.

    Children that nobody runs are cancelled with it.

    Exit code 0: it is cancelled, or has ended already; 1: it has not stopped yet.
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
    """Give the agents of a run an instruction: it stands behind the prompt of the next one that begins.

    Exit code 0: it is in the session's mailbox; 2: the session has ended, so no agent would hear it.
    """
    from orchestra.cli._asking import ask_session

    if not text.strip():
        raise typer.BadParameter("an instruction has to say something")
    raise typer.Exit(ask_session(session, "steer", text, store=store, config=config, as_json=as_json))
