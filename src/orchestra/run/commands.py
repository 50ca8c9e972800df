"""The outcome of a tool node's command, and its context updates (engine.md#tool-nodes)."""

from __future__ import annotations

from orchestra.run.outcome import FailureClass, Json, Outcome, Status

NOT_RUN = (126, 127)
"""Exit codes of a command that is no program, or that is not there."""

LAST_LINES, LAST_CHARACTERS = 10, 1500
"""How much of each stream a failure's reason shows."""

STDOUT, STDERR = "stdout:", "stderr:"
"""The headings of both, where there are both."""

BROKEN_PIPE = 141
"""The exit code of a program that SIGPIPE ended."""


def command_outcome(node: str, code: int, output: str, stderr: str) -> Outcome:
    """Return the outcome of a command; its output in the context has no final newlines, like ``$( )``."""
    output, stderr = output.rstrip("\n"), stderr.rstrip("\n")
    updates: dict[str, Json] = {
        "tool.output": output,
        f"tools.{node}.output": output,
        f"tools.{node}.stderr": stderr,
        f"tools.{node}.exit_code": code,
    }
    if code == 0:
        return Outcome(status=Status.SUCCESS, context_updates=updates)
    return Outcome(
        status=Status.FAIL,
        context_updates=updates,
        failure_reason=_reason(code, _last_lines(output), _last_lines(stderr)),
        failure_class=FailureClass.TERMINAL if code in NOT_RUN else None,
    )


def _reason(code: int, output: str, stderr: str) -> str:
    """The exit code with the last lines of what was written: neither stream hides the other."""
    named = f"exit code {code}" + (" (SIGPIPE: a reader of a pipe ended early)" if code == BROKEN_PIPE else "")
    if output and stderr:
        return f"{named}:\n{STDOUT}\n{output}\n{STDERR}\n{stderr}"
    said = output or stderr
    return f"{named}: {said}" if said else named


def _last_lines(text: str) -> str:
    lines = text[-LAST_CHARACTERS:].rstrip().splitlines()[-LAST_LINES:]
    return "\n".join(lines)
