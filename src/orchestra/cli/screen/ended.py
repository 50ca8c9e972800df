"""The closing lines of a command that shows a session: its result or current node, what to do next (C2, C4)."""

from __future__ import annotations

from typing import Any

from orchestra.cli.errors import FAILED, FULL, INTERRUPTED, WAITS
from orchestra.cli.options import SessionOptions
from orchestra.cli.screen.code import code_lines
from orchestra.cli.screen.lines import GREEN, RED, YELLOW
from orchestra.cli.screen.views import tell_reader
from orchestra.cli.stores import hint
from orchestra.cli.terminal import duration_words, one_line, room, say_json
from orchestra.config.settings import Settings
from orchestra.graph.report import paint, plural, wrap
from orchestra.run.questions import choices_in_words
from orchestra.run.state import RunState
from orchestra.run.views import raised_limit


def say_ended(
    shown: SessionOptions,
    settings: Settings,
    session: str,
    context_id: int,
    state: RunState,
    colour: bool,
    mirror_of: str = "",
) -> int:
    """Print the result and the next command; return the exit code (C2). A mirror is resumed in its original."""
    result = state.result
    code = _code_of_stopped(state) if result is None else 0 if result.good else FAILED
    if shown.json == "object":
        status = result.status if result is not None else _stop_words(state)
        detail = result.text if result is not None else state.paused
        told = as_object(session, context_id, state)
        say_json({**told, "status": status, "detail": detail, "exit_code": code}, indent=2)
    elif not shown.json:
        nexts = _next(settings, shown.store, session, state, mirror_of)
        for line in (*_last_lines(state, colour), *nexts):
            tell_reader(line)
    return code


def _code_of_stopped(state: RunState) -> int:
    """The exit code of a run that has not ended."""
    return WAITS if state.waiting else FULL if state.limit else INTERRUPTED


def _stop_words(state: RunState) -> str:
    """How a session stands that nobody runs and that has not ended."""
    return "waiting" if state.waiting else "paused" if state.paused else "crashed"


def as_object(session: str, context_id: int, state: RunState) -> dict[str, Any]:
    """A session as one object of JSON."""
    result = state.result
    return {
        "session": session,
        "context": context_id,
        "pipeline": state.pipeline,
        "node": _at(state) if result is None else result.node,
        "steps": state.steps,
        "duration_ms": took_ms(state),
        "backend": state.backend,
        "nodes": {
            node: {
                "status": record.status,
                "visits": record.visits - record.carried,
                "executions": record.executions - record.carried_executions,
                "reason": record.reason,
            }
            for node, record in state.nodes.items()
            if record.here
        },
    }


def took_ms(state: RunState) -> int:
    """Return the milliseconds that a runner spent on it: without the time in which nobody ran it."""
    return max(0, (state.at if state.result is None else state.result.ended_ms) - state.started_ms - state.idle_ms)


def _at(state: RunState) -> str:
    return state.stage.node if state.stage is not None else state.next_node


def _last_lines(state: RunState, colour: bool) -> list[str]:
    result = state.result
    took = f"{plural(state.steps, 'node')} in {duration_words(took_ms(state))}"
    if result is None:
        word, tone = ("paused", YELLOW) if state.paused else ("crashed", RED)
        text = (
            f"before {_at(state) or 'the first node'}"
            if state.stage is None
            else f"at {_at(state)}, which has not finished"
        )
        more = [f"  {took}; everything so far is recorded"]
        text = f"{text} ({state.paused or 'its runner is gone'})"
    elif result.good:
        word, tone = "completed", GREEN
        text, more = took + _simulation_note(state) + ("" if result.text == "success" else f"  {result.text}"), []
    elif result.status == "canceled":
        word, tone = "canceled", YELLOW
        text, more = f"at {result.node}, {one_line(result.text, 600)}", [f"  {took}"]
    else:
        word, tone = "failed", RED
        text, more = f"at {result.node}: {one_line(result.text, 600)}", [f"  {took}"]
    first = "\n".join(wrap(f"{word}  ", text, room(), "  "))
    return [first.replace(word, paint(word, tone, colour), 1), *more]


def _simulation_note(state: RunState) -> str:
    """Words for a session whose agents are all simulated: nothing they report was done by a model."""
    return ", simulated: no model was asked" if state.simulated else ""


def _asks(state: RunState, aim: str, session: str) -> list[str]:
    """What is asked, and how it is answered; of questions of branches and children the inbox tells."""
    lines: list[str] = []
    for asked in state.pending:
        asks = (
            f"{one_line(asked.question.text, 400)}  Answer with {one_line(choices_in_words(asked.question), 400)}"
        )
        lines += wrap("  ", asks, room(), "    ")
    lines.append(f"  answer: orchestra answer{aim} {session}" + (" VALUE" if len(state.pending) == 1 else ""))
    return [*lines, f"  then: orchestra resume{aim} {session}"]


def _next(settings: Settings, flag: str | None, session: str, state: RunState, mirror_of: str) -> list[str]:
    if settings.place == "memory":
        return ["  nothing was saved: the store was in memory"]
    aim = hint(settings, flag)
    look = "\n".join([f"  details: orchestra status{aim} {session} --detail", *code_lines(state, aim)])
    if state.result is not None and state.result.good:
        return [look]
    if state.waiting and not mirror_of:
        return _asks(state, aim, session)
    if mirror_of:
        return [look, f"  resume: in the original store, {one_line(mirror_of, 1000)}"]
    back = _source_of_failure(state)
    again = [f"  try {back} again: orchestra replay{aim} {session} --node {back}"] if back else []
    return [look, f"  resume: orchestra resume{aim} {session}{higher_limit(raised_limit(state))}", *again]


def higher_limit(micros: int) -> str:
    """Return the flag without which a resume would pause at the same limit of cost; empty after any other stop."""
    return f" --max-cost {micros / 1e6:.2f}" if micros else ""


def _source_of_failure(state: RunState) -> str:
    """Return the failed node from which a run came to the node at which it failed; empty for any other way.

    A resume runs the last node again, which may be one that only ends the run.
    """
    if not state.failed or state.result is None:
        return ""
    ways = [key.partition("#")[0].rpartition("->") for key in state.edges]
    sources = [source for source, _arrow, target in ways if target == state.result.node and source in state.nodes]
    failed = [node for node in sources if state.nodes[node].status == "fail" and node != state.result.node]
    return max(failed, key=lambda node: state.nodes[node].ended_ms, default="")
