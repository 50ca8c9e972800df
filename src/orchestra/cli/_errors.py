"""Every exception becomes one message and one exit code (C2, C5)."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from orchestra.cli._terminal import coloured, complain, mute, one_line, paint, width
from orchestra.errors import (
    ConfigError,
    Diagnostic,
    InvalidPipeline,
    OrchestraError,
    SessionNotFound,
    SessionTaken,
    Severity,
    SourceError,
    Span,
    StoreError,
    StoreFull,
)
from orchestra.graph import report
from orchestra.run.secrets import Redactor

FAILED, USAGE, INVALID, STORE, FULL, TAKEN, UNKNOWN, INTERNAL, INTERRUPTED = 1, 2, 3, 6, 7, 8, 9, 70, 130
"""The exit codes (C2); 70 is an internal error."""


def exit_code(error: BaseException) -> int:
    """Say what went wrong on standard error and return the exit code for it."""
    if isinstance(error, BrokenPipeError):
        mute()
        return 0
    if isinstance(error, InvalidPipeline):
        show_diagnostics(error.diagnostics)
        return INVALID
    if isinstance(error, ConfigError):
        _configuration(error)
        return USAGE
    if isinstance(error, StoreError):
        return _store(error)
    if isinstance(error, OrchestraError):
        _line("error", str(error))
        return USAGE
    return _internal(error)


def show_diagnostics(diagnostics: tuple[Diagnostic, ...], *, least: Severity = Severity.WARNING) -> None:
    """Diagnostics on standard error, with their count below."""
    wanted = (Severity.ERROR,) if least is Severity.ERROR else (Severity.ERROR, Severity.WARNING)
    shown = [d for d in diagnostics if d.severity in wanted]
    if not shown:
        return
    colour = coloured("auto", sys.stderr)
    complain(report.text(shown, width=width(sys.stderr), colour=colour) + report.summary(shown))


def _line(word: str, message: str, fix: str = "") -> None:
    head = paint(f"{word}:", "1;31", coloured("auto", sys.stderr))
    complain(f"{head} {one_line(message, 1000)}")
    if fix:
        complain(f"  help: {one_line(fix, 1000)}")


def _configuration(error: ConfigError) -> None:
    if error.span is None:
        _line("error", error.message, error.fix)
        return
    found = Diagnostic(
        rule="settings", severity=Severity.ERROR, message=error.message, span=error.span, fix=error.fix
    )
    complain(report.shown(found, width=width(sys.stderr), colour=coloured("auto", sys.stderr)))


def source_diagnostic(error: SourceError, span: Span, rule: str) -> Diagnostic:
    """An error in a text as a finding."""
    return Diagnostic(rule=rule, severity=Severity.ERROR, message=error.message, span=span, fix=error.fix)


def _store(error: StoreError) -> int:
    _line("error", error.message, error.fix)
    if isinstance(error, SessionNotFound):
        return UNKNOWN
    if isinstance(error, SessionTaken):
        return TAKEN
    return FULL if isinstance(error, StoreFull) else STORE


def _internal(error: BaseException) -> int:
    import traceback  # only an internal error needs it

    text = "".join(traceback.format_exception(error))
    secrets = {
        name: value for name, value in os.environ.items() if name.endswith(("KEY", "TOKEN", "SECRET", "PASSWORD"))
    }
    text = Redactor(secrets).text(text)
    _line("internal error", f"{type(error).__name__}: {error}")
    complain("  What was recorded before it is safe: orchestra status shows it.")
    with contextlib.suppress(OSError):
        place = _reports() / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}.txt"
        place.write_text(f"python {sys.version} on {sys.platform}\n\n{text}", encoding="utf-8")
        complain(f"  A report without secrets is in {place}")
    return INTERNAL


def _reports() -> Path:
    home = os.environ.get("XDG_STATE_HOME")
    base = Path(home) if home else Path.home() / ".local" / "state"
    folder = base / "orchestra" / "reports"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
