"""The views of a run in progress: plain lines, JSON, or the live view of a terminal (C1, C4)."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import typer

from orchestra.cli.options import Colour, JsonStream, NoInput, Plainly, Quiet, Verbose, one_json
from orchestra.cli.outlet import lost_lines, missing
from orchestra.cli.screen.lines import RunLines, View, headline
from orchestra.cli.stores import OutputOptions, silence
from orchestra.cli.terminal import (
    SCHEMA,
    LineWriter,
    Unread,
    Unwritable,
    as_line,
    complain,
    in_foreground,
    mute,
    say,
    use_colour,
    width,
)
from orchestra.graph.report import plural
from orchestra.run.event_json import plain, plain_live
from orchestra.run.events import LiveEvent, Recorded, StoreSilent


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOptions(OutputOptions):
    """Which store a session is in, and how it is shown. Options that exclude each other are a usage error."""

    json_stream: JsonStream = False
    plain: Plainly = False
    quiet: Quiet = False
    verbose: Verbose = False
    color: Colour = "auto"
    no_input: NoInput = False

    def __post_init__(self) -> None:
        one_json(self.as_json, self.json_stream)
        if self.quiet and self.verbose:
            raise typer.BadParameter("-q and -v exclude each other; use one")

    @property
    def json(self) -> str:
        """The JSON form: ``object``, ``stream`` or empty."""
        return one_json(self.as_json, self.json_stream)

    @property
    def colour(self) -> bool:
        """Whether to use colors on standard output. Raises ``ConfigError`` for an unknown word."""
        return use_colour(self.color, sys.stdout)

    def view(self) -> View:
        """Return the view that was asked for, or that fits where the output goes."""
        if self.json:
            return JsonLines(stream=self.json == "stream")
        terminal = sys.stdout.isatty() and os.environ.get("TERM") != "dumb" and in_foreground(sys.stdout)
        if terminal and not self.plain and not self.quiet:
            from orchestra.cli.screen.live import LiveView  # Rich, which a run without a terminal does not need

            return LiveView(colour=self.colour, verbose=self.verbose)
        return Plain(colour=self.colour, quiet=self.quiet, verbose=self.verbose)


def tell_reader(text: str) -> None:
    """Write a line of a run; if that fails, the run continues without output."""
    try:
        say(text)
    except (Unread, Unwritable) as error:
        stop_writing(error)


def stop_writing(error: Unread | Unwritable) -> None:
    """Stop writing to standard output, with a message unless its reader chose to leave."""
    mute()
    if isinstance(error, Unwritable):
        complain(f"{error}; the run continues without output")


class _LineView(View):
    """Writes lines to standard output, and messages to standard error."""

    def __init__(self) -> None:
        self._lines = LineWriter(tell_reader)

    def note(self, text: str) -> None:
        """Write a message to standard error."""
        complain(text)

    def hold(self, above: Callable[[str], None] | None) -> None:
        """Hold lines back while a question is on the terminal."""
        if sys.stdout.isatty():
            self._lines.hold(above)

    def release(self) -> None:
        """Write what was held."""
        self._lines.release()


class Plain(_LineView):
    """Plain lines with UTC times."""

    def __init__(self, *, colour: bool, quiet: bool, verbose: bool) -> None:
        super().__init__()
        self._colour = colour
        self._quiet = quiet
        self._run_lines = RunLines(
            write=self._lines.write, colour=colour, width=width(sys.stdout), times=True, verbose=verbose
        )

    def open(self, session: str, title: str) -> None:
        """Name the session."""
        if not self._quiet:
            tell_reader(headline(session, title, self._colour))

    def tell(self, told: Recorded | LiveEvent) -> None:
        """Write the lines of an event."""
        if isinstance(told.event, StoreSilent):
            complain(silence(told.event))
        elif not self._quiet:
            self._say_missing()
            self._run_lines.tell(told)

    def close(self) -> None:
        """Write the last node's line."""
        self._lines.release()
        self._run_lines.settle_all()
        self._say_missing()

    def _say_missing(self) -> None:
        if text := missing(sys.stdout):
            self._lines.write(text)


class JsonLines(_LineView):
    """Every event as a line, or nothing before the one object at the end."""

    def __init__(self, *, stream: bool) -> None:
        super().__init__()
        self._stream = stream
        self._first = True

    def tell(self, told: Recorded | LiveEvent) -> None:
        """Write an event; of a silent store, a line on standard error too."""
        if isinstance(told.event, StoreSilent):
            complain(silence(told.event))
        if not self._stream:
            return
        line = plain_live(told) if isinstance(told, LiveEvent) else plain(told)
        if self._first:
            line = {"schema": SCHEMA, **line}
            self._first = False
        self._lines.write(as_line(line))

    def close(self) -> None:
        """Write what was held, and say what the disk had no room for."""
        self._lines.release()
        if count := lost_lines(sys.stdout):
            complain(
                f"{plural(count, 'event')} lost: the reader is slow and the disk full; see orchestra log --json"
            )
