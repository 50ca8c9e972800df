"""What the terminal can show (colors, width, signs), and the format of times and texts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from orchestra.errors import ConfigError, OrchestraError
from orchestra.graph.report import columns, duration_words, fitting, paint, safe, wrap

GREEN, RED, YELLOW, GREY, BOLD = "32", "31", "33", "90", "1"
NO_TERMINAL_WIDTH = 100
UNLIMITED = 100_000
_ASCII = {
    "✓": "+",
    "✗": "x",
    "↻": "~",
    "↺": "~",
    "↩": "<",
    "◆": "*",
    "▶": ">",
    "‖": "=",
    "!": "!",
    "→": "->",
    "…": "...",
    "·": ".",
}


class Unread(OrchestraError):
    """The reader of standard output is gone."""


class Unwritable(OrchestraError):
    """Standard output cannot be written to: its disk is full, its terminal closed."""


def use_colour(when: str, stream: TextIO) -> bool:
    """Whether to use colours on a stream (C3). Raises ``ConfigError`` for any other word."""
    if when not in ("auto", "always", "never"):
        raise ConfigError(f"--color must be auto, always or never, not {when!r}")
    if when != "auto":
        return when == "always"
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def in_foreground(stream: TextIO) -> bool:
    """Whether the terminal is ours to draw on: a job in the background shares it with the shell."""
    try:
        return os.tcgetpgrp(stream.fileno()) == os.getpgrp()
    except (OSError, ValueError):  # not our controlling terminal: no other jobs are on it
        return True


def width(stream: TextIO, otherwise: int = NO_TERMINAL_WIDTH) -> int:
    """Columns of the terminal, or of ``COLUMNS``; a fixed number where neither says."""
    if os.environ.get("COLUMNS", "").isdigit():
        return max(20, int(os.environ["COLUMNS"]))
    if not stream.isatty():
        return otherwise
    try:  # of this stream: standard output may be a pipe (H12)
        return max(20, os.get_terminal_size(stream.fileno()).columns or NO_TERMINAL_WIDTH)
    except OSError:
        return NO_TERMINAL_WIDTH


def room() -> int:
    """Columns that a line on standard output may take: the terminal's, or as many as it needs in a pipe."""
    return width(sys.stdout, otherwise=UNLIMITED)


def writable(text: str, stream: TextIO) -> str:
    """The text with signs that the stream's encoding lacks replaced."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        text = "".join(_ASCII.get(c, c) for c in text)
        return text.encode("ascii", "backslashreplace").decode()
    return text


def say(text: str = "", *, stream: TextIO | None = None) -> None:
    """Write a line. Raises ``Unread`` and ``Unwritable``."""
    out = sys.stdout if stream is None else stream
    with _translated():
        out.write(writable(text, out) + "\n")
        out.flush()


def say_wrapped(text: str, indent: str = "    ") -> None:
    """Write a text, on a terminal in as many lines as it needs."""
    say("\n".join(wrap("", text, room(), indent)))


def deliver(content: str | bytes) -> None:
    """Write a file's content: bytes unchanged, text as UTF-8; on a terminal without control characters.

    Raises as ``say`` does.
    """
    if sys.stdout.isatty():
        say(many_lines(content if isinstance(content, str) else content.decode("utf-8", "replace")))
        return
    with _translated():
        sys.stdout.flush()
        sys.stdout.buffer.write(content.encode("utf-8", "replace") if isinstance(content, str) else content)
        sys.stdout.buffer.flush()


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError as error:
        raise Unread("the reader of standard output is gone") from error
    except OSError as error:
        raise Unwritable(f"cannot write to standard output: {error.strerror or error}") from error


def mute(stream: TextIO | None = None) -> None:
    """Discard everything written to a stream from now on; its reader is gone."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, (sys.stdout if stream is None else stream).fileno())
        os.close(nowhere)


def complain(text: str) -> None:
    """Write a line to standard error, if possible."""
    try:
        say(text, stream=sys.stderr)
    except (Unread, Unwritable):
        mute(sys.stderr)


def one_line(text: str, limit: int = 200) -> str:
    """A text of any origin as one harmless line."""
    flat = " ".join(text[: limit * 4].split())
    flat = safe(flat)
    return flat if len(flat) <= limit else flat[: max(limit - 1, 0)] + "…"


def fit(text: str, room: int) -> str:
    """The text cut to so many columns of a terminal."""
    if columns(text) <= room:
        return text
    return (text[: fitting(text, room - 1)] if room > 1 else "") + "…"


