"""What ``orchestra log SESSION --why NODE`` does: each decision at a node, with what it saw."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from orchestra.cli.errors import STORE
from orchestra.cli.stores import reading, settings_for
from orchestra.cli.terminal import complain, one_line, room, say, say_json
from orchestra.engine.gaps import Gap, legible
from orchestra.engine.loading import event_of
from orchestra.engine.sessions import find
from orchestra.errors import SessionNotFound
from orchestra.graph.attributes import nearest
from orchestra.graph.report import plural, wrap
from orchestra.ports import Store, Turn
from orchestra.run.events import Recorded, StageStarted
from orchestra.run.reasons import Reason, leading_to, reasons
from orchestra.run.routing import RULES
from orchestra.run.views import counting

SCHEMA = "orchestra.why.v1"
"""What the JSON names as its form."""


def show_why(session: str, node: str, *, store: str | None, config: Path | None, json: str) -> int:
    """Print every visit of a node and the decision after it."""
    settings = settings_for(store, config)

    async def look(opened: Store) -> tuple[str, list[Recorded], int]:
        row = await find(opened, session)
        turns = await legible(opened, row.context_id)
        read = [event_of(turn) for turn in turns if isinstance(turn, Turn)]
        lost = sum(isinstance(turn, Gap) for turn in turns)
        return row.session, counting([event for event in read if isinstance(event, Recorded)]), lost

    name, events, lost = asyncio.run(reading(settings, look, session, flag=store))
    found = reasons(events, node)
    if not found:
        raise _never(name, events, node)
    if json:
        _say_json(name, node, found, stream=json == "stream")
    else:
        for number, reason in enumerate(found):
            if number:
                say()
            _say_reason(node, reason)
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


def _say_reason(node: str, reason: Reason) -> None:
    head = f"{one_line(node, 80)}  "
    lines(head, f"{_visit(reason)}  (turn {reason.depth})", "    ")
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
    """Say a text behind its lead, wrapped to the terminal."""
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
    """What routing saw of an edge: its condition and the values in it, label, weight, how often it was taken."""
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
