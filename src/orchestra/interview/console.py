"""Asks at a terminal (H1, H4, H10): questions on standard error, answers from standard input.

With a terminal that can move its cursor the line is edited by prompt_toolkit; else (``TERM=dumb``) by the terminal
itself. Either way a prompt can be canceled: then it was answered elsewhere, or the run stops.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from msgspec.structs import replace

from orchestra.graph.report import columns, paint, plural, safe, wrap
from orchestra.interview.several import one_by_one
from orchestra.ports import Unanswered
from orchestra.run.codec import preview_of
from orchestra.run.questions import (
    DONE,
    FREEFORM_TARGET,
    Answer,
    Option,
    Question,
    limit_in_words,
    numbers_pick,
    offered_options,
    read,
    short_id,
    takes_commands,
)

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

SHOWN_LINES = 12
"""Lines shown at once of the text to decide on; the pager shows all of it."""

LONG_LINE = 65536
"""Bytes that are read from a terminal at a time."""


class Screen(Protocol):
    """What else writes to the terminal."""

    def hold(self, above: Callable[[str], None] | None) -> None:
        """Leave it to a prompt; lines go above it where that can be done, else they are kept."""

    def release(self) -> None:
        """It is free again."""


class LineReader(Protocol):
    """Reads one line."""

    @property
    def above(self) -> Callable[[str], None] | None:
        """Writes a line above the prompt, where that can be done."""

    async def line(self, prompt: str) -> str:
        """What was typed. Raises ``EOFError`` where input has ended."""


class Console:
    """Asks one question at a time; a text that is no answer is asked for again.

    ``who`` is the name in the record. Nothing is ever taken for an answer but the key, the label, the beginning of
    one label, or the number of a choice, and free text where that is allowed. Where input ends the question stays
    open (``Unanswered``).
    """

    several = False

    def __init__(
        self, *, who: str, screen: Screen, reader: LineReader, width: Callable[[], int], colour: bool
    ) -> None:
        self._who = who
        self._screen = screen
        self._reader = reader
        self._width = width
        self._colour = colour
        self._asking = False
        self._kept: list[str] = []

    async def ask(self, question: Question) -> Answer:
        """Show the question and read until there is an answer."""
        self._screen.hold(self._reader.above)
        self._asking = True
        try:
            for line in question_lines(question, self._width(), self._colour):
                _say(line)
            answer = await self._answer(question)
        except EOFError:
            _say("  input has ended; the question stays open")
            raise Unanswered from None
        finally:
            self._asking = False
            while self._kept:
                _say(self._kept.pop(0))
            self._screen.release()
        return replace(answer, who=self._who)

    async def _answer(self, question: Question) -> Answer:
        prompt = f"{short_id(question.stage) or 'answer'}> "
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
        elif typed in ("/diff", "d") and _DIFF.search(_text(question)):
            await page("\n".join(found[1] for found in _DIFF.finditer(_text(question))))
        elif typed in ("/help", "?", "h"):
            for line in _help(question, self._width()):
                _say(line)
        elif typed.startswith("/") and question.freeform:
            known = [*(option.key for option in question.options), "/edit", "/view", "/help"]
            _say_wrapped("  ", f"{safe(typed.split()[0][:40])} is unknown here: {', '.join(known)}", self._width())
        elif typed:
            words = [f"{option.key} ({option.label})" for option in offered_options(question)]
            _say_wrapped(
                "  ", f"{safe(typed[:60])!r} is not an answer here: type {', '.join(words)}", self._width()
            )

    async def ask_multiple(self, questions: Sequence[Question]) -> list[Answer]:
        """One after the other."""
        return await one_by_one(self, questions)

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
                _say(line)
        finally:
            self._screen.release()


def question_lines(question: Question, width: int, colour: bool) -> Iterator[str]:
    """Yield the question as lines of a terminal: the text to decide on, the question, the choices."""
    yield ""
    if takes_commands(question):
        yield from _exchange(question, width, colour)
        return
    yield from _about(question, width, colour)
    lead = "? "
    first, *rest = wrap(lead, safe(question.text), width, "  ")
    yield paint(first, "1;36", colour)
    yield from (paint(line, "1;36", colour) for line in rest)
    for number, option in enumerate(offered_options(question), 1):
        place = f"{number} " if numbers_pick(question) else ""
        yield from wrap(f"  {place}[{safe(option.key)}] ", _describe(option), width, "        ")
    if question.freeform:
        target = str(question.metadata.get(FREEFORM_TARGET, ""))
        words = f"or write what you want to say{f' → {safe(target)}' if target else ''} (? for help)"
        yield from wrap("  ", words, width, "  ")
    if question.timeout_ms:
        yield from wrap("  ", safe(limit_in_words(question)), width, "  ")


def _exchange(question: Question, width: int, colour: bool) -> Iterator[str]:
    """Show an agent's words, how to end the conversation, and what was said in another process."""
    for words, reply in question.earlier:
        yield from render_markdown(words, width, colour)
        yield ""
        for line in reply.splitlines():
            yield from wrap("> ", safe(line), width, "  ")
        yield ""
    yield from render_markdown(str(question.about), width, colour)
    yield ""
    words = (
        f"{question.text}: write your answer; {', '.join(option.key for option in question.options)} end it, /help"
    )
    yield from (paint(line, "90", colour) for line in wrap("", words, width, ""))


