"""The closing lines of a command that shows a session, and why a node was reached (C2, C4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec import to_builtins

from orchestra.cli.errors import FAILED, FULL, INTERRUPTED, STORE, WAITS
from orchestra.cli.screen.code import code_lines
from orchestra.cli.screen.lines import GREEN, RED, YELLOW
from orchestra.cli.screen.views import SessionOptions, tell_reader
from orchestra.cli.stores import StoreAccess
from orchestra.cli.terminal import complain, duration_words, fit, many_lines, one_line, room, say, say_json
from orchestra.engine.gaps import Gap, legible
from orchestra.engine.loading import event_of
from orchestra.engine.sessions import find
from orchestra.errors import SessionNotFound
from orchestra.graph.attributes import nearest
from orchestra.graph.report import dollars, paint, plural, wrap
from orchestra.ports import Store, Turn
from orchestra.run.codec import preview_of
from orchestra.run.events import Recorded, StageStarted
from orchestra.run.questions import choices_in_words
from orchestra.run.reasons import Reason, leading_to, reasons
from orchestra.run.routing import RULES
from orchestra.run.state import RunState
from orchestra.run.views import counting, limit_setting, raised_limit


def say_ended(
    shown: SessionOptions, at: StoreAccess, session: str, context_id: int, state: RunState, mirror_of: str = ""
) -> int:
    """Print the result and the next command; return the exit code (C2).

    A mirror is resumed in its original.
    """
    result = state.result
    code = _code_of_stopped(state) if result is None else 0 if result.good else FAILED
    if shown.json == "object":
        status = result.status if result is not None else _stop_words(state)
        detail = result.text if result is not None else state.paused
        told = as_object(session, context_id, state)
        say_json({**told, "status": status, "detail": detail, "exit_code": code}, indent=2)
    elif not shown.json:
        for line in (*_last_lines(state, shown.colour), *_next(at, session, state, mirror_of)):
            tell_reader(line)
    return code


def _code_of_stopped(state: RunState) -> int:
    """The exit code of a run that has not ended."""
    return WAITS if state.waiting else FULL if state.limit else INTERRUPTED


def _stop_words(state: RunState) -> str:
    """Return the state of a session without a runner that has not ended."""
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
        "tokens_in": state.spent.tokens_in,
        "tokens_out": state.spent.tokens_out,
        "cost_micros": state.spent.cost_micros,
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
    """Return the milliseconds that a runner spent on it, without the time between runners."""
    return max(0, (state.at if state.result is None else state.result.ended_ms) - state.started_ms - state.idle_ms)


def _at(state: RunState) -> str:
    return state.stage.node if state.stage is not None else state.next_node


def _last_lines(state: RunState, colour: bool) -> list[str]:
    result = state.result
    took = f"{plural(state.steps, 'node')} in {duration_words(took_ms(state))}{_cost(state)}"
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
        text, more = took + ("" if result.text == "success" else f"  {result.text}"), []
    elif result.status == "canceled":
        word, tone = "canceled", YELLOW
        text, more = f"at {result.node}, {one_line(result.text, 600)}", [f"  {took}"]
    else:
        word, tone = "failed", RED
        text, more = f"at {result.node}: {one_line(result.text, 600)}", [f"  {took}"]
    first = "\n".join(wrap(f"{word}  ", text, room(), "  "))
    return [first.replace(word, paint(word, tone, colour), 1), *more]


def _cost(state: RunState) -> str:
    """Return what the models cost, or their tokens; for a simulated session, say that it is simulated."""
    if state.simulated:
        return ", simulated: no model was asked"
    if state.spent.cost_micros:
        return f", {dollars(state.spent.cost_micros, 4)}"
    return f", {plural(state.spent.tokens, 'token')}" if state.spent.tokens else ""


ABOUT_LINES = 8
"""Lines shown of the text to decide on."""


def about_lines(text: str, indent: str) -> list[str]:
    """Return the first lines of the text to decide on."""
    lines = [line for line in many_lines(text).splitlines() if line.strip()]
    shown = [f"{indent}| {fit(line, room() - len(indent) - 2)}".rstrip() for line in lines[:ABOUT_LINES]]
    return [*shown, f"{indent}| …"] if len(lines) > ABOUT_LINES else shown


def _asks(state: RunState, aim: str, session: str) -> list[str]:
    """What is asked, and how it is answered; of questions of branches and children the inbox tells."""
    lines: list[str] = []
    for asked in state.pending:
        asks = (
            f"{one_line(asked.question.text, 400)}  Answer with {one_line(choices_in_words(asked.question), 400)}"
        )
        lines += [*about_lines(preview_of(asked.question.about), "  "), *wrap("  ", asks, room(), "    ")]
    lines.append(f"  answer: orchestra answer{aim} {session}" + (" VALUE" if len(state.pending) == 1 else ""))
    return [*lines, f"  then: orchestra resume{aim} {session}"]


def _next(at: StoreAccess, session: str, state: RunState, mirror_of: str) -> list[str]:
    if at.settings.place == "memory":
        return ["  nothing was saved: the store was in memory"]
    aim = at.aim
    look = "\n".join([f"  details: orchestra status{aim} {session} --detail", *code_lines(state, aim)])
    if state.result is not None and state.result.good:
        return [look]
    if state.waiting and not mirror_of:
        return _asks(state, aim, session)
    if mirror_of:
        return [look, f"  resume: in the original store, {one_line(mirror_of, 1000)}"]
    back = _source_of_failure(state)
    again = [f"  try {back} again: orchestra replay{aim} {session} --node {back}"] if back else []
    higher = higher_limit(raised_limit(state))
    first = raise_first(limit_setting(state), higher)
    return [look, *first, f"  resume: orchestra resume{aim} {session}{higher}", *again]


def raise_first(limit: str, flag: str) -> list[str]:
    """Return the line for a limit that no flag of ``resume`` raises."""
    if not limit or flag:
        return []
    own = ", or that of its agent" if limit.startswith("limits.node.") else ""
    return [f"  first: raise {limit} in orchestra.yaml{own}"]


def higher_limit(micros: int) -> str:
    """Return the flag that raises the cost limit at which a run paused; empty after any other stop."""
    return f" --max-cost {micros / 1e6:.2f}" if micros else ""


def _source_of_failure(state: RunState) -> str:
    """Return the failed node that led to the node at which the run failed; else empty.

    A resume runs the last node again, which may be one that only ends the run.
    """
    if not state.failed or state.result is None:
        return ""
    ways = [key.partition("#")[0].rpartition("->") for key in state.edges]
    sources = [source for source, _arrow, target in ways if target == state.result.node and source in state.nodes]
    failed = [node for node in sources if state.nodes[node].status == "fail" and node != state.result.node]
    return max(failed, key=lambda node: state.nodes[node].ended_ms, default="")


SCHEMA = "orchestra.why.v1"
"""What the JSON names as its form."""


def show_why(at: StoreAccess, session: str, node: str, *, json: str) -> int:
    """Print every visit of a node and the decision after it."""

    async def look(opened: Store) -> tuple[str, list[Recorded], int]:
        row = await find(opened, session)
        turns = await legible(opened, row.context_id)
        read = [event_of(turn) for turn in turns if isinstance(turn, Turn)]
        lost = sum(isinstance(turn, Gap) for turn in turns)
        return row.session, counting([event for event in read if isinstance(event, Recorded)]), lost

    name, events, lost = at.read(look, session)
    found = reasons(events, node)
    if not found:
        raise _never(name, events, node)
    if json:
        _say_json(name, node, found, stream=json == "stream")
    else:
        for number, reason in enumerate(found):
            if number:
                say()
            _say_reason(name, node, reason)
    if lost:
        complain(f"{plural(lost, 'turn')} cannot be read; their decisions are missing here")
    return STORE if lost else 0


def _never(session: str, events: list[Recorded], node: str) -> SessionNotFound:
    """The node was not entered: the nodes where it was passed over, else one whose name is like it."""
    shown = repr(one_line(node, 60))
    passed = leading_to(events, node)
    if passed:
        fix = "; ".join(f"orchestra log {session} --why {one_line(source, 60)}" for source in passed[:3])
        return SessionNotFound(f"{shown} was not entered in {session}", fix=f"see why: {fix}")
    entered = {event.event.node: None for event in events if isinstance(event.event, StageStarted)}
    near = nearest(node, [*entered])
    listed = f"did you mean {near!r}?" if near else f"nodes entered: {one_line(', '.join(entered), 300)}"
    return SessionNotFound(f"{shown} was not entered in {session}", fix=listed)


def _say_json(session: str, node: str, found: tuple[Reason, ...], *, stream: bool) -> None:
    plain = [_plain(reason) for reason in found]
    if not stream:
        say_json({"schema": SCHEMA, "session": session, "node": node, "visits": plain})
        return
    for number, line in enumerate(plain):
        say_json({"schema": SCHEMA, "session": session, "node": node, **line} if number == 0 else line)


def _plain(reason: Reason) -> dict[str, Any]:
    plain: dict[str, Any] = to_builtins(reason)
    plain["rule_name"] = RULES.get(reason.rule) if reason.rule is not None else None
    return plain


def _say_reason(session: str, node: str, reason: Reason) -> None:
    head = f"{one_line(node, 80)}  "
    lines(head, f"{_visit(reason)}  ({session}:{reason.depth})", "    ")
    if reason.preferred_label:
        lines("  ", f"preferred label {one_line(reason.preferred_label, 200)!r}", "    ")
    if reason.suggested_next_ids:
        lines("  ", f"suggested {one_line(', '.join(reason.suggested_next_ids), 300)}", "    ")
    if reason.chosen:
        lines("  ", f"chose the edge {one_line(reason.chosen, 200)}", "    ")
    lines("  ", _decision(reason), "    ")
    for candidate in reason.candidates:
        sign = "→" if candidate.get("edge") == reason.edge else "·"
        lines(
            f"    {sign} ", f"{one_line(str(candidate.get('edge')), 120)}  {candidate_facts(candidate)}", "        "
        )


def lines(lead: str, text: str, indent: str) -> None:
    """Print a text after its lead, wrapped to the terminal."""
    say("\n".join(wrap(lead, text, room(), indent)))


def _visit(reason: Reason) -> str:
    if not reason.visit:
        return "not entered"
    parts = [f"visit {reason.visit}", reason.status or "not finished"]
    if reason.word:
        parts.append(f"outcome {one_line(reason.word, 80)!r}")
    if reason.attempt > 1:
        parts.append(f"attempt {reason.attempt}")
    if reason.failure_reason:
        parts.append(one_line(reason.failure_reason, 400))
    return ", ".join(parts)


def _decision(reason: Reason) -> str:
    why = one_line(reason.why, 600)
    if reason.gate:
        return f"→ {reason.target}  goal gate: {why}"
    if reason.target:
        return f"→ {reason.target}  rule {reason.rule}: {why}"
    rule = f"rule {reason.rule}, {RULES.get(reason.rule, 'unknown')}: " if reason.rule is not None else ""
    return f"the run ended here  {rule}{why}" if why else "not decided yet"


def candidate_facts(candidate: Mapping[str, Any]) -> str:
    """Return what routing saw of an edge: condition and values, label, weight, times taken."""
    parts = []
    if "condition" in candidate:
        values = candidate.get("values")
        pairs = values.items() if isinstance(values, Mapping) else ()
        saw = ", ".join(f"{key} was '{one_line(str(value), 200)}'" for key, value in pairs)
        verdict = "true" if candidate.get("holds") else "false"
        parts.append(f"{one_line(str(candidate['condition']), 300)}  {verdict}" + (f": {saw}" if saw else ""))
    else:
        parts.append("no condition")
    if "label" in candidate:
        parts.append(f"label '{one_line(str(candidate['label']), 100)}'")
    if "weight" in candidate:
        parts.append(f"weight {candidate['weight']}")
    if "max_visits" in candidate:
        taken, most = candidate.get("taken"), candidate["max_visits"]
        parts.append(f"taken {taken} of {plural(most, 'time')}" + (", closed" if taken == most else ""))
    return ", ".join(parts)
