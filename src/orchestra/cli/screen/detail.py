"""``orchestra status SESSION``: the state of one session, with ``--detail`` of every node and branch (S25)."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as changed
from functools import reduce
from typing import Any

from msgspec import convert, to_builtins
from msgspec.structs import replace

from orchestra.app.stopped import StoppedSession
from orchestra.cli.screen.ended import question_lines, read_code, took_ms
from orchestra.cli.screen.summary import SIGNS, as_json_of, say_next, summary_of
from orchestra.cli.screen.words import answer_words, cost_words, usage_line
from orchestra.cli.stores import StoreAccess
from orchestra.cli.terminal import GREEN, GREY, RED, complain, date_time, fit, one_line, pad, room, say, wrap_signed
from orchestra.engine.gaps import Gap, Legible, legible, with_branches
from orchestra.engine.loading import fold_around, load_state, recorded_in
from orchestra.engine.sessions import Row, find, rows, session_title
from orchestra.errors import Damaged, UnknownEvent
from orchestra.graph.report import duration_words, plural, wrap
from orchestra.ports import Store
from orchestra.run.events import (
    ChildStarted,
    EdgeSelected,
    InterviewCompleted,
    ParallelBranchCompleted,
    ParallelBranchEnded,
    ParallelBranchOpened,
    PipelineCanceled,
    Recorded,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
)
from orchestra.run.parallel import CANCELED
from orchestra.run.routing import RoutingRule
from orchestra.run.state import NodeRecord, RunState, Spent
from orchestra.run.usage import NOTHING, RunUsage, together, usage_of
from orchestra.run.views import ENDED, Phase, Summary

Placed = tuple[str, Recorded]
"""An event with the path of its branch, empty in the main walk."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionDetail:
    """One session as it is shown: ``made`` are those that it started, ``gaps`` the depths of unreadable turns."""

    summary: Summary
    state: RunState
    parent: str
    made: Sequence[Summary]
    code: Sequence[str]
    nodes: Sequence[Mapping[str, Any]] = ()
    branches: Sequence[Mapping[str, Any]] = ()
    models: Mapping[str, RunUsage] = field(default_factory=dict)
    children: RunUsage = NOTHING
    gaps: Sequence[int] = ()

    def as_json(self, *, detail: bool) -> dict[str, Any]:
        """The session as plain data."""
        links = {"parent_session": self.parent, "children": [as_json_of(child) for child in self.made]}
        if not detail:
            return {**as_json_of(self.summary), **links}
        return {
            **as_json_of(self.summary),
            **links,
            "nodes": self.nodes,
            "models": to_builtins(self.models),
            "spent": to_builtins(self.state.spent),
            "branches": self.branches,
            "unreadable": self.gaps,
        }


async def read_session(
    store: Store, name: str, stops: Mapping[str, StoppedSession], at: StoreAccess, *, detail: bool
) -> SessionDetail:
    """Read a session."""
    row = await find(store, name)
    summary = await summary_of(store, row, stops)
    parent, made = await _relatives(store, row, stops)
    if not detail:
        state = await _state(store, row)
        code = await read_code(store, at, row, state) if summary.phase in ENDED else ()
        return SessionDetail(
            summary=_newest_title(summary, state), state=state, parent=parent, made=made, code=code
        )
    turns = await with_branches(store, row)
    told = [(path, event) for path, turn in turns if (event := recorded_in(turn)) is not None]
    state = await fold_around(store, [event for path, event in told if not path])
    # branches may share the name of a conversation: usage is added up branch by branch
    events = [event for _path, event in sorted(told, key=lambda pair: pair[0])]
    models = usage_of(event.event for event in events).models
    children = await _children_usage(store, events) if state.why != "fork" else {}
    models = {
        name: together(models.get(name, NOTHING), children.get(name, NOTHING)) for name in {**models, **children}
    }
    state = replace(state, spent=_in_all(state, summary, models.values()))
    return SessionDetail(
        summary=_newest_title(summary, state),
        state=state,
        parent=parent,
        made=made,
        code=await read_code(store, at, row, state) if summary.phase in ENDED else (),
        nodes=node_rows(state, told),
        branches=branch_rows(told),
        models=models,
        children=reduce(together, children.values(), NOTHING),
        gaps=[turn.depth for _path, turn in turns if isinstance(turn, Gap)],
    )


