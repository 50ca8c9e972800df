"""Why edges were taken: ``log --why``, and ``replay --recorded`` or ``--against``."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from difflib import unified_diff
from typing import Any

from msgspec import to_builtins

from orchestra.app.rewalking import ChangedText, RewalkReport
from orchestra.cli.errors import STORE
from orchestra.cli.stores import StoreAccess
from orchestra.cli.terminal import complain, one_line, room, say, say_json, say_wrapped
from orchestra.engine.gaps import Gap, legible
from orchestra.engine.loading import event_of
from orchestra.engine.sessions import find
from orchestra.errors import SessionNotFound
from orchestra.graph.nearest import nearest
from orchestra.graph.report import plural, wrap
from orchestra.ports import Store, Turn
from orchestra.run.events import Recorded, StageStarted
from orchestra.run.reasons import Reason, leading_to, reasons
from orchestra.run.rewalk import Decision, Divergence
from orchestra.run.routing import RULES
from orchestra.run.views import counting

WHY, REWALK = "orchestra.why.v1", "orchestra.rewalk.v1"
"""What the JSON of each names as its form."""


DIFF_SHOWN = 200
"""Lines of one difference that are shown."""

LONG_LINE = 240
"""Characters from which a line of a text is compared in pieces."""


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
        say_json({"schema": WHY, "session": session, "node": node, "visits": plain})
        return
    for number, line in enumerate(plain):
        say_json({"schema": WHY, "session": session, "node": node, **line} if number == 0 else line)


def _plain(reason: Reason) -> dict[str, Any]:
    plain: dict[str, Any] = to_builtins(reason)
    plain["rule_name"] = RULES.get(reason.rule) if reason.rule is not None else None
    return plain


def _say_reason(session: str, node: str, reason: Reason) -> None:
    head = f"{one_line(node, 80)}  "
    print_wrapped(head, f"{_visit(reason)}  ({session}:{reason.depth})", "    ")
    if reason.preferred_label:
        print_wrapped("  ", f"preferred label {one_line(reason.preferred_label, 200)!r}", "    ")
    if reason.suggested_next_ids:
        print_wrapped("  ", f"suggested {one_line(', '.join(reason.suggested_next_ids), 300)}", "    ")
    if reason.chosen:
        print_wrapped("  ", f"chose the edge {one_line(reason.chosen, 200)}", "    ")
    print_wrapped("  ", _decision(reason), "    ")
    _say_candidates(reason.candidates, reason.edge)


def _say_candidates(candidates: Sequence[Mapping[str, Any]], taken: str) -> None:
    """Print the edges of a decision, and what routing saw of each."""
    for candidate in candidates:
        sign = "→" if candidate.get("edge") == taken else "·"
        name = one_line(str(candidate.get("edge")), 120)
        print_wrapped(f"    {sign} ", f"{name}  {candidate_facts(candidate)}", "        ")


def print_wrapped(lead: str, text: str, indent: str) -> None:
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


def say_rewalk(report: RewalkReport, file: str, *, as_json: bool) -> None:
    """Print whether the recorded decisions were repeated, and what differs."""
    if as_json:
        say_json({"schema": REWALK, "same": report.same, **to_builtins(report)})
        return
    for text in report.others:
        _say_text(text)
    if report.parting is not None:
        _say_divergence(report.parting, file)
    compared = f"{plural(report.nodes, 'node')}, {plural(report.edges, 'edge')}, {plural(report.texts, 'prompt')}"
    far = "" if report.ended or report.parting is not None else ", as far as it has run"
    chain = f" and {plural(report.sessions - 1, 'session')} before it" if report.sessions > 1 else ""
    if report.parting is not None:
        say_wrapped(f"same until then  {compared}")
    elif report.others:
        say_wrapped(
            f"same path  {compared}, of {report.session}{chain}{far}; prompts that differ: {len(report.others)}"
        )
    else:
        say_wrapped(f"same  {compared}, of {report.session}{chain}{far}")


def _at(branch: str, node: str) -> str:
    """A node, with the branch in which it is."""
    return one_line("/".join(part for part in (branch, node) if part), 120)


def _say_text(text: ChangedText) -> None:
    say(f"prompt differs  {_at(text.branch, text.node)}, visit {text.visit}  (depth {text.depth})")
    diff = list(unified_diff(_fold_lines(text.recorded), _fold_lines(text.now), "recorded", "now", lineterm=""))
    for line in diff[:DIFF_SHOWN]:
        say(f"  {one_line(line, 500)}")
    if len(diff) > DIFF_SHOWN:
        say(f"  … {plural(len(diff) - DIFF_SHOWN, 'more line')}; --json shows both texts in full")


def _fold_lines(text: str) -> list[str]:
    """The lines of a text; a long one in pieces, so that a difference at its end is seen."""
    folded: list[str] = []
    for line in text.rstrip().splitlines():
        folded += [line] if len(line) <= LONG_LINE else textwrap.wrap(line, LONG_LINE // 2)
    return folded


def _say_divergence(divergence: Divergence, file: str) -> None:
    at = _at(divergence.branch, divergence.node)
    place = f"{at}  (depth {divergence.depth})" if at else f"depth {divergence.depth}"
    say(f"diverges  at {place}")
    if divergence.why:
        print_wrapped("  ", one_line(divergence.why, 400), "    ")
    if divergence.recorded is not None:
        _say_decision("recorded", divergence.recorded)
    if divergence.now is not None:
        _say_decision(one_line(file, 60) or "now", divergence.now)


def _say_decision(who: str, decision: Decision) -> None:
    print_wrapped("  ", f"{who}: {_describe(decision)}", "    ")
    _say_candidates(decision.candidates, decision.edge)


def _describe(decision: Decision) -> str:
    node, why = one_line(decision.node, 80), one_line(decision.why, 600)
    match decision.kind:
        case "enter":
            of = f" of {decision.of}" if decision.of > 1 else ""
            return f"starts {node}, visit {decision.visit}, attempt {decision.attempt}{of}"
        case "go":
            rule = f"goal gate {decision.gate}" if decision.gate else f"rule {decision.rule}"
            restart = ", in a new session" if decision.restart else ""
            return f"{node} → {one_line(decision.target, 80)}{restart}  {rule}: {why}"
        case "refuse":
            return f"{node} is refused: {why}"
        case "restart":
            return f"the session ends at {node} and restarts at {one_line(decision.target, 80)} in a new session"
        case "complete":
            return f"the run completes at {node}"
        case _:
            return f"the run fails at {node}: {why}"
