"""Asks at a terminal (H1, H4, H10): questions on standard error, answers from standard input.

With a terminal that can move its cursor the line is edited by prompt_toolkit; else (``TERM=dumb``) by the terminal
itself. Either way a prompt can be canceled: then it was answered elsewhere, or the run stops.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from msgspec.structs import replace

from orchestra.graph.report import columns, safe, wrap
from orchestra.interview.question_lines import DIFF, decision_text, help_lines, question_lines
from orchestra.interview.terminal import LineReader, edit_text, page, say
from orchestra.ports import Interviewer, Unanswered
from orchestra.run.questions import (
    DONE,
    Answer,
    Question,
    offered_options,
    read,
    short_id,
    takes_commands,
)


class Screen(Protocol):
    """What else writes to the terminal."""

    def hold(self, above: Callable[[str], None] | None) -> None:
        """Leave it to a prompt; lines go above it where that can be done, else they are kept."""

    def release(self) -> None:
        """It is free again."""


class Console(Interviewer):
    """Asks one question at a time; a text that is no answer is asked for again.

    ``who`` is the name in the record. Nothing is ever taken for an answer but the key, the label, the beginning of
    one label, or the number of a choice, and free text where that is allowed. Where input ends the question stays
    open (``Unanswered``). The prompt names the ``session``, if one is given.
    """

    several = False

    def __init__(
        self,
        *,
        who: str,
        screen: Screen,
        reader: LineReader,
        width: Callable[[], int],
        colour: bool,
        session: str = "",
    ) -> None:
        self._who = who
        self._screen = screen
        self._reader = reader
        self._width = width
        self._colour = colour
        self._session = session
        self._asking = False
        self._kept: list[str] = []

    async def ask(self, question: Question) -> Answer:
        """Show the question and read until there is an answer."""
        self._screen.hold(self._reader.above)
        self._asking = True
        self._reader.forget()
        try:
            for line in question_lines(question, self._width(), self._colour):
                say(line)
            answer = await self._answer(question)
        except EOFError:
            say("  input has ended; the question stays open")
            raise Unanswered from None
        finally:
            self._asking = False
            while self._kept:
                say(self._kept.pop(0))
            self._screen.release()
        return replace(answer, who=self._who)

    async def _answer(self, question: Question) -> Answer:
        prompt = f"{self._session} {short_id(question.stage) or 'answer'}> ".lstrip()
        while True:
            typed = await self._read_line(question, prompt)
            if typed.strip() == "/edit" and question.freeform:
                typed = await edit_text()
            ours = typed.strip().startswith("/") and question.freeform and not takes_commands(question)
            answer = None if ours else read(question, typed)
            if answer is not None:
                return answer
            await self._reply(question, typed.strip())

    async def _read_line(self, question: Question, prompt: str) -> str:
        """A line; the end of input ends a conversation after a question back (H9)."""
        try:
            return await self._reader.line(prompt)
        except EOFError:
            if not takes_commands(question):
                raise
        sure = await self._reader.line("end the conversation? (y/n) ")
        return DONE if sure.strip().lower() in ("y", "yes") else ""

    async def _reply(self, question: Question, typed: str) -> None:
        """Say why it is asked again."""
        if typed in ("/view", "v") and question.about:
            await page(str(question.about))
        elif typed in ("/diff", "d") and DIFF.search(decision_text(question)):
            await page("\n".join(found[1] for found in DIFF.finditer(decision_text(question))))
        elif typed in ("/help", "?", "h"):
            for line in help_lines(question, self._width()):
                say(line)
        elif typed.startswith("/") and question.freeform:
            known = [*(option.key for option in question.options), "/edit", "/view", "/help"]
            _say_wrapped("  ", f"{safe(typed.split()[0][:40])} is unknown here: {', '.join(known)}", self._width())
        elif typed:
            words = [f"{option.key} ({option.label})" for option in offered_options(question)]
            words += ["more than one character of your own words"] if question.freeform else []
            wanted = " or ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
            _say_wrapped("  ", f"{safe(typed[:60])!r} is not an answer here: type {wanted}", self._width())

    async def inform(self, message: str, stage: str) -> None:
        """A line on standard error: above a prompt that is open, or after it where that cannot be done (H10)."""
        lines = wrap("  ", safe(f"{stage}: {message}" if stage else message), self._width(), "  ")
        if self._asking:
            above = self._reader.above or self._kept.append
            for line in lines:
                above(line)
            return
        self._screen.hold(None)
        try:
            for line in lines:
                say(line)
        finally:
            self._screen.release()


def _say_wrapped(lead: str, text: str, width: int) -> None:
    for line in wrap(lead, text, width, " " * columns(lead)):
        say(line)