def _describe(option: Option) -> str:
    target = f" → {option.target}" if option.target and option.target.lower() != option.label.lower() else ""
    return safe(f"{option.label}{target}")


_DIFF = re.compile(r"^```diff\n(.*?)^```$", re.DOTALL | re.MULTILINE)
"""A diff in the text to decide on."""


def _text(question: Question) -> str:
    return preview_of(question.about) if not isinstance(question.about, str) else question.about


def _summary(found: re.Match[str]) -> str:
    """What is shown of the diff of a repository: which files are changed, and by how much."""
    files, patch, _rest = found[1].partition("diff --git ")
    summary = files.strip("\n")
    return f"```\n{summary}\n```\n\n`d` shows the diff\n" if patch and summary else found[0]


def _about(question: Question, width: int, colour: bool) -> Iterator[str]:
    text = _DIFF.sub(_summary, _text(question))
    if not text.strip():
        return
    lines = render_markdown(text, max(width - 4, 20), colour)
    for line in lines[:SHOWN_LINES]:
        yield f"  {paint('|', '90', colour)} {line}".rstrip()
    if len(lines) > SHOWN_LINES:
        more = plural(len(lines) - SHOWN_LINES, "more line")
        yield f"  {paint('|', '90', colour)} … {more}: /view"


def render_markdown(text: str, width: int, colour: bool) -> list[str]:
    """Markdown as lines of a terminal."""
    from rich.console import Console as Rich
    from rich.markdown import Markdown

    plain = "\n".join(safe(line.replace("\t", "    ")) for line in text.splitlines())
    console = Rich(width=width, color_system="standard" if colour else None, force_terminal=colour, highlight=False)
    with console.capture() as captured:
        console.print(Markdown(_left_align(plain), hyperlinks=False))
    return [line.rstrip() for line in captured.get().rstrip().splitlines()]


def _left_align(markdown: str) -> str:
    """Return the text with its headings as bold lines, which are easier to find than centered ones."""
    lines, code = [], False
    for line in markdown.splitlines():
        code ^= line.lstrip().startswith(("```", "~~~"))
        heading = None if code else re.match(r"#{1,6}\s+(.*?)\s*#*$", line)
        lines += [line] if heading is None else ["", f"**{heading[1]}**", ""]
    return "\n".join(lines)


def _help(question: Question, width: int) -> Iterator[str]:
    if takes_commands(question):
        yield from wrap("  ", "/done ends the conversation, /approve too; /reject WHY fails the node", width, "  ")
    elif question.options:
        yield from wrap("  ", "type a key, a label, the beginning of one label, or a number", width, "  ")
    if question.about:
        yield from wrap("  ", "/view shows the whole text to decide on", width, "  ")
    if _DIFF.search(_text(question)):
        yield from wrap("  ", "/diff shows the changes; so does d, unless it is a choice", width, "  ")
    if question.freeform:
        yield from wrap("  ", "/edit opens $EDITOR; Alt-Enter begins a new line", width, "  ")
    left = "ends the conversation" if takes_commands(question) else "leaves the question open for later"
    yield from wrap("  ", f"Ctrl-C pauses the run, Ctrl-D {left}", width, "  ")


def _say(line: str) -> None:
    """Print a line on standard error, unless that is closed."""
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    try:
        sys.stderr.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stderr.flush()
    except OSError:
        pass


def _say_wrapped(lead: str, text: str, width: int) -> None:
    for line in wrap(lead, text, width, " " * columns(lead)):
        _say(line)