def _newest_title(summary: Summary, state: RunState) -> Summary:
    """The summary with the name and goal of a pipeline that took over: its mailbox has those of the start."""
    return changed(summary, pipeline=state.pipeline, title=session_title(state)) if state.pipeline else summary


async def _state(store: Store, row: Row) -> RunState:
    """The state from the last whole checkpoint on; of a damaged chain from what can be read."""
    try:
        return await load_state(store, row.context_id)
    except (Damaged, UnknownEvent):
        return await fold_around(store, _events(await legible(store, row.context_id)))


def _events(turns: Iterable[Legible]) -> list[Recorded]:
    return [event for turn in turns if (event := recorded_in(turn)) is not None]


def say_session(found: SessionDetail, aim: str, colour: bool, *, detail: bool) -> None:
    """Print a session."""
    summary = found.summary
    _say_summary(found, colour, detail=detail)
    _say_relatives(found, colour)
    for question in summary.questions:
        for line in question_lines(question, aim):
            say(line)
    if detail:
        _say_nodes(found, colour)
        say_branches(found.branches, colour)
    if found.gaps:
        complain(f"{plural(len(found.gaps), 'turn')} cannot be read; their events are missing here")
    say(f"  all events: orchestra log{aim} {summary.session}")
    for line in found.code:
        say(line)
    say_next(summary, aim)


async def _children_usage(store: Store, events: Sequence[Recorded]) -> dict[str, RunUsage]:
    """What the agents of child sessions used, and of theirs, by model."""
    found: dict[str, RunUsage] = {}
    wanted = dict.fromkeys(one.event.child_session for one in events if isinstance(one.event, ChildStarted))
    known = {row.session: row for row in await rows(store)} if wanted else {}
    for session in wanted:
        if session not in known:
            continue
        below = _events([turn for _path, turn in await with_branches(store, known[session])])
        for part in (usage_of(one.event for one in below).models, await _children_usage(store, below)):
            for model, used in part.items():
                found[model] = together(found.get(model, NOTHING), used)
    return found


def _in_all(state: RunState, summary: Summary, models: Iterable[RunUsage]) -> Spent:
    """What a session has spent, with that of branches and children that have not ended (E35)."""
    used = list(models)
    return replace(
        state.spent,
        tokens_in=max(state.spent.tokens_in, sum(each.tokens_in for each in used)),
        tokens_out=max(state.spent.tokens_out, sum(each.tokens_out for each in used)),
        cost_micros=max(state.spent.cost_micros, summary.cost_micros),
    )


async def _relatives(store: Store, row: Row, stops: Mapping[str, StoppedSession]) -> tuple[str, list[Summary]]:
    """Return the session that this one was started from, and those started from it."""
    known = await rows(store)
    parent = next((other.session for other in known if other.context_id == row.parent), "")
    made = [other for other in reversed(known) if other.parent == row.context_id]
    return parent, [await summary_of(store, other, stops) for other in made]


_WHY = {"child": "child of", "restart": "restart of", "fork": "replay of"}
_MADE = {"child": "child", "restart": "restarted as", "fork": "replayed as"}


def _say_relatives(found: SessionDetail, colour: bool) -> None:
    if found.parent:
        say(f"  {_WHY.get(found.summary.why, found.summary.why)} {found.parent}")
    for other in found.made:
        lead = f"  {_MADE.get(other.why, other.why)} {other.session}  "
        _say_phase(lead, other, colour, 200, "    ")


def _say_phase(lead: str, summary: Summary, colour: bool, limit: int, indent: str) -> None:
    sign, tone = SIGNS[summary.phase]
    why = f": {one_line(summary.detail, limit)}" if summary.detail else ""
    say(wrap_signed(lead, f"{sign} {summary.phase.value}{why}", indent, sign, tone if colour else ""))


