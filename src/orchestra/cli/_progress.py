"""One line on standard error that says how far something slow is; nothing without a terminal (C1, S9)."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TextIO

from orchestra.cli._terminal import in_foreground

PATIENCE = 0.5
"""Seconds before anything is shown; most of what could be slow is not."""

EVERY = 0.1


@contextmanager
def progress(stream: TextIO | None = None, patience: float = PATIENCE) -> Iterator[Callable[[str, int, int], None]]:
    """Shows what is being done, how much of it is done, and how much there is; gone when it is over.

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
