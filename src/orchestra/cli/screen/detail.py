"""``orchestra status SESSION``: the state of one session, with ``--detail`` of every node (S25)."""

from __future__ import annotations

import shlex
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import reduce
from typing import Any

from msgspec import convert, to_builtins
from msgspec.structs import replace as replace_struct

from orchestra.app.stopped import StoppedSession
from orchestra.cli.screen.branches import branch_rows, say_branches
from orchestra.cli.screen.ended import about_lines, code_lines, higher_limit, raise_first
from orchestra.cli.screen.words import answer_words
from orchestra.cli.stores import aim_commands
from orchestra.cli.terminal import (
    GREEN,
    GREY,
    RED,
    YELLOW,
    complain,
    fit,
    one_line,
    pad,
    room,
    say,
    say_json,
)
from orchestra.engine.gaps import Gap, Legible, legible, with_branches
from orchestra.engine.holding import newest_claim
from orchestra.engine.loading import event_of, fold_around
from orchestra.engine.sessions import Row, find, rows, summarize
from orchestra.errors import Damaged
from orchestra.graph.report import dollars, duration_words, paint, plural, wrap
from orchestra.ports import Store, Turn
from orchestra.run.events import (
    ChildStarted,
    CleanupCompleted,
    EdgeSelected,
    InterviewCompleted,
    Recorded,
    StageRetrying,
)
from orchestra.run.lifecycle import COPIED
from orchestra.run.questions import short_id
from orchestra.run.routing import RoutingRule
from orchestra.run.state import RunState, Spent
from orchestra.run.usage import NOTHING, RunUsage, together, usage_of
from orchestra.run.views import ENDED, Pending, Phase, Summary

ALIVE = frozenset({Phase.RUNNING, Phase.DOUBTFUL})
"""The session is running, or may be."""

NEXT_WORD = {
    Phase.RUNNING: "watch",
    Phase.DOUBTFUL: "watch",
    Phase.MIRRORED: "watch",
    Phase.WAITING: "answer",
}
"""What the suggested command does, where it does not resume."""

SIGNS = {
    Phase.WAITING: ("?", YELLOW),
    Phase.RUNNING: ("▶", GREEN),
    Phase.DOUBTFUL: ("?", YELLOW),
    Phase.PAUSED: ("‖", YELLOW),
    Phase.CRASHED: ("!", RED),
    Phase.STOPPED: ("!", YELLOW),
    Phase.COMPLETED: ("✓", GREEN),
    Phase.FAILED: ("✗", RED),
    Phase.RESTARTED: ("↺", GREY),
    Phase.CANCELED: ("✗", YELLOW),
    Phase.MIRRORED: ("=", GREEN),
}