def node_rows(state: RunState, told: Sequence[Placed]) -> list[dict[str, Any]]:
    """What happened at each node, and where it went last; nodes in the order in which they were entered.

    ``branches`` counts the results of a node that was in several branches.
    """
    ends, edges = _last_of_each(told)
    events = [recorded.event for _path, recorded in sorted(told, key=lambda pair: pair[0])]
    retries = Counter(event.node for event in events if isinstance(event, StageRetrying))
    used = usage_of(events).nodes
    answers = {event.node: answer_words(event) for event in events if isinstance(event, InterviewCompleted)}
    known = {node: record for node, record in state.nodes.items() if record.here}
    rows = []
    for node in [*known, *(node for node in {**ends, **used} if node not in state.nodes)]:
        results, edge = ends.get(node, Counter()), edges.get(node)
        visits = max(results.total(), 1)
        record = known.get(node) or NodeRecord(status=next(iter(results), ""), visits=visits, executions=visits)
        rows.append(
            {
                "node": node,
                "status": record.status,
                "reason": record.reason,
                **({"answer": answers[node]} if node in answers else {}),
                "visits": record.visits - record.carried,
                "executions": record.executions - record.carried_executions,
                "retries": retries[node],
                "duration_ms": record.duration_ms,
                "next": edge.target if edge is not None else None,
                "edge": edge.edge if edge is not None else None,
                "why": edge.reason if edge is not None else None,
                "rule": edge.rule if edge is not None else None,
                "choices": len(edge.candidates) if edge is not None else None,
                **({"agent": to_builtins(used[node])} if node in used else {}),
                **({"branches": dict(results)} if results.total() > 1 else {}),
            }
        )
    return rows


def _last_of_each(told: Sequence[Placed]) -> tuple[dict[str, Counter[str]], dict[str, EdgeSelected | None]]:
    """The results of each node's last visits, one in each branch, and the edge taken after the newest of them."""
    last: dict[tuple[str, str], str] = {}
    edges: dict[str, EdgeSelected | None] = {}
    for path, recorded in told:
        match recorded.event:
            case StageStarted(node=node):
                last[path, node] = ""
                edges[node] = None
            case StageCompleted() | StageFailed() as event:
                last[path, event.node] = event.status
            case EdgeSelected() as event:
                edges[event.source] = event
            case PipelineCanceled():
                last |= {place: CANCELED for place, status in last.items() if place[0] == path and not status}
            case _:
                pass
    ends: dict[str, Counter[str]] = {}
    for (_path, node), status in last.items():
        ends.setdefault(node, Counter())[status] += 1
    return ends, edges


SHOWN = 40
"""Branches that are listed, those that have not ended and those that failed first."""


def branch_rows(told: Iterable[tuple[str, Recorded]]) -> list[dict[str, Any]]:
    """Return the newest branch of each path, oldest first; ``told`` are events with their paths.

    ``status`` is empty for one that has not ended; ``node`` is its current, next or last node.
    """
    found: dict[str, dict[str, Any]] = {}
    for path, recorded in told:
        match recorded.event:
            case ParallelBranchOpened(target=target):
                found[path] = {"branch": path, "status": "", "node": target, "reason": "", "duration_ms": 0}
            case StageStarted(node=node) if path in found:
                found[path]["node"] = node
            case EdgeSelected(target=target) if path in found:
                found[path]["node"] = target
            case PipelineCanceled(reason=reason) if path in found:
                found[path] |= {"status": "canceled", "reason": reason}
            case ParallelBranchEnded() as event if path in found and not found[path]["status"]:
                found[path] |= {"status": event.status, "node": event.node, "reason": event.failure_reason}
            case ParallelBranchCompleted() as event:
                below = f"{path}/{event.node}/{event.branch_id}".removeprefix("/")
                if below in found:
                    found[below] |= {
                        "status": event.status,
                        "node": event.ended_at or found[below]["node"],
                        "reason": event.failure_reason,
                        "duration_ms": event.duration_ms,
                    }
            case _:
                pass
    return list(found.values())


def _sign(status: str) -> tuple[str, str]:
    if status in ("success", "partial_success", "skipped"):
        return "✓", GREEN
    return ("✗", RED) if status == "fail" else ("·", GREY)


