"""The live view of a run on a terminal (C4): finished nodes as lines, the one at work below them."""

from __future__ import annotations

import sys
import termios
import time
from typing import Any

from rich.console import Console
from rich.live import Live as Screen
from rich.text import Text

from orchestra.app.pipelines import Pipeline
from orchestra.app.runs import Run
from orchestra.cli._lines import Ends, headline
from orchestra.cli._terminal import lasted, one_line, width, writable
from orchestra.config.settings import Settings
from orchestra.run.events import Recorded, StageRetrying, StageStarted

_FRAMES = "|/-\\"


class Live:
    """One line per node as it ends; the node at work, with how long it has been at it, below."""

    def __init__(self, *, colour: bool, verbose: bool) -> None:
        self._colour = colour
        self._out = sys.stdout  # Rich puts another in its place while the view is up
        self._working: StageStarted | None = None
        self._waiting: StageRetrying | None = None
        self._since = 0.0
        self._note = ""
        self._keys: list[Any] | None = None
        self._console = Console(no_color=not colour, highlight=False, markup=False, soft_wrap=False)
        self._screen = Screen(
            console=self._console, get_renderable=self._below, refresh_per_second=8, transient=True
        )
        self._ends = Ends(write=self._print, colour=colour, width=width(sys.stdout), times=False, verbose=verbose)

    def opened(self, run: Run, pipeline: Pipeline, settings: Settings) -> None:
        self._print(headline(run.session, pipeline.checked(), self._colour))
        self._quiet_keys()
        self._screen.start()

    def tell(self, recorded: Recorded) -> None:
        self._ends.width = self._console.width
        event = recorded.event
        if isinstance(event, StageStarted):
            self._working, self._waiting, self._since = event, None, time.monotonic()
        elif isinstance(event, StageRetrying):
            self._waiting, self._since = event, time.monotonic()
        self._ends.tell(recorded)

    def note(self, text: str) -> None:
        self._note = text

    def closed(self) -> None:
        self._ends.settle()
        self._working = None
        self._screen.stop()
        if self._keys is not None:
            termios.tcsetattr(sys.stdin, termios.TCSADRAIN, self._keys)
            self._keys = None

    def _quiet_keys(self) -> None:
        """Keep the terminal from writing ``^C`` into the view; put back when the view closes."""
        if not sys.stdin.isatty():
            return
        self._keys = termios.tcgetattr(sys.stdin)
        changed = termios.tcgetattr(sys.stdin)
        changed[3] &= ~termios.ECHOCTL
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, changed)

    def _print(self, text: str) -> None:
        self._console.print(Text.from_ansi(writable(text, self._out)), overflow="ellipsis", no_wrap=True)

    def _below(self) -> Text:
        if self._working is None:
            return Text("")
        room = max(self._console.width - 1, 10)
        gone = time.monotonic() - self._since
        frame = _FRAMES[int(gone * 6) % len(_FRAMES)]
        line = f"{frame} {one_line(self._working.node, 60)}  {self._doing(gone)}  ({self._ends.ended} done)"
        lines = [line[:room]]
        if self._note:
            lines.append(one_line(self._note, 300)[:room])
        return Text("\n".join(writable(text, self._out) for text in lines), no_wrap=True, overflow="ellipsis")

    def _doing(self, gone: float) -> str:
        if self._waiting is not None:
            left = max(0.0, self._waiting.delay_ms - gone * 1000)
            return f"waits {lasted(left)} before attempt {self._waiting.attempt + 1} of {self._waiting.of}"
        assert self._working is not None
        tries = f", attempt {self._working.attempt} of {self._working.of}" if self._working.attempt > 1 else ""
        return f"{lasted(gone * 1000)}{tries}"
