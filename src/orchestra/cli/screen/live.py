"""The live view of a run on a terminal (C4): finished nodes as lines, the running node below them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import termios
import textwrap
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TextIO, cast

from rich.console import Console
from rich.live import Live as Below
from rich.text import Text

from orchestra.cli.outlet import at_once, behind, count_lost, missing, shut, waiting
from orchestra.cli.screen.lines import Place, RunLines, View, headline, place_of
from orchestra.cli.terminal import (
    LineWriter,
    in_foreground,
    lay_out,
    mute,
    one_line,
    width,
    writable,
)
from orchestra.graph.report import duration_words
from orchestra.run import events
from orchestra.run.events import Recorded, StageRetrying, StageStarted, ToolOutput

_FRAMES = "|/-\\"


def _when(recorded: Recorded | events.LiveEvent) -> float:
    """Return when it happened, by the monotonic clock: a replayed event may be old."""
    return time.monotonic() - max(0.0, time.time() - recorded.meta.at / 1000)


class _RichOutput:
    """The terminal as Rich writes to it, also from its own thread; if it closes, the run continues unread."""

    def __init__(self, out: TextIO) -> None:
        self.out = out
        self.encoding = out.encoding

    def write(self, text: str) -> int:
        with self._heard():
            self.out.write(text)
        return len(text)

    def flush(self) -> None:
        with self._heard():
            self.out.flush()

    def isatty(self) -> bool:
        return self.out.isatty()

    def fileno(self) -> int:
        return self.out.fileno()

    @contextlib.contextmanager
    def _heard(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            mute(self.out)


class _Below(Below):
    """A live region that draws nothing while its terminal is stopped: no frame piles up there."""

    def refresh(self) -> None:
        if not waiting(self.console.file.out):  # type: ignore[attr-defined]
            super().refresh()


class LiveView(View):
    """One line per node as it ends; below, the running node with its time."""

    def __init__(self, *, colour: bool, verbose: bool) -> None:
        self._colour = colour
        self._out = sys.stdout  # Rich puts another in its place while the view is up
        self._running: dict[Place, _CurrentNode] = {}
        self._note = ""
        self._drawn = 0
        self._keys: list[Any] | None = None
        self._console = Console(
            file=cast("TextIO", _RichOutput(self._out)), no_color=not colour, highlight=False, markup=False
        )
        self._screen = self._fresh()
        self._lines = LineWriter(self._print)
        self._run_lines = RunLines(
            write=self._lines.write, colour=colour, width=width(sys.stdout), times=False, verbose=verbose
        )

    def _fresh(self) -> Below:
        """Return a live region that has drawn nothing: a stopped one would erase its former lines."""
        return _Below(console=self._console, get_renderable=self._below, refresh_per_second=8, transient=True)

    def open(self, session: str, title: str) -> None:
        """Name the session and put the view up."""
        self._print(headline(session, title, self._colour))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTSTP, self._suspend)
        self._quiet_keys()
        self._screen.start()

    def tell(self, recorded: Recorded | events.LiveEvent) -> None:
        """Show an event."""
        self._run_lines.width = self._console.width
        event, place = recorded.event, place_of(recorded)
        running = self._running.get(place)
        if isinstance(event, ToolOutput) and running is not None:
            lines = reversed(event.text.splitlines())
            running.said = next((line for line in lines if line.strip()), running.said)
        elif isinstance(event, StageStarted):
            self._running[place] = _CurrentNode(event, _when(recorded))
        elif isinstance(event, StageRetrying) and running is not None:
            running.waiting, running.since = event, _when(recorded)
        elif isinstance(event, _OVER):
            self._running.pop(place, None)
        self._run_lines.tell(recorded)

    def note(self, text: str) -> None:
        """Show a note below the running node."""
        self._note = text

    def hold(self, above: Callable[[str], None] | None) -> None:
        """Take the view down during a question; nodes that end meanwhile are lines above the prompt."""
        self._lines.hold(above)
        self._screen.stop()
        self._give_keys_back()

    def release(self) -> None:
        """Put it up again."""
        self._lines.release()
        if in_foreground(self._out):
            self._quiet_keys()
            self._screen = self._fresh()
            self._screen.start()

    def close(self) -> None:
        """Take the view down; what has ended stays."""
        self._lines.release()
        self._run_lines.settle_all()
        self._running = {}
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTSTP)
        self._screen.stop()
        self._give_keys_back()

    def abandon(self) -> None:
        """Put the terminal right without Rich, which may be in the middle of something."""
        self._give_keys_back()
        shut(self._out)
        lines = self._drawn if self._screen.is_started else 0
        at_once(self._out, b"\r\x1b[2K" + b"\x1b[1A\x1b[2K" * (lines - 1) + b"\x1b[?25h")

    def _suspend(self) -> None:
        """Ctrl-Z: leave the shell a terminal with a cursor; draw again only if we come back to the foreground."""
        self._screen.stop()
        self._give_keys_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        if in_foreground(self._out) and not self._lines.held:
            self._quiet_keys()
            self._screen = self._fresh()
            self._screen.start()

    def _quiet_keys(self) -> None:
        """Keep the terminal from writing ``^C`` into the view; put back when the view closes."""
        if not sys.stdin.isatty() or not in_foreground(sys.stdin):
            return
        with contextlib.suppress(termios.error):
            self._keys = termios.tcgetattr(sys.stdin)
            changed = termios.tcgetattr(sys.stdin)
            changed[3] &= ~termios.ECHOCTL
            termios.tcsetattr(sys.stdin, termios.TCSANOW, changed)

    def _give_keys_back(self) -> None:
        """Only in the foreground: elsewhere the kernel would stop us, and the shell has put them right."""
        keys, self._keys = self._keys, None
        if keys is not None and in_foreground(sys.stdin):
            with contextlib.suppress(termios.error):
                termios.tcsetattr(sys.stdin, termios.TCSANOW, keys)

    def _print(self, text: str) -> None:
        if behind(self._out):
            count_lost(self._out, text.count("\n") + 1)
            return
        if gap := missing(self._out):
            self._console.print(Text(writable(gap, self._out)), overflow="ellipsis", no_wrap=True)
        self._console.print(Text.from_ansi(writable(text, self._out)), overflow="ellipsis", no_wrap=True)

    def _below(self) -> Text:
        lines = self._lines_below()
        self._drawn = len(lines)
        return Text("\n".join(writable(text, self._out) for text in lines), no_wrap=True, overflow="ellipsis")

    def _lines_below(self) -> list[str]:
        if not self._running:
            return []
        room = max(self._console.width - 1, 10)
        most = max(2, self._console.height // 2)
        shown = list(self._running.items())
        lines: list[str] = []
        for place, running in shown[: most - 1] if len(shown) > most else shown:
            lines += self._lines_of(place, running, room, alone=len(shown) == 1)
        if len(shown) > most:
            lines.append(f"  … and {len(shown) - most + 1} more")
        if self._note:
            lines.extend(textwrap.wrap(self._note, room)[:4])
        return lines

    def _lines_of(self, place: Place, running: _CurrentNode, room: int, *, alone: bool) -> list[str]:
        """The lines of one walk, with what its command wrote last: below it, or on its line beside other walks."""
        gone = time.monotonic() - running.since
        frame = _FRAMES[int(gone * 6) % len(_FRAMES)]
        words = running.doing(gone) + ("" if place[1] else f"  ({self._run_lines.ended} done)")
        name = one_line(self._run_lines.named(place, running.event.node), 60)
        lines = [line[:room] for line in lay_out(frame, name, words, room)][: None if alone else 1]
        said = f"  | {one_line(running.said, room)}" if running.said else ""
        if alone:
            lines += [said[:room]] if said else []
        else:
            lines[0] = f"{lines[0]}{said}"[:room]
        return lines


_OVER = (
    events.StageCompleted,
    events.StageFailed,
    events.ParallelBranchEnded,
    events.PipelineCompleted,
    events.PipelineFailed,
    events.PipelinePaused,
    events.PipelineCanceled,
    events.PipelineRestarted,
)
"""Events after which nothing runs in their walk, until a node starts."""


@dataclass(slots=True)
class _CurrentNode:
    """The current node of a walk: since when, what it wrote last, and the attempt that it waits for."""

    event: StageStarted
    since: float
    said: str = ""
    waiting: StageRetrying | None = None

    def doing(self, gone: float) -> str:
        """How long it has been running, or what it waits for; ``gone`` is in seconds."""
        if self.waiting is not None:
            left = max(0.0, self.waiting.delay_ms - gone * 1000)
            return f"attempt {self.waiting.attempt + 1} of {self.waiting.of} in {duration_words(left)}"
        tries = f", attempt {self.event.attempt} of {self.event.of}" if self.event.attempt > 1 else ""
        return f"{duration_words(gone * 1000)}{tries}"