async def summary_of(store: Store, row: Row, stops: Mapping[str, StoppedSession]) -> Summary:
    """Return a session's row; a damaged session, or one whose store failed, says so (S8, S20)."""
    try:
        found = await summarize(store, row, time.time_ns() // 1_000_000)
    except Damaged as error:
        return await _salvage(store, row, error)
    stop = stops.get(row.session)
    if stop is None or not (found.phase is Phase.CRASHED or found.alive):
        return found
    claim = await newest_claim(store, row.mailbox)
    if claim is not None and claim.token != stop.claim:
        return found
    return replace(found, phase=Phase.STOPPED, detail=stop.reason)


async def _salvage(store: Store, row: Row, error: Damaged) -> Summary:
    """Return what is known of a session whose newest turns are damaged; it needs attention."""
    turns = await legible(store, row.context_id)
    state = await fold_around(store, _events(turns))
    return Summary(
        session=row.session,
        context_id=row.context_id,
        pipeline=row.pipeline,
        title=row.title,
        phase=Phase.CRASHED,
        node=state.stage.node if state.stage is not None else state.next_node,
        detail=f"damaged: {error.message}",
        steps=state.steps,
        turns=turns[-1].depth + 1,
        started_ms=state.started_ms or row.created_ms,
        last_ms=state.at or row.created_ms,
        parent=row.parent,
        why=row.why,
        cost_micros=state.spent.cost_micros,
    )


def _events(turns: list[Legible]) -> list[Recorded]:
    found = [event_of(turn) for turn in turns if isinstance(turn, Turn)]
    return [event for event in found if isinstance(event, Recorded)]


def _turn_lines(turns: list[tuple[str, Legible]]) -> list[tuple[str, Recorded]]:
    found = [(path, event_of(turn)) for path, turn in turns if isinstance(turn, Turn)]
    return [(path, event) for path, event in found if isinstance(event, Recorded)]


async def show_one(
    store: Store,
    name: str,
    *,
    detail: bool,
    aim: str,
    as_json: bool,
    colour: bool,
    stops: Mapping[str, StoppedSession],
) -> int:
    """Print a session; ``aim`` is what a suggested command needs to find the store."""
    row = await find(store, name)
    summary = await summary_of(store, row, stops)
    turns = await with_branches(store, row) if detail else []
    gaps = [turn.depth for _path, turn in turns if isinstance(turn, Gap)]
    state = await fold_around(store, _events([turn for path, turn in turns if not path]))
    events = _events([turn for _path, turn in sorted(turns, key=lambda pair: pair[0])])
    models = usage_of(event.event for event in events).models
    children = await _children_usage(store, events) if state.why != "fork" else {}
    models = {
        name: together(models.get(name, NOTHING), children.get(name, NOTHING)) for name in {**models, **children}
    }
    state = replace_struct(state, spent=_in_all(state, summary, models.values()))
    nodes = _nodes(state, events)
    branches = branch_rows(_turn_lines(turns))
    parent, made = await _relatives(store, row, stops)
    if as_json:
        more = {
            "nodes": nodes,
            "models": to_builtins(models),
            "spent": to_builtins(state.spent),
            "branches": branches,
            "unreadable": gaps,
        }
        links = {"parent_session": parent, "children": [as_json_of(child) for child in made]}
        say_json({**as_json_of(summary), **links, **(more if detail else {})}, indent=2)
        return 0
    _say_summary(summary, colour, state.backend)
    _say_relatives(summary, parent, made, colour)
    for question in summary.questions:
        for line in question_lines(question, aim):
            say(line)
    if detail:
        _say_nodes(state, nodes, models, reduce(together, children.values(), NOTHING), colour)
        say_branches(branches, colour)
    if gaps:
        complain(f"{plural(len(gaps), 'turn')} cannot be read; their events are missing here")
    say(f"  all events: orchestra log{aim} {summary.session}")
    if summary.phase in ENDED:
        await _say_code(store, row, state if detail else None, aim)
    _say_next(summary, aim)
    return 0


async def _say_code(store: Store, row: Row, state: RunState | None, aim: str) -> None:
    """Print where the code of an ended session is; its state is read if it is not given."""
    if state is None:
        state = await fold_around(store, _events(await legible(store, row.context_id)))
    for line in await _code(store, row, state, aim):
        say(line)


def _say_next(summary: Summary, aim: str) -> None:
    """Print the command that continues the session, if there is one."""
    if following := next_command(summary):
        for line in raise_first(summary.limit, higher_limit(summary.raise_to_micros)):
            say(line)
        say(f"  {NEXT_WORD.get(summary.phase, 'resume')}: {aim_commands(following, aim)}")


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
    return replace_struct(
        state.spent,
        tokens_in=max(state.spent.tokens_in, sum(each.tokens_in for each in used)),
        tokens_out=max(state.spent.tokens_out, sum(each.tokens_out for each in used)),
        cost_micros=max(state.spent.cost_micros, summary.cost_micros),
    )


async def _code(store: Store, row: Row, state: RunState, aim: str) -> list[str]:
    """Where the code of an ended session is, as its run said at its end, without what was removed since."""
    since = [] if not state.workspace else _events(await legible(store, row.mailbox))
    ended = 0 if state.result is None else state.result.ended_ms
    removed = [one.event for one in since if isinstance(one.event, CleanupCompleted) and one.meta.at >= ended]
    return code_lines(state, aim, removed)


async def _relatives(store: Store, row: Row, stops: Mapping[str, StoppedSession]) -> tuple[str, list[Summary]]:
    """Return the session that this one was started from, and those started from it."""
    known = await rows(store)
    parent = next((other.session for other in known if other.context_id == row.parent), "")
    made = [other for other in reversed(known) if other.parent == row.context_id]
    return parent, [await summary_of(store, other, stops) for other in made]


def _say_relatives(summary: Summary, parent: str, made: Sequence[Summary], colour: bool) -> None:
    if parent:
        say(f"  {_WHY.get(summary.why, summary.why)} {parent}")
    for other in made:
        sign, tone = SIGNS[other.phase]
        why = f": {one_line(other.detail, 200)}" if other.detail else ""
        line = "\n".join(
            wrap(
                f"  {_MADE.get(other.why, other.why)} {other.session}  ",
                f"{sign} {other.phase.value}{why}",
                room(),
                "    ",
            )
        )
        say(line.replace(sign, paint(sign, tone, colour), 1))


_WHY = {"child": "child of", "restart": "restart of", "fork": "replay of"}
_MADE = {"child": "child", "restart": "restarted as", "fork": "replayed as"}


def next_command(summary: Summary) -> str:
    """Return the command to continue or watch a session; empty for one that succeeded."""
    if summary.mirror_of:
        return f"orchestra attach {summary.session}" if summary.phase is Phase.MIRRORED else ""
    match summary.phase:
        case Phase.WAITING:
            return f"orchestra answer {summary.session}"
        case Phase.RUNNING | Phase.DOUBTFUL:
            return f"orchestra attach {summary.session}"
        case Phase.COMPLETED | Phase.RESTARTED:
            return ""
        case Phase.PAUSED if summary.detail.startswith(COPIED):
            return ""
        case _:
            return f"orchestra resume {summary.session}{higher_limit(summary.raise_to_micros)}"


def as_json_of(summary: Summary) -> dict[str, Any]:
    """A session's row as plain data."""
    return {**asdict(summary), "next": next_command(summary)}


def _nodes(state: RunState, events: list[Recorded]) -> list[dict[str, Any]]:
    """What happened at each node, and where it went last; nodes in the order in which they were entered."""
    edges = {e.event.source: e.event for e in events if isinstance(e.event, EdgeSelected)}
    retries = Counter(e.event.node for e in events if isinstance(e.event, StageRetrying))
    used = usage_of(e.event for e in events).nodes
    answers = {e.event.node: answer_words(e.event) for e in events if isinstance(e.event, InterviewCompleted)}
    return [
        {
            "node": node,
            "status": record.status,
            "reason": record.reason,
            **({"answer": answers[node]} if node in answers else {}),
            "visits": record.visits - record.carried,
            "executions": record.executions - record.carried_executions,
            "retries": retries[node],
            "duration_ms": record.duration_ms,
            "next": edges[node].target if node in edges else None,
            "edge": edges[node].edge if node in edges else None,
            "why": edges[node].reason if node in edges else None,
            "rule": edges[node].rule if node in edges else None,
            "choices": len(edges[node].candidates) if node in edges else None,
            **({"agent": to_builtins(used[node])} if node in used else {}),
        }
        for node, record in state.nodes.items()
        if record.here
    ] + [
        {**_IN_A_BRANCH, "node": node, "agent": to_builtins(more)}
        for node, more in used.items()
        if node not in state.nodes
    ]


_IN_A_BRANCH: Mapping[str, Any] = {
    **dict.fromkeys(("status", "reason"), ""),
    **dict.fromkeys(("visits", "executions"), 1),
    **dict.fromkeys(("retries", "duration_ms"), 0),
    **dict.fromkeys(("next", "edge", "why", "rule", "choices")),
}
"""What is said of a node in a branch that has not ended: the rest is counted then."""


def _say_summary(summary: Summary, colour: bool, backends: str = "") -> None:
    sign, tone = SIGNS[summary.phase]
    why = f": {one_line(summary.detail, 400)}" if summary.detail else ""
    first = wrap(f"{summary.session}  ", f"{sign} {summary.phase.value}{why}", room(), "  ")
    say("\n".join(first).replace(sign, paint(sign, tone, colour), 1))
    facts = [
        f"{plural(summary.steps, 'node')} run",
        plural(summary.turns, "turn"),
        f"started {_date(summary.started_ms)} UTC",
        _duration(summary),
    ]
    if summary.phase in (Phase.PAUSED, Phase.CRASHED, Phase.MIRRORED, Phase.WAITING, *ALIVE) and summary.node:
        facts.append(f"current node: {one_line(summary.node, 60)}")
    if backends:
        facts.append(f"agents: {one_line(backends, 100)}")
    if summary.mirror_of:
        facts.append(f"mirror of {one_line(summary.mirror_of, 200)}")
    for text in (one_line(summary.title, 300), ", ".join(facts)):
        say("\n".join(wrap("  ", text, room(), "  ")))


def _duration(summary: Summary) -> str:
    if summary.phase is Phase.RUNNING:
        return f"running for {duration_words(time.time_ns() // 1_000_000 - summary.started_ms)}"
    return f"took {duration_words(summary.last_ms - summary.started_ms)}"


def question_lines(question: Pending, aim: str) -> list[str]:
    """A question that waits: what, since when, what can be answered, and by which command."""
    ago = duration_words(max(0, time.time_ns() // 1_000_000 - question.asked_ms))
    name = short_id(question.question)
    lines = wrap("  ? ", f"{one_line(question.text, 400)}  ({one_line(name, 100)}, {ago} ago)", room(), "    ")
    if question.answered:
        return [*lines, *wrap("    ", f"answered: {one_line(question.answered, 300)}", room(), "    ")]
    lines += about_lines(question.about, "    ")
    choices = [key if key == label else f"[{key}] {one_line(label, 80)}" for key, label in question.choices.items()]
    choices += ["words of your own"] if question.freeform else []
    command = f"orchestra answer{aim} {question.session} {shlex.quote(name)}"
    return [*lines, *wrap("    ", "  ".join(choices), room(), "    "), f"    answer: {command} …"]


def _cost_words(micros: int, unpriced: bool) -> str:
    """A cost, and that some or all of it has no price."""
    if unpriced and not micros:
        return "unpriced"
    return dollars(micros, 4) + (" and more, unpriced" if unpriced else "")


def usage_line(used: RunUsage) -> str:
    """What agents used, in words."""
    cached = f" ({used.cache_read} cached)" if used.cache_read else ""
    parts = [
        plural(used.turns, "agent turn"),
        plural(used.tool_calls, "tool call") if used.tool_calls else "",
        f"{plural(used.tokens_in, 'token')} in{cached}",
        f"{used.tokens_out} out",
        _cost_words(used.cost_micros, used.unpriced),
    ]
    return ", ".join(part for part in parts if part)


def _say_nodes(
    state: RunState,
    nodes: Sequence[Mapping[str, Any]],
    models: Mapping[str, RunUsage],
    children: RunUsage,
    colour: bool,
) -> None:
    if not nodes:
        return
    longest = min(max(len(item["node"]) for item in nodes), 30, max(room() // 3, 8))
    say()
    for item in nodes:
        good = item["status"] in ("success", "partial_success")
        sign, tone = ("✓", GREEN) if good else ("✗", RED) if item["status"] == "fail" else ("·", GREY)
        lead = f"  {sign} {pad(fit(one_line(item['node'], 200), longest), longest)}  "
        text = "\n".join(wrap(lead, one_line(_describe(item), 1000), room(), " " * 6))
        say(text.replace(sign, paint(sign, tone, colour), 1))
    total = sum(item["duration_ms"] for item in nodes)
    executions = sum(item["executions"] for item in nodes)
    retries = sum(item["retries"] for item in nodes)
    told = [f"{plural(state.steps, 'node')} run", plural(executions, "execution")]
    told += [plural(retries, "retry", "retries")] if retries else []
    told += _cost_lines(state, any(used.unpriced for used in models.values()))
    for model, used in models.items():
        say("\n".join(wrap(f"  {one_line(model, 60) or 'a model'}: ", usage_line(used), room(), "    ")))
    if children.turns:
        say("\n".join(wrap("  of which child sessions: ", usage_line(children), room(), "    ")))
    say("\n".join(wrap("  total: ", ", ".join([*told, f"{duration_words(total)} in nodes"]), room(), "    ")))
    say()


def _cost_lines(state: RunState, unpriced: bool) -> list[str]:
    """Tokens and cost of the session and of those that it comes from or started (E35)."""
    spent = state.spent
    if not (spent.tokens_in or spent.tokens_out or spent.cost_micros):
        return []
    cost = _cost_words(spent.cost_micros, unpriced)
    since = " since the first session" if state.restarts else ""
    return [
        f"{plural(spent.tokens_in, 'token')} in, {spent.tokens_out} out",
        f"{cost}{since}",
    ]


def _describe(item: Mapping[str, Any]) -> str:
    words = [item["status"] or "not finished", plural(item["visits"], "visit")]
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


def _date(at_ms: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at_ms / 1000))
