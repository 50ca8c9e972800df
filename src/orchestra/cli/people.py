"""Who is asked the questions of a run: the terminal, a file of answers, nobody (H1, H12)."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass

import typer

from orchestra.app.requests import asker
from orchestra.cli.options import Answers, ApproveTools, AutoApproval
from orchestra.cli.screen.lines import View
from orchestra.cli.screen.views import SessionOptions
from orchestra.cli.stores import hint
from orchestra.cli.terminal import in_foreground, use_colour, width
from orchestra.config.answers import read_answers
from orchestra.config.settings import Settings
from orchestra.engine.journal import Listener
from orchestra.engine.shared import Interviews
from orchestra.interview.interviewers import AutoApprove, InTurn, Queue
from orchestra.interview.notify import Notifier
from orchestra.ports import Interviewer


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions(SessionOptions):
    """How a run is shown, and who answers its questions besides the person at the terminal (H1)."""

    auto_approve: AutoApproval = False
    answers: Answers = None
    approve_tools: ApproveTools = False

    def __post_init__(self) -> None:
        SessionOptions.__post_init__(self)
        if self.auto_approve and self.answers is not None:
            raise typer.BadParameter("--auto-approve and --answers exclude each other; use one")


def interviews_for(shown: RunOptions, view: View, settings: Settings, *, always: bool = False) -> Interviews:
    """Return who is asked: a file of answers, then the terminal, as flags and settings say.

    Raises ``ConfigError`` for a file of answers that cannot be used.
    """
    wanted = settings.config.humans.interviewer
    always = always or wanted == "mailbox"
    asked: list[Interviewer] = []
    approves = shown.auto_approve or (wanted == "auto-approve" and shown.answers is None)
    if approves or shown.approve_tools:
        asked.append(AutoApprove(tools=shown.approve_tools, others=approves))
    if shown.answers is not None:
        written = read_answers(shown.answers)
        asked.append(Queue(written.any, written.by_node))
    if not shown.no_input and not always and terminal():
        asked.append(console(view))
    limit = round((settings.config.humans.timeout or 0) * 1000)
    return Interviews(InTurn(asked) if asked else None, always=always, timeout_ms=limit)


def listeners_for(settings: Settings) -> tuple[Listener, ...]:
    """Return the listener that runs the command ``humans.notify`` at questions and at the end (H7).

    Its reader may be in any folder, so the command that answers always names the store.
    """
    command = settings.config.humans.notify
    if not command:
        return ()
    environment = {name: value for name, value in os.environ.items() if name not in settings.key_names}
    return (Notifier(command, environment, f"orchestra answer{hint(settings, settings.place)}").tell,)


def terminal() -> bool:
    """Whether a person can be asked here: standard input and standard error are terminals, and ours (H12)."""
    return sys.stdin.isatty() and sys.stderr.isatty() and in_foreground(sys.stdin)


def console(view: View, session: str = "") -> Interviewer:
    """The terminal as an interviewer; its prompts name the session where questions of several are asked."""
    from orchestra.interview.console import Console
    from orchestra.interview.terminal import EditingReader, LineReader, PlainReader

    dumb = os.environ.get("TERM", "dumb") in ("dumb", "")
    reader: LineReader = PlainReader() if dumb else EditingReader(lambda: os.kill(os.getpid(), signal.SIGINT))
    return Console(
        who=asker(),
        screen=view,
        reader=reader,
        width=lambda: width(sys.stderr),
        colour=use_colour("auto", sys.stderr),
        session=session,
    )
