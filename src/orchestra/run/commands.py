"""What the end of a tool node's command means: an outcome, and what the context says of it (engine.md 5, tool)."""

from __future__ import annotations

from orchestra.run.outcome import FailureClass, Json, Outcome, Status

NOT_RUN = (126, 127)
"""Exit codes of a command that is no program, or that is not there."""

LAST_LINES, LAST_CHARACTERS = 10, 2000
"""How much of what it wrote to standard error a failure's reason shows."""


def command_outcome(node: str, code: int, output: str, stderr: str) -> Outcome:
    """What the command's end means. In the context its output ends like that of ``$( )``: without newlines."""
    output, stderr = output.rstrip("\n"), stderr.rstrip("\n")
    updates: dict[str, Json] = {
        "tool.output": output,
        f"tools.{node}.output": output,
        f"tools.{node}.stderr": stderr,
        f"tools.{node}.exit_code": code,
    }
    if code == 0:
        return Outcome(status=Status.SUCCESS, context_updates=updates)
    said = _last_lines(stderr) or _last_lines(output)
    return Outcome(
        status=Status.FAIL,
        context_updates=updates,
        failure_reason=f"exit code {code}" + (f": {said}" if said else ""),
        failure_class=FailureClass.TERMINAL if code in NOT_RUN else None,
    )


def _last_lines(text: str) -> str:
    lines = text[-LAST_CHARACTERS:].rstrip().splitlines()[-LAST_LINES:]
    return "\n".join(lines)
