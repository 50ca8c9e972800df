"""What all walks of a session share: who is asked, the answers, what is spent (H1, H5, H7, A5, E35)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from msgspec.structs import replace

from orchestra.ports import Interviewer, Unanswered
from orchestra.run.questions import Answer, Question, SentAnswer, takes_commands, winner
from orchestra.run.state import NO_EXPENSE, Spent

GATHER_SECONDS = 0.1
"""How long other questions are waited for before one is shown, so that their number is right."""


@dataclass(slots=True)
class Interviews:
    """Who is asked in the sessions that this process runs.

    ``always`` says that answers from elsewhere are waited for where nobody can be asked here; ``timeout_ms`` is
    how long a person has where a question does not say so itself, 0 for as long as it takes (H5).
    """

    interviewer: Interviewer | None = None
    always: bool = field(default=False, kw_only=True)
    timeout_ms: int = field(default=0, kw_only=True)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)
    _waiting: int = field(default=0, init=False)

    def with_deadline(self, question: Question) -> Question:
        """The question with the time that a person has for it; a conversation with an agent has no bound."""
        if question.timeout_ms or not self.timeout_ms or takes_commands(question):
            return question
        return replace(question, timeout_ms=self.timeout_ms)

    async def ask(self, question: Question, shown: asyncio.Event) -> Answer:
        """Ask here, one question at a time unless the interviewer takes several. Raises ``Unanswered``."""
        interviewer = self.interviewer
        if interviewer is None:
            raise Unanswered
        if interviewer.several:
            shown.set()
            return await interviewer.ask(question)
        self._waiting += 1
        try:
            async with self._turn:
                await asyncio.sleep(GATHER_SECONDS)
                if others := self._waiting - 1:
                    waits = "1 more question waits" if others == 1 else f"{others} more questions wait"
                    await interviewer.inform(waits, "")
                shown.set()
                return await interviewer.ask(question)
        finally:
            self._waiting -= 1

    async def inform(self, message: str, stage: str) -> None:
        """Inform the person who is asked here."""
        if self.interviewer is not None:
            await self.interviewer.inform(message, stage)


@dataclass(slots=True)
class Inbox:
    """Filled by the session's listener, in the order of the mailbox; asked by its walks."""

    _sent: dict[str, list[SentAnswer]] = field(default_factory=dict, init=False)
    _stirred: dict[str, asyncio.Event] = field(default_factory=dict, init=False)
    _complete: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def put(self, sent: SentAnswer) -> None:
        """One more message of the mailbox."""
        self._sent.setdefault(sent.question, []).append(sent)
        if sent.question in self._stirred:
            self._stirred[sent.question].set()

    def read(self) -> None:
        """Everything that was in the mailbox when the listener started is here now."""
        self._complete.set()

    @property
    def is_complete(self) -> bool:
        """Whether that is so."""
        return self._complete.is_set()

    async def complete(self) -> None:
        """Wait until that is so."""
        await self._complete.wait()

    def newest(self, question: str) -> int:
        """The turn of the newest message about a question; 0 without one."""
        return max((sent.turn_id for sent in self._sent.get(question, ())), default=0)

    def first(self, question: Question) -> Answer | None:
        """Return the first answer to a question, if there is one."""
        return winner(question, self._sent.get(question.id, ()))

    async def wait(self, question: Question) -> Answer:
        """Return the same, once it exists."""
        stirred = self._stirred.setdefault(question.id, asyncio.Event())
        while (found := self.first(question)) is None:
            stirred.clear()
            await stirred.wait()
        return found


@dataclass(slots=True)
class Meter:
    """The spending of a session since this process took it, with its branches and children.

    ``outer`` is the meter of the session that runs this one: what is used here is used there too, and what this one
    had spent before is counted there already.
    """

    outer: Meter | None = None
    steps: int = field(default=0, init=False)
    """Nodes that the session's walks have executed, as ``max_steps`` counts them."""
    _base: Spent | None = field(default=None, init=False)
    _added: Spent = field(default=NO_EXPENSE, init=False)

    @property
    def outermost(self) -> bool:
        """Whether no other session runs this one."""
        return self.outer is None

    def began(self, spent: Spent) -> None:
        """Note what the session had spent when this process began to run it; a second call changes nothing."""
        if self._base is None:
            self._base = spent

    def add(self, more: Spent) -> None:
        """Count what a turn cost."""
        self._added += more
        if self.outer is not None:
            self.outer.add(more)

    @property
    def total(self) -> Spent:
        """What the whole tree of sessions has used, as far as this process knows."""
        return (self._base or NO_EXPENSE) + self._added if self.outer is None else self.outer.total
