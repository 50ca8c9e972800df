"""Who is asked the questions of a run: the terminal, a file of answers, nobody (H1, H12)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import typer

from orchestra.app.requests import asker
from orchestra.cli.options import Answers, ApproveTools, AutoApproval
from orchestra.cli.screen.views import SessionOptions, View
from orchestra.cli.terminal import in_foreground, use_colour, width
from orchestra.config.answers import AnswerFile, WrittenAnswer, read_answers
from orchestra.config.settings import Settings
from orchestra.engine.journal import Listener
from orchestra.engine.shared import Interviews
from orchestra.interview.auto_approve import AutoApprove
from orchestra.interview.notify import Notifier
from orchestra.interview.queue import PreparedAnswer, Queue
from orchestra.interview.sequence import InTurn
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
        asked.append(queue_of(read_answers(shown.answers)))
    if not shown.no_input and not always and terminal():
        asked.append(console(view))
    limit = round((settings.config.humans.timeout or 0) * 1000)
    return Interviews(InTurn(asked) if asked else None, always=always, timeout_ms=limit)


def listeners_for(settings: Settings) -> tuple[Listener, ...]:
    """Return who else is told of questions and of the end: the command ``humans.notify`` (H7)."""
    command = settings.config.humans.notify
    if not command:
        return ()
    environment = {name: value for name, value in os.environ.items() if name not in settings.key_names}
    return (Notifier(command, environment).tell,)


def terminal() -> bool:
    """Whether a person can be asked here: standard input and standard error are terminals, and ours (H12)."""
    return sys.stdin.isatty() and sys.stderr.isatty() and in_foreground(sys.stdin)


def console(view: View) -> Interviewer:
    """The terminal as an interviewer."""
    from orchestra.interview.console import Console, EditingReader, LineReader, PlainReader

    dumb = os.environ.get("TERM", "dumb") in ("dumb", "")
    reader: LineReader = PlainReader() if dumb else EditingReader(lambda: os.kill(os.getpid(), signal.SIGINT))
    return Console(
        who=asker(),
        screen=view,
        reader=reader,
        width=lambda: width(sys.stderr),
        colour=use_colour("auto", sys.stderr),
    )


def queue_of(answers: AnswerFile) -> Queue:
    """Written answers as an interviewer."""
    return Queue(_prepare(answers.any), {node: _prepare(mine) for node, mine in answers.by_node.items()})


def _prepare(written: Sequence[WrittenAnswer]) -> list[PreparedAnswer]:
    return [
        PreparedAnswer(choice=one.choice, text=one.text, skip=one.skip, who=one.who, span=one.span)
        for one in written
    ]