def lay_out(lead: str, name: str, words: str, room: int) -> list[str]:
    """Lay out a name and its description: one line if they fit, else up to five lines of description."""
    whole = f"{lead} {name}  {words}".rstrip()
    if columns(whole) <= room:
        return [whole]
    left = room - columns(words) - len(lead) - 3
    if left >= min(columns(name), 12) and columns(words) < room // 2:
        return [f"{lead} {fit(name, left)}  {words}"]
    lines = wrap(f"{lead} {fit(name, room - len(lead) - 1)}  ", words, room, "    ")
    return lines if len(lines) <= 6 else [*lines[:5], fit(f"{lines[5]} …", room)]


def wrap_signed(lead: str, text: str, indent: str, sign: str, tone: str) -> str:
    """Wrap a text after its lead to the terminal, with its first sign in a color (none: empty)."""
    return "\n".join(wrap(lead, text, room(), indent)).replace(sign, paint(sign, tone, bool(tone)), 1)


def pad(text: str, room: int) -> str:
    """The text in exactly so many columns."""
    text = fit(text, room)
    return text + " " * (room - columns(text))


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lay out rows in columns, each as wide as its widest cell; the last column is wrapped."""
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)][:-1]
    lines = ("  ".join((*map(pad, row, widths), row[-1])).rstrip() for row in rows)
    return [part for line in lines for part in wrap("", line, room(), "    ")]


def many_lines(text: str) -> str:
    """A text of any origin, harmless, its line breaks kept."""
    return "\n".join(safe(line.replace("\t", "    ")) for line in text.splitlines())


def clock_time(at_ms: int) -> str:
    """The UTC time of day."""
    seconds = at_ms // 1000
    return f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def date_time(at_ms: int) -> str:
    """The UTC date and time of day."""
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(at_ms / 1000))


def time_since(at_ms: int) -> str:
    """How long ago it was, for people."""
    return duration_words(max(0, time.time_ns() // 1_000_000 - at_ms))


SCHEMA = "orchestra.events.v1"
"""What the first line, or the one object, of a list of events names as its form."""

_STEERING = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff]")
"""What could steer a terminal, hide itself, or not be written at all; the rest of it JSON escapes by itself."""


def say_json(data: Any, *, indent: int | None = None) -> None:
    """Write a value as JSON and a line break. Raises as ``say`` does."""
    say(as_line(data, indent=indent))


def as_line(data: Any, *, indent: int | None = None) -> str:
    """A value as JSON that standard output can show."""
    unicode = (sys.stdout.encoding or "").lower().replace("-", "") == "utf8"
    text = json.dumps(data, ensure_ascii=not unicode, indent=indent, default=str)
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


class LineWriter:
    """Writes lines, or keeps them while a person is asked at the same terminal (H10)."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self._write = write
        self._above: Callable[[str], None] | None = None
        self._kept: list[str] = []
        self.held = False

    def write(self, text: str) -> None:
        """A line: now, above the prompt, or when the terminal is free."""
        if not self.held:
            self._write(text)
        elif self._above is not None:
            self._above(text)
        else:
            self._kept.append(text)

    def hold(self, above: Callable[[str], None] | None) -> None:
        """Begin a question: lines are held back."""
        self.held, self._above = True, above

    def release(self) -> None:
        """The terminal is free."""
        self.held, self._above = False, None
        kept, self._kept = self._kept, []
        for text in kept:
            self._write(text)


PATIENCE = 0.5
"""Seconds before anything is shown; most of what could be slow is not."""

EVERY = 0.1


@contextmanager
def progress(stream: TextIO | None = None, patience: float = PATIENCE) -> Iterator[Callable[[str, int, int], None]]:
    """Show what is being done and how much of it; the line goes away at the end.

    ``stream`` is standard error unless named; ``patience`` is in seconds.
    """
    out = sys.stderr if stream is None else stream
    heard = out.isatty() and in_foreground(out)
    due = time.monotonic() + patience
    shown = ""

    def tell(what: str, done: int, whole: int) -> None:
        nonlocal due, shown
        if heard and time.monotonic() >= due:
            due = time.monotonic() + EVERY
            text = f"reading {what}: {100 * done // max(whole, 1)} %"
            _over(out, shown, text)
            shown = text

    try:
        yield tell
    finally:
        if shown:
            _over(out, shown, "")


def _over(out: TextIO, before: str, text: str) -> None:
    """Write over the line before, by spaces: every terminal can do that."""
    with suppress(OSError):
        out.write(f"\r{text:{len(before)}}" if text else f"\r{'':{len(before)}}\r")
        out.flush()
