"""``orchestra replay --recorded`` and ``--against``: repeat recorded decisions and report differences."""

from __future__ import annotations

import asyncio
import textwrap
from difflib import unified_diff
from pathlib import Path

from msgspec import to_builtins

from orchestra.app.pipelines import read
from orchestra.app.rewalking import Another, Report, Text, rewalk
from orchestra.cli._errors import FAILED
from orchestra.cli._json import say_json
from orchestra.cli._stores import reading, settings_for
from orchestra.cli._terminal import one_line, say
from orchestra.cli._why import lines, seen_of
from orchestra.graph.report import counted
from orchestra.run.rewalk import Decision, Parting

SCHEMA = "orchestra.rewalk.v1"
"""What the JSON names as its form."""

DIFF_SHOWN = 200
"""Lines of one difference that are shown."""

LONG_LINE = 240
"""Characters from which a line of a text is compared in pieces."""


def walk_again(session: str, against: Path | None, *, store: str | None, config: Path | None, as_json: bool) -> int:
    """Walk a record again and say what differs; 0 where nothing does, else 1 (C2)."""
    settings = settings_for(store, config, str(against) if against is not None else "-")
    another = None
    if against is not None:
        source, found = read(against)
        another = Another(source=source, found=found)
    report = asyncio.run(
        reading(
            settings,
            lambda opened: rewalk(session, store=opened, settings=settings, another=another),
            session,
            flag=store,
        )
    )
    if as_json:
        say_json({"schema": SCHEMA, "same": report.same, **to_builtins(report)})
    else:
        _say(report, str(against) if against is not None else "")
    return 0 if report.same else FAILED


def _say(report: Report, file: str) -> None:
    for text in report.others:
        _say_text(text)
    if report.parting is not None:
        _say_parting(report.parting, file)
    compared = (
        f"{counted(report.nodes, 'node')}, {counted(report.edges, 'edge')}, {counted(report.texts, 'prompt')}"
    )
    far = "" if report.ended or report.parting is not None else ", as far as it has run"
    chain = f" and {counted(report.sessions - 1, 'session')} before it" if report.sessions > 1 else ""
    if report.parting is not None:
        say(f"same until then  {compared}")
    elif report.others:
        say(f"same path  {compared}, of {report.session}{chain}{far}; prompts that differ: {len(report.others)}")
    else:
        say(f"same  {compared}, of {report.session}{chain}{far}")


def _say_text(text: Text) -> None:
    say(f"prompt differs  {one_line(text.node, 80)}, visit {text.visit}  (turn {text.depth})")
    diff = list(unified_diff(_folded(text.recorded), _folded(text.now), "recorded", "now", lineterm=""))
    for line in diff[:DIFF_SHOWN]:
        say(f"  {one_line(line, 500)}")
    if len(diff) > DIFF_SHOWN:
        say(f"  … {counted(len(diff) - DIFF_SHOWN, 'more line')}; --json shows both texts in full")


def _folded(text: str) -> list[str]:
    """The lines of a text; a long one in pieces, so that a difference at its end is seen."""
    folded: list[str] = []
    for line in text.rstrip().splitlines():
        folded += [line] if len(line) <= LONG_LINE else textwrap.wrap(line, LONG_LINE // 2)
    return folded


def _say_parting(parting: Parting, file: str) -> None:
    place = f"{one_line(parting.node, 80)}  (turn {parting.depth})" if parting.node else f"turn {parting.depth}"
    say(f"diverges  at {place}")
    if parting.why:
        lines("  ", one_line(parting.why, 400), "    ")
    if parting.recorded is not None:
        _say_decision("recorded", parting.recorded)
    if parting.now is not None:
        _say_decision(one_line(file, 60) or "now", parting.now)


def _say_decision(who: str, decision: Decision) -> None:
    lines("  ", f"{who}: {_told(decision)}", "    ")
    for candidate in decision.candidates:
        sign = "→" if candidate.get("edge") == decision.edge else "·"
        lines(f"    {sign} ", f"{one_line(str(candidate.get('edge')), 120)}  {seen_of(candidate)}", "        ")


def _told(decision: Decision) -> str:
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
