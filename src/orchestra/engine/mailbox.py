"""A session's mailbox: what others want of its runner (S15).

Anyone who reaches the store appends a ``ControlRequested`` there; the runner listens and acts. What takes effect
is recorded in the session's own chain with the request's turn, in the same batch as its effect, so that each is
taken exactly once, by whichever runner has the session then.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import NamedTuple, assert_never

from orchestra.engine.control import Control
from orchestra.engine.loading import event_of, turn_of
from orchestra.errors import StoreError
from orchestra.ports import Store, Turn
from orchestra.run.events import ControlRequested, Meta, Recorded, RunnerAsked, UnreadableEvent
from orchestra.run.questions import SentAnswer
from orchestra.run.secrets import clean
from orchestra.run.state import RunState


class Action(StrEnum):
    """What can be requested of a runner."""

    PAUSE = "pause"
    INTERRUPT = "interrupt"
    CANCEL = "cancel"
    STEER = "steer"
    ANSWER = "answer"


PAUSE, INTERRUPT, CANCEL, STEER, ANSWER = Action

_PAGE = 64
_AGAIN_SECONDS = 1.0
"""How long a listener waits whose store is lost."""


class MailboxRequest(NamedTuple):
    """A request in a mailbox, by the turn that holds it."""

    turn_id: int
    action: Action
    text: str
    who: str
    question: str = ""
    value: str = ""
    automatic: bool = False
    at: int = 0
    label: str = ""

    @property
    def answer(self) -> SentAnswer:
        """It as an answer to a question (H7)."""
        return SentAnswer(
            turn_id=self.turn_id,
            question=self.question,
            value=self.value,
            text=self.text,
            who=self.who,
            at=self.at,
            automatic=self.automatic,
            label=self.label,
        )


async def send(
    store: Store,
    mailbox: int,
    session: str,
    action: Action,
    *,
    text: str = "",
    who: str,
    now_ms: int,
    question: str = "",
    value: str = "",
    label: str = "",
    automatic: bool = False,
) -> MailboxRequest:
    """Put a request into a session's mailbox; durable when it returns.

    It takes effect when a runner reads it.
    """
    event = ControlRequested(
        action=action,
        text=clean(text),
        who=clean(who),
        question=clean(question),
        value=clean(value),
        label=clean(label),
        automatic=automatic,
    )
    meta = Meta(session=session, epoch=0, sequence=1, at=now_ms)
    (turn,) = await store.append(mailbox, [turn_of(meta, event)])
    return _request(turn.turn_id, event, action, now_ms)


async def requests(store: Store, mailbox: int, after: int) -> list[MailboxRequest]:
    """Return the requests in a mailbox after a turn, oldest first."""
    return [one for turn in await _turns(store, mailbox, after) if (one := _read(event_of(turn))) is not None]


async def _turns(store: Store, mailbox: int, after: int) -> list[Turn]:
    found: list[Turn] = []
    before: int | None = None
    while page := await store.turns(mailbox, before=before, limit=_PAGE):
        found[:0] = page
        if page[0].parent == 0 or page[0].turn_id <= after:
            break
        before = page[0].turn_id
    return [turn for turn in found if turn.turn_id > after]


async def stop_requested(store: Store, mailbox: int, state: RunState) -> str:
    """Return who asked a running session to stop, and how, until that has taken effect; else empty."""
    after = max(state.heard, state.void_until)
    for turn in reversed(await store.turns(mailbox, limit=_PAGE)):
        request = _read(event_of(turn)) if turn.turn_id > after else None
        if request is not None and request.action in _STOPS:
            return f"{_STOPS[request.action]} requested by {request.who or 'another program'}"
    return ""


_STOPS = {PAUSE: "pause", INTERRUPT: "pause --now", CANCEL: "cancel"}


def _read(found: Recorded | UnreadableEvent) -> MailboxRequest | None:
    """The request that a turn holds; None where there is none, or one of a newer program."""
    if not isinstance(found, Recorded) or not isinstance(event := found.event, ControlRequested):
        return None
    if event.action not in list(Action):
        return None
    return _request(found.turn_id, event, Action(event.action), found.meta.at)


def _request(turn_id: int, event: ControlRequested, action: Action, at: int) -> MailboxRequest:
    return MailboxRequest(
        turn_id, action, event.text, event.who, event.question, event.value, event.automatic, at, event.label
    )


class Mailbox:
    """A session's mailbox as its runner reads it: the oldest request first, each once.

    Answers count whenever they were given: a question may have been open for days. Pauses and cancels from before
    the session was last resumed are void. ``answer`` is called with the turn of a process that asks whether the
    runner lives.
    """

    def __init__(
        self, store: Store, state: RunState, control: Control, answer: Callable[[int], Awaitable[None]]
    ) -> None:
        self._store = store
        self._context_id = state.mailbox
        self._control = control
        self._answer = answer
        self._void = max(state.heard, state.void_until)
        self._steered = state.steered
        self._read = 0
        control.session.mark_had(state.steered_apart)

    async def read(self) -> None:
        """Act on what arrived since the last call.

        Before the first node of a walk it makes sure that an instruction reaches the first agent (S15). Raises
        ``StoreError``.
        """
        for turn in await _turns(self._store, self._context_id, self._read):
            self._read = turn.turn_id
            found = event_of(turn)
            request = _read(found)
            if isinstance(found, Recorded) and isinstance(found.event, RunnerAsked):
                await self._answer(turn.turn_id)
            elif request is None:
                continue
            elif request.action is ANSWER:
                self._control.session.answers.put(request.answer)
            elif request.turn_id > (self._steered if request.action is STEER else self._void):
                act(self._control, request)
        self._control.session.answers.read()

    async def listen(self) -> None:
        """Read whenever something arrives, also again after the store was lost; never returns."""
        while True:
            with contextlib.suppress(StoreError):
                async for _ in self._store.watch(self._context_id):
                    await self.read()
            await asyncio.sleep(_AGAIN_SECONDS)


def act(control: Control, request: MailboxRequest) -> None:
    """Carry out a request that is no answer."""
    by = f"by {request.who}" if request.who else "from outside"
    match request.action:
        case Action.PAUSE:
            control.pause(f"paused {by}", request.turn_id)
            control.session.note(f"pause requested {by}: finishing the current node, then pausing")
        case Action.INTERRUPT:
            control.interrupt(f"interrupted {by}", request.turn_id)
        case Action.CANCEL:
            control.cancel(f"{by}: {request.text}" if request.text else by, request.turn_id)
        case Action.STEER:
            control.session.steer(request.text, request.turn_id)
        case Action.ANSWER:
            pass
        case _:
            assert_never(request.action)
