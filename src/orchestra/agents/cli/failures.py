"""What the failure of a command-line agent means: transient, out of quota, or terminal (A3).

These programs report it in words, at most with an HTTP status.
"""

from __future__ import annotations

import re

from orchestra.agents.answers import OutOfQuota
from orchestra.agents.cli.presets import Cli
from orchestra.errors import BackendError, Terminal, Transient

SHOWN = 300
_QUOTA = (
    "insufficient_quota",
    "quota exceeded",
    "credit balance is too low",
    "exceeded your current quota",
    "usage limit",
    "billing",
)
_PASSING = (
    "rate limit",
    "overloaded",
    "high demand",
    "stream disconnected",
    "stream error",
    "connection",
    "network",
    "timed out",
    "timeout",
    "temporar",
    "unavailable",
    "econnreset",
    "try again",
)
_STATUS = re.compile(r"(?:status[ :]+|api error[: (]+|\"code\": ?|\()(4\d\d|5\d\d)\b", re.IGNORECASE)
_LASTING = frozenset({400, 401, 403, 404, 413, 422})


def failure(cli: Cli, told: str, status: int = 0) -> BackendError:
    """The exception for what a program said as it failed."""
    words = " ".join(told.split())[:SHOWN]
    message = f"{cli.name}: {words}"
    lowered = words.lower()
    found = _STATUS.search(words)
    status = status or (int(found[1]) if found else 0)
    if any(word in lowered for word in _QUOTA) and "retry in" not in lowered:
        return OutOfQuota(message)
    if status in _LASTING:
        return Terminal(message)
    if status >= 408 or any(word in lowered for word in _PASSING):
        return Transient(message)
    return Terminal(message)


def end_error(cli: Cli, code: int, stderr: str) -> BackendError:
    """Return the exception for a program that ended without an error event, by exit code and stderr."""
    last = stderr.strip()
    if code in (126, 127):
        fix = f"; install it: {cli.install}" if cli.install else ""
        return Terminal(f"{cli.name}: cannot run {cli.command}{fix}{_of(last)}")
    if not last:
        what = f"exited with {code}" if code else "ended without its final event"
        return BackendError(f"{cli.name}: {what}")
    known = failure(cli, last[-SHOWN:])
    if isinstance(known, OutOfQuota | Transient):
        return known
    what = f"exited with {code}" if code else "ended without its final event"
    return BackendError(f"{cli.name}: {what}{_of(last)}")


def _of(stderr: str) -> str:
    return f": {' '.join(stderr.split())[-SHOWN:]}" if stderr else ""
