"""The answers that stand in a session's mailbox, by question (H7, S15)."""

from __future__ import annotations

import asyncio

from orchestra.run.questions import Answer, Question, Sent, winner


class Answers:
    """Filled by the session's listener, in the order of the mailbox; asked by its walks."""

    def __init__(self) -> None:
        self._sent: dict[str, list[Sent]] = {}
        self._stirred: dict[str, asyncio.Event] = {}
        self._complete = asyncio.Event()

    def put(self, sent: Sent) -> None:
        """One more message of the mailbox."""
        self._sent.setdefault(sent.question, []).append(sent)
        if sent.question in self._stirred:
            self._stirred[sent.question].set()

    def read(self) -> None:
        """Everything that was in the mailbox when the listener started is here now."""
        self._complete.set()

    async def complete(self) -> bool:
        """Wait until that is so; true."""
        return await self._complete.wait()

    def newest(self, question: str) -> int:
        """The turn of the newest message about a question; 0 without one."""
        return max((sent.turn_id for sent in self._sent.get(question, ())), default=0)

    def first(self, question: Question) -> Answer | None:
        """The answer to a question that came first, where there is one."""
        return winner(question, self._sent.get(question.id, ()))

    async def wait(self, question: Question) -> Answer:
        """The same, once it is there."""
        stirred = self._stirred.setdefault(question.id, asyncio.Event())
        while (found := self.first(question)) is None:
            stirred.clear()
            await stirred.wait()
        return found