def say_branches(rows: Sequence[Mapping[str, Any]], colour: bool) -> None:
    """Print a line for each branch."""
    if not rows:
        return
    ended = sum(bool(row["status"]) for row in rows)
    say(f"  branches: {ended} of {len(rows)} ended")
    urgent = [row for row in rows if row["status"] in ("", "fail")]
    chosen = (urgent + [row for row in rows if row not in urgent])[:SHOWN] if len(rows) > SHOWN else rows
    longest = min(max(len(row["branch"]) for row in chosen), max(room() // 2, 8))
    for row in chosen:
        reason = f": {one_line(row['reason'], 300)}" if row["reason"] else ""
        words = f"{row['status']}, {duration_words(row['duration_ms'])}{reason}"
        _say_row(row["branch"], longest, row["status"], words if row["status"] else f"at {row['node']}", colour)
    if len(chosen) < len(rows):
        say(f"    … and {plural(len(rows) - len(chosen), 'more branch', 'more branches')}; --json has all")
    say()


def _say_row(name: str, longest: int, status: str, words: str, colour: bool) -> None:
    sign, tone = _sign(status)
    lead = f"  {sign} {pad(fit(one_line(name, 200), longest), longest)}  "
    say(wrap_signed(lead, words, " " * 6, sign, tone if colour else ""))


def _say_summary(found: SessionDetail, colour: bool, *, detail: bool) -> None:
    summary = found.summary
    _say_phase(f"{summary.session}  ", summary, colour, 400, "  ")
    took = took_ms(found.state)
    if summary.alive:
        took += max(0, time.time_ns() // 1_000_000 - found.state.at)
    facts = [
        f"{plural(summary.steps, 'node')} run",
        plural(summary.turns, "turn"),
        f"started {date_time(summary.started_ms)}",
        f"{'running for' if summary.alive else 'took'} {duration_words(took)}",
    ]
    if summary.phase not in (*ENDED, Phase.RESTARTED) and summary.node:
        facts.append(f"current node: {one_line(summary.node, 60)}")
    if detail and found.state.backend:
        facts.append(f"agents: {one_line(found.state.backend, 100)}")
    if summary.mirror_of:
        facts.append(f"mirror of {one_line(summary.mirror_of, 200)}")
    for text in (one_line(summary.title, 300), ", ".join(facts)):
        say("\n".join(wrap("  ", text, room(), "  ")))


def _say_nodes(found: SessionDetail, colour: bool) -> None:
    nodes = found.nodes
    if not nodes:
        return
    longest = min(max(len(item["node"]) for item in nodes), 30, max(room() // 3, 8))
    say()
    for item in nodes:
        _say_row(item["node"], longest, item["status"], one_line(_describe(item), 1000), colour)
    executions = sum(item["executions"] for item in nodes)
    retries = sum(item["retries"] for item in nodes)
    told = [f"{plural(found.state.steps, 'node')} run", plural(executions, "execution")]
    told += [plural(retries, "retry", "retries")] if retries else []
    told += _cost_lines(found.state, any(used.unpriced for used in found.models.values()))
    told.append(f"{duration_words(sum(item['duration_ms'] for item in nodes))} in nodes")
    for model, used in found.models.items():
        say("\n".join(wrap(f"  {one_line(model, 60) or 'a model'}: ", usage_line(used), room(), "    ")))
    if found.children.turns:
        say("\n".join(wrap("  of which child sessions: ", usage_line(found.children), room(), "    ")))
    say("\n".join(wrap("  total: ", ", ".join(told), room(), "    ")))
    say()


def _cost_lines(state: RunState, unpriced: bool) -> list[str]:
    """Tokens and cost of the session and of those that it comes from or started (E35)."""
    spent = state.spent
    if not (spent.tokens_in or spent.tokens_out or spent.cost_micros):
        return []
    cost = cost_words(spent.cost_micros, unpriced)
    since = " since the first session" if state.restarts else ""
    return [
        f"{plural(spent.tokens_in, 'token')} in, {spent.tokens_out} out",
        f"{cost}{since}",
    ]


def _describe(item: Mapping[str, Any]) -> str:
    results = item.get("branches", {})
    several = (
        ", ".join(f"{count} {status or 'not finished'}" for status, count in results.items())
        if len(results) > 1
        else ""
    )
    words = [several or item["status"] or "not finished", plural(item["visits"], "visit")]
    if item["executions"] != item["visits"]:
        words.append(plural(item["executions"], "execution"))
    if item["retries"]:
        words.append(plural(item["retries"], "retry", "retries"))
    words.append(duration_words(item["duration_ms"]))
    if "agent" in item:
        used = convert(item["agent"], RunUsage)
        words += [usage_line(used), " ".join(used.models)]
    if item.get("answer"):
        words.append(item["answer"])
    if item["reason"]:
        words.append(item["reason"])
    if item["next"]:
        only = item["rule"] == RoutingRule.NO_CONDITION and not item["choices"]
        words.append(f"→ {item['next']}" + ("" if only else f" ({item['why']})"))
    return ", ".join(words)
