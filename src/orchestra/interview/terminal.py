"""What a question uses of a terminal besides its lines: readers of a line, the pager, the editor."""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from orchestra.graph.report import safe

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession

LONG_LINE = 65536
"""Bytes that are read from a terminal at a time."""


class LineReader(Protocol):
    """Reads one line."""

    @property
    def above(self) -> Callable[[str], None] | None:
        """Writes a line above the prompt, where that can be done."""

    def forget(self) -> None:
        """Throw away what was typed before: nobody can have meant it for the question that follows (H4)."""

    async def line(self, prompt: str) -> str:
        """What was typed. Raises ``EOFError`` where input has ended."""


def say(line: str) -> None:
    """Print a line on standard error, unless that is closed."""
    encoding = getattr(sys.stderr, "encoding", None) or "ascii"
    try:
        sys.stderr.write(line.encode(encoding, "replace").decode(encoding) + "\n")
        sys.stderr.flush()
    except OSError:
        pass


async def page(text: str) -> None:
    """Show a text in the pager (``$PAGER``, else less); the run continues meanwhile."""
    pager = shlex.split(os.environ.get("PAGER", "")) or (["less", "-R"] if shutil.which("less") else [])
    plain = "\n".join(safe(line.replace("\t", "    ")) for line in text.splitlines())
    if not pager or os.environ.get("TERM") == "dumb":
        say(plain)
        return
    try:
        shown = await asyncio.create_subprocess_exec(
            *pager, stdin=asyncio.subprocess.PIPE, stdout=sys.stderr.fileno()
        )
    except OSError as error:
        say(f"  {pager[0]}: {error.strerror}")
        say(plain)
        return
    try:
        await shown.communicate(f"{plain}\n".encode())
    finally:
        if shown.returncode is None:
            shown.kill()


async def edit_text() -> str:
    """What a person writes in the editor (``$VISUAL``, ``$EDITOR``, else vi)."""
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answer.md"
        file.touch()
        try:
            process = await asyncio.create_subprocess_exec(*editor, str(file), stdout=sys.stderr.fileno())
            await process.wait()
        except OSError as error:
            say(f"  {editor[0]}: {error.strerror}")
        return file.read_text(encoding="utf-8", errors="replace")


class PlainReader:
    """Reads lines as the terminal gives them: for ``TERM=dumb``."""

    above = None

    def forget(self) -> None:
        """Throw away what the terminal holds."""
        with suppress(OSError, termios.error):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

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
            _KEEP.add(task := asyncio.ensure_future(run_in_terminal(lambda: say(text))))
            task.add_done_callback(_KEEP.discard)
        else:
            say(text)

    def forget(self) -> None:
        """Throw away what the terminal holds, and what the editor has read beyond a line."""
        from prompt_toolkit.input.typeahead import clear_typeahead

        if "_session" in self.__dict__:
            clear_typeahead(self._session.input)
        with suppress(OSError, termios.error):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)

    async def line(self, prompt: str) -> str:
        """The next line."""
        return await self._session.prompt_async(prompt, handle_sigint=False)


_KEEP: set[asyncio.Future[None]] = set()
"""Lines on their way above a prompt."""
