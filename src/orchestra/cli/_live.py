"""The live view of a run on a terminal (C4): finished nodes as lines, the one at work below them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import textwrap
import time
from collections.abc import Iterator
from typing import Any, TextIO, cast

from rich.console import Console
from rich.live import Live as Below
from rich.text import Text

from orchestra.cli._lines import Ends, headline
from orchestra.cli._terminal import in_foreground, laid_out, lasted, mute, one_line, width, writable
from orchestra.run import events
from orchestra.run.events import Recorded, StageRetrying, StageStarted, ToolOutput

_FRAMES = "|/-\\"


def _when(recorded: Recorded | events.Live) -> float:
    """When it happened, by the monotonic clock: what is told may have happened long ago."""
    return time.monotonic() - max(0.0, time.time() - recorded.meta.at / 1000)


class _Screen:
    """The terminal as Rich writes to it, also from its own thread; when it is gone, the run goes on unread."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self.encoding = out.encoding

    def write(self, text: str) -> int:
        with self._heard():
            self._out.write(text)
        return len(text)

    def flush(self) -> None:
        with self._heard():
            self._out.flush()

    def isatty(self) -> bool:
        return self._out.isatty()

    def fileno(self) -> int:
        return self._out.fileno()

    @contextlib.contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            mute(self._out)


class Live:
    """One line per node as it ends; the node at work, with how long it has been at it, below."""

    def __init__(self, *, colour: bool, verbose: bool) -> None:
        self._colour = colour
        self._out = sys.stdout  # Rich puts another in its place while the view is up
        self._working: StageStarted | None = None
        self._waiting: StageRetrying | None = None
        self._since = 0.0
        self._note = ""
        self._said = ""
        self._keys: list[Any] | None = None
        self._console = Console(
            file=cast("TextIO", _Screen(self._out)), no_color=not colour, highlight=False, markup=False
        )
        self._screen = Below(
            console=self._console, get_renderable=self._below, refresh_per_second=8, transient=True
        )
        self._ends = Ends(write=self._print, colour=colour, width=width(sys.stdout), times=False, verbose=verbose)

    def opened(self, session: str, title: str) -> None:
        """Name the session and put the view up."""
        self._print(headline(session, title, self._colour))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, self._suspend)
        self._quiet_keys()
        self._screen.start()

    def tell(self, recorded: Recorded | events.Live) -> None:
        """Show an event."""
        self._ends.width = self._console.width
        event = recorded.event
        if isinstance(event, ToolOutput):
            self._said = next((line for line in reversed(event.text.splitlines()) if line.strip()), self._said)
        if isinstance(event, StageStarted):
            self._working, self._waiting, self._since, self._said = event, None, _when(recorded), ""
        elif isinstance(event, StageRetrying):
            self._waiting, self._since = event, _when(recorded)
        self._ends.tell(recorded)

    def note(self, text: str) -> None:
        """A word below the node at work."""
        self._note = text

    def closed(self) -> None:
        """Take the view down; what has ended stays."""
        self._ends.settle()
        self._working = None
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
        self._screen.stop()
        self._give_keys_back()

    def abandoned(self) -> None:
        """Put the terminal right without Rich, which may be in the middle of something."""
        self._give_keys_back()
        with contextlib.suppress(OSError):
            os.write(self._out.fileno(), b"\r\x1b[?25h\n")

    def _suspend(self) -> None:
        """Ctrl-Z: leave the shell a terminal with a cursor; draw again only if we come back to the foreground."""
        self._screen.stop()
        self._give_keys_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        if in_foreground(self._out):
            self._quiet_keys()
            self._screen.start()

    def _quiet_keys(self) -> None:
        """Keep the terminal from writing ``^C`` into the view; put back when the view closes."""
        if not sys.stdin.isatty() or not in_foreground(sys.stdin):
            return
        with contextlib.suppress(termios.error):
            self._keys = termios.tcgetattr(sys.stdin)
            changed = termios.tcgetattr(sys.stdin)
            changed[3] &= ~termios.ECHOCTL
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, changed)

    def _give_keys_back(self) -> None:
        """Only in the foreground: elsewhere the kernel would stop us, and the shell has put them right."""
        keys, self._keys = self._keys, None
        if keys is not None and in_foreground(sys.stdin):
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, keys)

    def _print(self, text: str) -> None:
        self._console.print(Text.from_ansi(writable(text, self._out)), overflow="ellipsis", no_wrap=True)

    def _below(self) -> Text:
        if self._working is None:
            return Text("")
        room = max(self._console.width - 1, 10)
        gone = time.monotonic() - self._since
        frame = _FRAMES[int(gone * 6) % len(_FRAMES)]
        words = f"{self._doing(gone)}  ({self._ends.ended} done)"
        lines = [line[:room] for line in laid_out(frame, one_line(self._working.node, 60), words, room)]
        if self._said:
            lines.append(f"  | {one_line(self._said, room)}"[:room])
        if self._note:
            lines.extend(textwrap.wrap(self._note, room)[:4])
        return Text("\n".join(writable(text, self._out) for text in lines), no_wrap=True, overflow="ellipsis")

    def _doing(self, gone: float) -> str:
        if self._waiting is not None:
            left = max(0.0, self._waiting.delay_ms - gone * 1000)
            return f"waits {lasted(left)} before attempt {self._waiting.attempt + 1} of {self._waiting.of}"
        assert self._working is not None
        tries = f", attempt {self._working.attempt} of {self._working.of}" if self._working.attempt > 1 else ""
        return f"{lasted(gone * 1000)}{tries}"
