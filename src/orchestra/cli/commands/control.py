"""``orchestra attach``, ``pause``, ``cancel``, ``steer``: watch and control another process's session."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Annotated, Self

import typer

from orchestra.app.answering import find_question, give, look
from orchestra.app.requests import RequestResult, ask, asker
from orchestra.app.stores import open_store
from orchestra.cli.errors import INTERRUPTED
from orchestra.cli.outlet import drain, outlets
from orchestra.cli.people import console, terminal
from orchestra.cli.screen.ended import read_end, say_ended
from orchestra.cli.screen.lines import View
from orchestra.cli.screen.views import SessionOptions
from orchestra.cli.stores import OutputOptions, Session, StoreAccess
from orchestra.cli.terminal import complain, one_line, say, say_json
from orchestra.clock import SystemClock
from orchestra.config.settings import Settings
from orchestra.engine.following import follow
from orchestra.engine.mailbox import CANCEL, INTERRUPT, PAUSE, STEER, Action
from orchestra.engine.sessions import Row, find
from orchestra.errors import OrchestraError
from orchestra.ports import Store, Unanswered
from orchestra.run.events import InterviewCompleted, InterviewStarted, LiveEvent, PipelineForked, Recorded
from orchestra.run.state import RunState
from orchestra.run.views import Phase


def attach(session: Session, *, shown: SessionOptions) -> int:
    """Watch a session from its start until it ends. Ctrl-C stops watching; the session keeps running.

    A node of a child session is shown with the node that runs the child, as check/lint. With --json-stream, every
    line names its session.

    Exit codes: 0: it succeeded; 1: it failed; 9: no such session; 130: it is paused, its runner is gone, or you
    stopped watching.
    """
    at = shown.access()

    async def watch(store: Store) -> int:
        row = await find(store, session)
        left = asyncio.Event()
        try:
            watched = await _watch(store, row, shown, at.settings)
            if watched is None:
                left.set()
                return _leave(at, row)
            last, state = watched
            return say_ended(shown, at, await read_end(store, at, last, state))
        finally:
            with _leaving(left.set):
                await drain(streams, left)

    with outlets() as streams:
        return at.read(watch, session)


async def _watch(store: Store, row: Row, shown: SessionOptions, settings: Settings) -> tuple[Row, RunState] | None:
    """Return the last session shown and its final state, or None if the user left first.

    At a terminal the questions that the session asks meanwhile can be answered.
    """
    view = shown.view()
    view.open(row.session, row.title)
    task = asyncio.current_task()
    assert task is not None
    try:
        with _leaving(task.cancel):
            if shown.no_input or row.mirror_of or not terminal():
                return await follow(store, row, view.tell, SystemClock())
            async with TerminalPrompts(settings, view) as prompts:
                return await follow(store, row, prompts.tell, SystemClock())
    except asyncio.CancelledError:
        task.uncancel()
        return None
    finally:
        view.close()


@contextmanager
def _leaving(leave: Callable[[], object]) -> Iterator[None]:
    """Let Ctrl-C, SIGTERM and a closed terminal stop watching, and nothing else."""
    loop = asyncio.get_running_loop()
    ours = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    before = {number: old for number, old in ours.items() if old is not signal.SIG_IGN}
    for number in before:
        loop.add_signal_handler(number, leave)
    try:
        yield
    finally:
        for number, old in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, old)


def _leave(at: StoreAccess, row: Row) -> int:
    complain(
        f"stopped watching; session {row.session} keeps running\n  watch: orchestra attach{at.aim} {row.session}"
    )
    return INTERRUPTED


SETTLE_SECONDS = 0.3
"""How long a question has to be open before it is asked: replayed questions may be long answered."""


class TerminalPrompts:
    """Asks open questions one at a time; a prompt goes away when it is answered elsewhere."""

    def __init__(self, settings: Settings, view: View) -> None:
        self._settings = settings
        self._view = view
        self._console = console(view)
        self._open: dict[str, str] = {}
        self._stirred = asyncio.Event()
        self._asked = ""
        self._prompt: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.ensure_future(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def tell(self, recorded: Recorded | LiveEvent) -> None:
        """Show an event, and note what it asks or answers."""
        event = recorded.event
        if isinstance(event, InterviewStarted):
            self._open[event.question] = recorded.meta.session
            self._stirred.set()
        elif isinstance(event, InterviewCompleted):
            self._open.pop(event.question, None)
            if event.question == self._asked and self._prompt is not None:
                self._prompt.cancel()
        elif isinstance(event, PipelineForked):
            self._open.clear()
        self._view.tell(recorded)

    async def _run(self) -> None:
        passed: set[str] = set()
        while True:
            await self._stirred.wait()
            await asyncio.sleep(SETTLE_SECONDS)
            self._stirred.clear()
            while waiting := [name for name in self._open if name not in passed]:
                passed.add(waiting[0])
                await self._one(waiting[0])

    async def _one(self, question: str) -> None:
        self._asked = question
        self._prompt = asyncio.ensure_future(self._ask(question))
        try:
            await asyncio.wait({self._prompt})
        finally:
            self._prompt.cancel()
            with contextlib.suppress(asyncio.CancelledError, Unanswered, OrchestraError):
                await self._prompt
            self._asked = ""

    async def _ask(self, question: str) -> None:
        store, clock = open_store(self._settings), SystemClock()
        try:
            found = await look(store, self._open[question], clock)
            one = find_question(found, question)
            if one is None or one.answer is not None:
                return
            answer = await self._console.ask(one.question)
            done = await give(store, self._settings, found, one, answer, who=asker(), clock=clock)
            if not done.won:
                await self._console.inform(
                    f"already answered: {done.answer.label}, by {done.answer.who}", one.question.stage
                )
        finally:
            await store.close()


def pause(
    session: Session,
    now: Annotated[bool, typer.Option("--now", help="Interrupt the running node; a resume runs it again.")] = False,
    *,
    options: OutputOptions,
) -> int:
    """Pause a run after its current node, from any terminal or machine that can reach the store.

    Exit codes: 0: paused, pausing after the current node, or not running; 1: the runner may be gone.
    """
    return _request(session, INTERRUPT if now else PAUSE, "", options)


def cancel(
    session: Session,
    why: Annotated[str, typer.Option("--why", metavar="TEXT", help="Reason to record.", show_default=False)] = "",
    *,
    options: OutputOptions,
) -> int:
    """Cancel a session now, running or not. Its children are canceled too. `resume` can continue it later.

    Exit codes: 0: canceled, or already ended; 1: it has not stopped yet.
    """
    return _request(session, CANCEL, why, options)


def steer(
    session: Session,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="An instruction for the agents.")],
    *,
    options: OutputOptions,
) -> int:
    """Send an instruction to the agents of a session: to a running one, else in the prompt of the next.

    A running agent gets it before its next model call.

    Exit codes: 0: queued in the session's mailbox; 2: the session has ended.
    """
    if not text.strip():
        raise typer.BadParameter("TEXT is empty; write the instruction")
    return _request(session, STEER, text, options)


PATIENCE = {PAUSE: 2.0, INTERRUPT: 15.0, CANCEL: 15.0, STEER: 0.0}
"""Seconds to wait for the runner to act; the current node may take longer than a pause request waits."""


def _request(session: str, action: Action, text: str, options: OutputOptions) -> int:
    """Send a request and print its result. Return 0 if it is or will be carried out, 1 if not certain."""
    at = options.access()

    async def send(store: Store) -> RequestResult:
        clock, patience = SystemClock(), PATIENCE[action]
        return await ask(store, at.settings, session, action, text, clock=clock, patience=patience)

    asked = at.write(send, session)
    doubtful = not asked.done and action != STEER and asked.after.phase is Phase.DOUBTFUL
    if options.as_json:
        request = asked.request.turn_id if asked.request is not None else None
        said: dict[str, object] = {**asdict(asked.after), "asked": action, "request": request}
        for name in ("children", "notes"):
            if found := list(getattr(asked, name)):
                said[name] = found
        say_json(said, indent=2)
    else:
        for line in _lines(asked, action, at.aim):
            say(line)
    return 1 if doubtful or (action == CANCEL and not asked.done) else 0


def _lines(asked: RequestResult, action: Action, aim: str) -> list[str]:
    before, after = asked.before, asked.after
    name, look = after.session, f"  details: orchestra status{aim} {after.session} --detail"
    if action == STEER:
        waits = (
            "queued for the running agent, before its next model call, or for the next agent"
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
