"""Every exception becomes one message and one exit code (C2, C5)."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

import typer

from orchestra.cli.terminal import (
    UNLIMITED,
    Unread,
    Unwritable,
    complain,
    mute,
    one_line,
    say_json,
    use_colour,
    width,
)
from orchestra.config.environment import known_secrets
from orchestra.errors import (
    ConfigError,
    CredentialsMissing,
    Diagnostic,
    InvalidConfig,
    InvalidPipeline,
    OrchestraError,
    SessionNotFound,
    SessionTaken,
    Severity,
    StoreAbandoned,
    StoreError,
    StoreFull,
    Undecided,
)
from orchestra.graph import report
from orchestra.graph.report import paint
from orchestra.run.secrets import Redactor

FAILED, USAGE, INVALID, STORE, FULL, TAKEN, UNKNOWN, INTERNAL, INTERRUPTED = 1, 2, 3, 6, 7, 8, 9, 70, 130
CREDENTIALS, WAITS = 4, 5
"""The exit codes (C2); 70 is an internal error."""


_OUTPUT = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)
"""What writing help to standard output meets; our own files' errors name the file or are the store's."""


class StoppedRun(Exception):
    """A store error that ended a command; ``data`` is what is known nevertheless, for its JSON object."""

    def __init__(self, error: StoreError, data: dict[str, Any]) -> None:
        super().__init__(error.message)
        self.error = error
        self.data = data


def exit_code(error: BaseException, *, as_json: bool = False) -> int:
    """Print the error, with ``as_json`` also as an object (C1), and return its exit code."""
    data: dict[str, Any] = error.data if isinstance(error, StoppedRun) else {}
    error = error.error if isinstance(error, StoppedRun) else error
    code = _print_error(error)
    if as_json and code and not isinstance(error, Unwritable):
        what = _as_data(error)
        stopped = isinstance(error, StoreError) and not isinstance(error, SessionNotFound)
        status = "stopped" if stopped else "invalid" if code == INVALID else "error"
        say_json({"session": None, **data, "status": status, "exit_code": code, **what}, indent=2)
    return code


def _as_data(error: BaseException) -> dict[str, Any]:
    """What went wrong and the fix, with the diagnostics of an invalid pipeline."""
    if isinstance(error, InvalidPipeline):
        first = next((each for each in error.diagnostics if each.severity is Severity.ERROR), None)
        told = {"detail": first.message, "help": first.fix} if first is not None else {}
        return {**told, **report.report(error.diagnostics)}
    if isinstance(error, typer.TyperException):
        return {"detail": usage_message(error), "help": usage_help(error)}
    text = Redactor(known_secrets()).text(str(getattr(error, "message", "") or error))
    return {"detail": text, "help": str(getattr(error, "fix", ""))}


_BOUNDS = {"greater_than_equal": "at least {ge}", "less_than_equal": "at most {le}"}
"""What Pydantic calls a number that is too small or too large, and our words."""

_REWORDED = (
    (re.compile(r"^Got unexpected extra argument\S* \((.*)\)$"), r"unexpected argument: \1"),
    (re.compile(r"\. Did you mean"), "; did you mean"),
    (re.compile(r"^(?:Value error, |Invalid value: )"), ""),
)


def usage_message(error: typer.TyperException) -> str:
    """Return a usage error in our own words: those of Typer, Click and Pydantic are of three styles."""
    if isinstance(error, typer.BadParameter) and error.param is not None:
        return _parameter_message(error)
    near = getattr(error, "possibilities", None)
    text = f"{error.message}; did you mean {near[0]}?" if near else error.format_message().rstrip(".")
    for found, ours in _REWORDED:
        text = found.sub(ours, text)
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]


def _parameter_message(error: typer.BadParameter) -> str:
    param = error.param
    assert param is not None
    option = param.param_type_name == "option"
    name = param.opts[0] if option else param.metavar or str(param.name).upper()
    if not error.message:
        return f"{param.param_type_name} {name} is missing"
    for fault in getattr(error.__cause__, "errors", list)()[:1]:
        wanted = "a whole number" if fault["type"].startswith("int") else _BOUNDS.get(fault["type"], "")
        if wanted:
            return f"{name} must be {wanted.format(**fault.get('ctx', {}))}, not {str(fault['input'])!r}"
    return f"{name} {error.message}"


def usage_help(error: typer.TyperException) -> str:
    """Return the command that shows the options of the one that was called."""
    context = getattr(error, "ctx", None)
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    return f"{context.command_path if context is not None else ' '.join(['orchestra', *words[:1]])} --help"


def _print_error(error: BaseException) -> int:
    """Print the error on standard error; its exit code."""
    if isinstance(error, Unread | BrokenPipeError):
        mute()
        return 0
    if isinstance(error, Unwritable):
        mute()
        _line("error", str(error), "free some space, or redirect the output elsewhere")
        return FULL
    if isinstance(error, OSError) and error.filename is None and error.errno in _OUTPUT:
        return _print_error(Unwritable(f"standard output cannot be written to: {error.strerror}"))
    if isinstance(error, typer.TyperException):
        return _usage(error)
    if isinstance(error, InvalidPipeline):
        show_diagnostics(error.diagnostics)
        return INVALID
    if isinstance(error, ConfigError):
        _configuration(error)
        return CREDENTIALS if isinstance(error, CredentialsMissing) else USAGE
    if isinstance(error, StoreError):
        return _store(error)
    if isinstance(error, Undecided):
        again = f"orchestra resume {error.session} --interrupted"
        _line("error", str(error), f"choose: {again} rerun, or {again} fail")
        return WAITS
    if isinstance(error, OrchestraError):
        _line("error", str(error))
        return USAGE
    return _internal(error)


def _usage(error: typer.TyperException) -> int:
    """Print a usage error, or the help of a program called without a command."""
    if type(error).__name__ == "NoArgsIsHelpError":
        complain(error.message.rstrip())
    else:
        _line("error", usage_message(error), usage_help(error))
    return USAGE


def show_diagnostics(diagnostics: tuple[Diagnostic, ...]) -> None:
    """Errors and warnings on standard error, with their count below."""
    shown = [d for d in diagnostics if d.severity is not Severity.INFO]
    if not shown:
        return
    colour = use_colour("auto", sys.stderr)
    complain(report.text(shown, width=width(sys.stderr), colour=colour) + report.summary(shown))


def _line(word: str, message: str, fix: str = "") -> None:
    room = width(sys.stderr, otherwise=UNLIMITED)
    lead = f"{word}: "
    text = "\n".join(report.wrap(lead, one_line(message, 1000), room, "  "))
    complain(text.replace(lead, f"{paint(lead.rstrip(), '1;31', use_colour('auto', sys.stderr))} ", 1))
    if fix:
        complain("\n".join(report.wrap("  help: ", one_line(fix, 1000), room, " " * 8)))


def _configuration(error: ConfigError) -> None:
    if isinstance(error, InvalidConfig) and len(error.faults) > 1:
        for fault in error.faults:
            _configuration(fault)
            complain("")
        complain(f"{len(error.faults)} errors in the settings")
        return
    if error.span is None:
        _line("error", error.message, error.fix)
        return
    found = Diagnostic(
        rule="settings", severity=Severity.ERROR, message=error.message, span=error.span, fix=error.fix
    )
    text = report.format_diagnostic(found, width=width(sys.stderr), colour=use_colour("auto", sys.stderr))
    complain(Redactor(known_secrets()).text(text))  # the line may hold a key that was written in the wrong place


def _store(error: StoreError) -> int:
    _line("error", error.message, error.fix)
    return store_code(error)


def store_code(error: StoreError) -> int:
    """The exit code for a store that could not do what was asked."""
    if isinstance(error, SessionNotFound):
        return UNKNOWN
    if isinstance(error, SessionTaken):
        return TAKEN
    if isinstance(error, StoreAbandoned):
        return INTERRUPTED
    return FULL if isinstance(error, StoreFull) else STORE


def _internal(error: BaseException) -> int:
    import traceback  # only an internal error needs it

    from orchestra.config.environment import state_directory

    redactor = Redactor(_secrets())
    text = redactor.text("".join(traceback.format_exception(error)))
    _line("internal error", redactor.text(f"{type(error).__name__}: {error}"))
    complain("  Everything recorded before this error is safe: see `orchestra status`.")
    with contextlib.suppress(OSError, RuntimeError):  # no room, no right, no home
        folder = state_directory(os.environ) / "reports"
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / f"{time.strftime('%Y%m%d-%H%M%S', time.gmtime())}-{os.getpid()}.txt"
        place.write_text(f"python {sys.version} on {sys.platform}\n\n{text}", encoding="utf-8", errors="replace")
        complain(f"  Please attach this report to a bug report (it contains no secrets): {place}")
    return INTERNAL


def _secrets() -> dict[str, str]:
    """Whatever may be one: provider keys, what the settings name, and what is called like one."""
    from orchestra.config.settings import settle  # a YAML reader, which an ordinary message does without

    found = known_secrets()

    with contextlib.suppress(OrchestraError, OSError):
        found.update(settle(folders=(Path.cwd(),), environment=os.environ).secrets)
    return found