async def page(text: str) -> None:
    """Show a text in the pager (``$PAGER``, else less); the run continues meanwhile."""
    import shlex
    import shutil

    pager = shlex.split(os.environ.get("PAGER", "")) or (["less", "-R"] if shutil.which("less") else [])
    plain = "\n".join(safe(line.replace("\t", "    ")) for line in text.splitlines())
    if not pager or os.environ.get("TERM") == "dumb":
        _say(plain)
        return
    try:
        shown = await asyncio.create_subprocess_exec(
            *pager, stdin=asyncio.subprocess.PIPE, stdout=sys.stderr.fileno()
        )
    except OSError as error:
        _say(f"  {pager[0]}: {error.strerror}")
        _say(plain)
        return
    try:
        await shown.communicate(f"{plain}\n".encode())
    finally:
        if shown.returncode is None:
            shown.kill()


async def edit_text() -> str:
    """What a person writes in the editor (``$VISUAL``, ``$EDITOR``, else vi)."""
    import shlex
    import tempfile
    from pathlib import Path

    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answer.md"
        file.touch()
        try:
            process = await asyncio.create_subprocess_exec(*editor, str(file), stdout=sys.stderr.fileno())
            await process.wait()
        except OSError as error:
            _say(f"  {editor[0]}: {error.strerror}")
        return file.read_text(encoding="utf-8", errors="replace")


class PlainReader:
    """Reads lines as the terminal gives them: for ``TERM=dumb``."""

    above = None

    async def line(self, prompt: str) -> str:
        """The next line; the terminal edits it."""
        sys.stderr.write(prompt)
        sys.stderr.flush()
        with _arriving(sys.stdin.fileno()) as arrived:
            data = await arrived
        if not data:
            raise EOFError
        return data.decode(errors="replace").rstrip("\n")


@contextmanager
def _arriving(descriptor: int) -> Iterator[asyncio.Future[bytes]]:
    """Return the next line of a terminal; nothing is read once the wait is canceled."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Future[bytes] = loop.create_future()
    parts: list[bytes] = []

    def readable() -> None:
        try:
            data = os.read(descriptor, LONG_LINE)
        except OSError:
            data = b""
        parts.append(data)
        if (not data or data.endswith(b"\n")) and not arrived.done():
            loop.remove_reader(descriptor)
            arrived.set_result(b"".join(parts))

    loop.add_reader(descriptor, readable)
    try:
        yield arrived
    finally:
        loop.remove_reader(descriptor)


class EditingReader:
    """Reads lines by prompt_toolkit: cursor keys, history, and other output above the prompt.

    ``interrupted`` is called for Ctrl-C, which reaches a program as a key while a line is edited.
    """

    def __init__(self, interrupted: Callable[[], None]) -> None:
        self._interrupted = interrupted

    @cached_property
    def _session(self) -> PromptSession[str]:
        """The editor, made when something is asked: most runs ask nothing, and it takes a fifth of a second."""
        from prompt_toolkit import PromptSession
        from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
        from prompt_toolkit.output.vt100 import Vt100_Output

        keys = KeyBindings()

        @keys.add("c-c", eager=True)
        def _(event: KeyPressEvent) -> None:
            self._interrupted()

        @keys.add("escape", "enter")
        def _(event: KeyPressEvent) -> None:
            event.current_buffer.insert_text("\n")

        output = Vt100_Output.from_pty(sys.stderr, term=os.environ.get("TERM"))
        output.enable_cpr = False  # a terminal slow to tell where its cursor is gets a warning into the prompt
        return PromptSession(
            output=output,
            key_bindings=keys,
            enable_suspend=True,
            reserve_space_for_menu=0,
        )

    @property
    def above(self) -> Callable[[str], None] | None:
        """Writes a line above the prompt."""
        return self._above

    def _above(self, text: str) -> None:
        from prompt_toolkit.application import run_in_terminal

        if "_session" in self.__dict__ and self._session.app.is_running:
            _KEEP.add(task := asyncio.ensure_future(run_in_terminal(lambda: _say(text))))
            task.add_done_callback(_KEEP.discard)
        else:
            _say(text)

    async def line(self, prompt: str) -> str:
        """The next line."""
        return await self._session.prompt_async(prompt, handle_sigint=False)


_KEEP: set[asyncio.Future[None]] = set()
"""Lines on their way above a prompt."""
