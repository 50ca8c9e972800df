"""``orchestra replay``."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from difflib import unified_diff
from pathlib import Path
from typing import Annotated

import typer
from msgspec import to_builtins

from orchestra.agents.scripts import read_script
from orchestra.app.pipelines import Pipeline, read
from orchestra.app.plans import ResumeChanges
from orchestra.app.rewalking import Another, ChangedText, RewalkReport, rewalk
from orchestra.app.runs import Future, RunSetup
from orchestra.app.runs import replay as replayed_run
from orchestra.cli.commands.run import key_values, walk_shown
from orchestra.cli.errors import FAILED
from orchestra.cli.options import Detach
from orchestra.cli.people import RunOptions
from orchestra.cli.screen.ended import candidate_facts, lines
from orchestra.cli.stores import Session
from orchestra.cli.terminal import one_line, say, say_json
from orchestra.engine.forking import TurnChoice
from orchestra.engine.running import Run
from orchestra.errors import ConfigError
from orchestra.graph.report import plural
from orchestra.run.rewalk import Decision, Divergence


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayRequest:
    """From where a session is replayed, and with what."""

    checkpoint: Annotated[
        str,
        typer.Option(
            "--checkpoint",
            metavar="T",
            help="Start from this checkpoint: a depth, #ID or 'last'.",
            show_default=False,
        ),
    ] = ""
    turn: Annotated[
        str,
        typer.Option(
            "--turn",
            metavar="T",
            help="Start from this turn: a depth as shown by `log`, or #ID (also of a child's or a branch's turn).",
            show_default=False,
        ),
    ] = ""
    node: Annotated[
        str, typer.Option("--node", metavar="NODE", help="Start from this node.", show_default=False)
    ] = ""
    visit: Annotated[
        int | None,
        typer.Option(
            "--visit", metavar="N", min=1, help="With --node: start from its N-th visit (default: the newest)."
        ),
    ] = None
    variables: Annotated[
        list[str] | None,
        typer.Option("--var", metavar="KEY=VALUE", help="Set a variable of the new session (repeatable)."),
    ] = None
    values: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Set a context value of the new session (repeatable)."),
    ] = None
    graph: Annotated[Path | None, typer.Option("--graph", metavar="FILE", help="Continue with this pipeline.")] = (
        None
    )
    simulate: Annotated[
        Path | None, typer.Option("--simulate", metavar="FILE", help="Continue with these scripted results.")
    ] = None
    label: Annotated[
        str, typer.Option("--label", metavar="TEXT", help="Name of the new session.", show_default=False)
    ] = ""
    detach: Detach = False


def replay(
    session: Session,
    *,
    asked: ReplayRequest,
    recorded: Annotated[
        bool,
        typer.Option("--recorded", help="Run nothing: repeat the recorded decisions and report any that differ."),
    ] = False,
    against: Annotated[
        Path | None,
        typer.Option(
            "--against", metavar="FILE", help="Like --recorded, with this pipeline: report where it diverges."
        ),
    ] = None,
    shown: RunOptions,
) -> int:
    """Start a new session from a point in the history of another session, which is not changed.

    Without --checkpoint, --turn or --node it starts from the beginning. SESSION/FAN/BRANCH names a parallel
    branch: depths and nodes are then those of the branch. Exit codes are those of run and resume.

    With --recorded or --against nothing is run or written: the recorded results of agents and commands are used.
    Exit codes: 0: the same nodes, edges and prompts; 1: something differs.
    """
    if sum(map(bool, (asked.checkpoint, asked.turn, asked.node))) > 1:
        raise typer.BadParameter("--checkpoint, --turn and --node exclude each other; use one")
    if asked.visit is not None and not asked.node:
        raise typer.BadParameter("--visit needs --node")
    if recorded or against is not None:
        if asked != ReplayRequest() or shown.json_stream or (recorded and against is not None):
            wrong = "--recorded and --against start no session: combine them only with --store, --config and --json"
            raise typer.BadParameter(wrong)
        return _walk_again(session, against, shown)
    at = shown.access(str(asked.graph) if asked.graph is not None else "-")
    at.check(session)
    source, found = read(asked.graph) if asked.graph is not None else (None, ())
    script = read_script(asked.simulate) if asked.simulate is not None else None
    wanted = _turn_choice(asked)
    future = Future(
        variables=key_values(tuple(asked.variables or ()), "variable"),
        values=key_values(tuple(asked.values or ()), "value"),
        changes=ResumeChanges(graph=source, found=found, simulation=script),
        label=asked.label,
    )

    async def fork(setup: RunSetup) -> tuple[Run, Pipeline]:
        return await replayed_run(setup, session, wanted, future)

    return walk_shown(shown, at, fork, detach=asked.detach)


def _turn_choice(asked: ReplayRequest) -> TurnChoice:
    if asked.node:
        return TurnChoice(node=asked.node, visit=asked.visit)
    if asked.checkpoint == "last":
        return TurnChoice(newest=True)
    text = asked.checkpoint or asked.turn
    if not text:
        return TurnChoice()
    number = text.removeprefix("#")
    if not (number.isascii() and number.isdigit() and len(number) < 19):
        raise ConfigError(
            f"{one_line(text, 40)!r} is not a turn",
            fix="use a depth, as `orchestra log SESSION` shows it, or #ID for a CXDB turn id",
        )
    if text.startswith("#"):
        return TurnChoice(turn_id=int(number), checkpoint=bool(asked.checkpoint))
    return TurnChoice(depth=int(number), checkpoint=bool(asked.checkpoint))


SCHEMA = "orchestra.rewalk.v1"
"""What the JSON names as its form."""

DIFF_SHOWN = 200
"""Lines of one difference that are shown."""

LONG_LINE = 240
"""Characters from which a line of a text is compared in pieces."""


def _walk_again(session: str, against: Path | None, shown: RunOptions) -> int:
    """Walk a record again and say what differs; 0 where nothing does, else 1 (C2)."""
    at = shown.access(str(against) if against is not None else "-")
    another = None
    if against is not None:
        source, found = read(against)
        another = Another(source=source, found=found)
    report = at.read(
        lambda store: rewalk(session, store=store, settings=at.settings, another=another),
        session,
    )
    if shown.as_json:
        say_json({"schema": SCHEMA, "same": report.same, **to_builtins(report)})
    else:
        _say(report, str(against) if against is not None else "")
    return 0 if report.same else FAILED


def _say(report: RewalkReport, file: str) -> None:
    for text in report.others:
        _say_text(text)
    if report.parting is not None:
        _say_parting(report.parting, file)
    compared = f"{plural(report.nodes, 'node')}, {plural(report.edges, 'edge')}, {plural(report.texts, 'prompt')}"
    far = "" if report.ended or report.parting is not None else ", as far as it has run"
    chain = f" and {plural(report.sessions - 1, 'session')} before it" if report.sessions > 1 else ""
    if report.parting is not None:
        say(f"same until then  {compared}")
    elif report.others:
        say(f"same path  {compared}, of {report.session}{chain}{far}; prompts that differ: {len(report.others)}")
    else:
        say(f"same  {compared}, of {report.session}{chain}{far}")


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


def _say_parting(parting: Divergence, file: str) -> None:
    at = _at(parting.branch, parting.node)
    place = f"{at}  (depth {parting.depth})" if at else f"depth {parting.depth}"
    say(f"diverges  at {place}")
    if parting.why:
        lines("  ", one_line(parting.why, 400), "    ")
    if parting.recorded is not None:
        _say_decision("recorded", parting.recorded)
    if parting.now is not None:
        _say_decision(one_line(file, 60) or "now", parting.now)


def _say_decision(who: str, decision: Decision) -> None:
    lines("  ", f"{who}: {_describe(decision)}", "    ")
    for candidate in decision.candidates:
        sign = "→" if candidate.get("edge") == decision.edge else "·"
        lines(
            f"    {sign} ", f"{one_line(str(candidate.get('edge')), 120)}  {candidate_facts(candidate)}", "        "
        )


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
