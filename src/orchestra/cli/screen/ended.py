"""The closing lines of a command that shows a session: the result, where its code is, what is next (C2, C4)."""

from __future__ import annotations

import shlex
import time
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestra.cli.errors import FAILED, FULL, INTERRUPTED, WAITS
from orchestra.cli.screen.views import SessionOptions, tell_reader
from orchestra.cli.screen.words import SHORT
from orchestra.cli.stores import StoreAccess
from orchestra.cli.terminal import GREEN, RED, YELLOW, fit, many_lines, one_line, room, say_json, time_since
from orchestra.engine.gaps import legible
from orchestra.engine.loading import recorded_in
from orchestra.engine.sessions import Row, summarize
from orchestra.graph.report import dollars, duration_words, paint, plural, wrap
from orchestra.ports import Store
from orchestra.run.codec import preview_of
from orchestra.run.events import CleanupCompleted
from orchestra.run.questions import choices_in_words, short_id
from orchestra.run.state import RepoRecord, RunState
from orchestra.run.views import Pending, limit_setting, raised_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnd:
    """A session that no longer runs: the questions that it waits for, also below it, and where its code is."""

    session: str
    context_id: int
    state: RunState
    mirror_of: str = ""
    questions: Sequence[Pending] = ()
    code: Sequence[str] = ()


async def read_end(store: Store, at: StoreAccess, row: Row, state: RunState) -> SessionEnd:
    """Read what the closing lines say besides the state."""
    questions: Sequence[Pending] = ()
    if state.waiting and not row.mirror_of:
        found = await summarize(store, row, time.time_ns() // 1_000_000)
        questions = [question for question in found.questions if not question.answered]
    return SessionEnd(
        session=row.session,
        context_id=row.context_id,
        state=state,
        mirror_of=row.mirror_of,
        questions=questions,
        code=await read_code(store, at, row, state),
    )


async def read_code(store: Store, at: StoreAccess, row: Row, state: RunState) -> list[str]:
    """Where the code of a session is, without what was removed since, and whether it was merged."""
    if not state.workspace:
        return []
    from orchestra.app.git_branches import merged_into  # only a session with repositories pays for what it imports

    since = [recorded_in(turn) for turn in await legible(store, row.mailbox)]
    ended = 0 if state.result is None else state.result.ended_ms
    removed = [
        one.event
        for one in since
        if one is not None and isinstance(one.event, CleanupCompleted) and one.meta.at >= ended
    ]
    merged = await merged_into(state, at.settings) if state.result is not None else {}
    return code_lines(state, at, removed, merged)


def say_ended(shown: SessionOptions, at: StoreAccess, end: SessionEnd) -> int:
    """Print the result and the next command; return the exit code (C2). A mirror is resumed in its original."""
    state = end.state
    result = state.result
    code = _code_of_stopped(state) if result is None else 0 if result.good else FAILED
    if shown.json == "object":
        status = result.status if result is not None else _phase(state)
        detail = result.text if result is not None else state.paused
        told = as_object(end.session, end.context_id, state)
        say_json({**told, "status": status, "detail": detail, "exit_code": code}, indent=2)
    elif not shown.json:
        for line in (*_last_lines(state, shown.colour), *_next(at, end)):
            tell_reader(line)
    return code


def _code_of_stopped(state: RunState) -> int:
    """The exit code of a run that has not ended."""
    return WAITS if state.waiting else FULL if state.limit else INTERRUPTED


def _phase(state: RunState) -> str:
    """Return how a session without a runner stands, as a listing names it."""
    if state.result is not None:
        return "completed" if state.result.good else "canceled" if state.result.status == "canceled" else "failed"
    return "waiting" if state.waiting else "paused" if state.paused else "crashed"


def as_object(session: str, context_id: int, state: RunState) -> dict[str, Any]:
    """A session as one object of JSON."""
    result = state.result
    return {
        "session": session,
        "context": context_id,
        "context_id": context_id,
        "phase": _phase(state),
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
        more = [f"{took}; everything so far is recorded"]
        text = f"{text} ({state.paused or 'its runner is gone'})"
    elif result.good:
        word, tone = "completed", GREEN
        text, more = took + ("" if result.text == "success" else f"  {result.text}"), []
    elif result.status == "canceled":
        word, tone = "canceled", YELLOW
        text, more = f"at {result.node}, {one_line(result.text, 600)}", [took]
    else:
        word, tone = "failed", RED
        text, more = f"at {result.node}: {one_line(result.text, 600)}", [took]
    first = "\n".join(wrap(f"{word}  ", text, room(), "  "))
    return [
        first.replace(word, paint(word, tone, colour), 1),
        *(part for line in more for part in wrap("  ", line, room(), "  ")),
    ]


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


def question_lines(question: Pending, aim: str) -> list[str]:
    """A question that waits: what, since when, what can be answered, and by which command."""
    ago = time_since(question.asked_ms)
    name = short_id(question.question)
    lines = wrap("  ? ", f"{one_line(question.text, 400)}  ({one_line(name, 100)}, {ago} ago)", room(), "    ")
    if question.answered:
        return [*lines, *wrap("    ", f"answered: {one_line(question.answered, 300)}", room(), "    ")]
    lines += about_lines(question.about, "    ")
    choices = [key if key == label else f"[{key}] {one_line(label, 80)}" for key, label in question.choices.items()]
    choices += ["words of your own"] if question.freeform else []
    command = f"orchestra answer{aim} {question.session} {shlex.quote(name)}"
    return [*lines, *wrap("    ", "  ".join(choices), room(), "    "), f"    answer: {command} …"]


def _asks(state: RunState, aim: str, session: str, questions: Sequence[Pending]) -> list[str]:
    """What is asked, by the session and below it, and how it is answered."""
    lines: list[str] = []
    own = {asked.question.id for asked in state.pending}
    for asked in state.pending:
        choices = one_line(choices_in_words(asked.question), 400)
        asks = f"{one_line(asked.question.text, 400)}  Answer with {choices}"
        lines += [*about_lines(preview_of(asked.question.about), "  "), *wrap("  ", asks, room(), "    ")]
    if own:
        lines.append(f"  answer: orchestra answer{aim} {session}" + (" VALUE" if len(own) == 1 else ""))
    for question in questions:
        if question.question not in own:
            lines += question_lines(question, aim)
    return [*lines, f"  then: orchestra resume{aim} {session}"]


def _next(at: StoreAccess, end: SessionEnd) -> list[str]:
    if at.settings.place == "memory":
        return ["  nothing was saved: the store was in memory"]
    aim, session, state = at.aim, end.session, end.state
    look = [f"  details: orchestra status{aim} {session} --detail", *end.code]
    if state.result is not None and state.result.good:
        return look
    if end.mirror_of:
        return [*look, f"  resume: in the original store, {one_line(end.mirror_of, 1000)}"]
    if state.waiting:
        return _asks(state, aim, session, end.questions)
    back = _source_of_failure(state)
    again = [f"  try {back} again: orchestra replay{aim} {session} --node {back}"] if back else []
    higher = higher_limit(raised_limit(state))
    first = raise_first(limit_setting(state), higher)
    return [*look, *first, f"  resume: orchestra resume{aim} {session}{higher}", *again]


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


def code_lines(
    state: RunState, at: StoreAccess, removed: Sequence[CleanupCompleted], merged: Mapping[str, str]
) -> list[str]:
    """Where the code of a session is, and what can be done with it: the last lines of a run (W2).

    Of branches that were ``removed`` since, only that is said, and where they are kept. ``merged`` are the
    branches, by repository, that have the work already.
    """
    workspace = at.settings.workspace
    places = {repo.name: str(repo.path) for repo in workspace.repos} if workspace is not None else {}
    own = {name: known for name, known in state.workspace.items() if known.owner == state.session}
    if not own:
        return []
    gone = {(one.repo, one.branch) for one in removed}
    changed = {name: known for name, known in own.items() if known.commit != known.base}
    there = {name: known for name, known in changed.items() if (name, known.branch) not in gone}
    left = [
        line for name, known in own.items() for line in _left_lines(known, state, {b for r, b in gone if r == name})
    ]
    lines = [_removed_line(one) for one in removed]
    if not lines and not changed:
        lines = ["  code: no changes on the session's branch" if left else "  code: no changes"]
    for name, known in there.items():
        base = known.base_branch or known.base[:SHORT]
        where = f"{name} on {known.branch} ({known.commit[:SHORT]})"
        if name in merged:
            lines.append(f"  code: {where}, merged into {merged[name]}")
            continue
        lines.append(f"  code: {where}")
        lines.append(f"  diff: git -C {shlex.quote(places.get(name, known.path))} diff {base}...{known.branch}")
        if known.not_pushed:
            lines.append(
                f"  push failed: {known.not_pushed.rstrip('.')}; `orchestra pr{at.aim} {state.session}` pushes it"
            )
    ways = _ways(state, at.aim, changed=bool(there.keys() - merged.keys())) if there or left else []
    return [*lines, *left, *(ways if state.result is not None else [])]


def _ways(state: RunState, aim: str, *, changed: bool) -> list[str]:
    """The commands for the code of an ended session. The work of a failed one is not offered for a merge."""
    ways = {"merge": "merge"} if changed and state.result is not None and state.result.good else {}
    ways |= {"pull request": "pr"} if changed else {}
    ways["discard"] = "discard"
    return [f"  {word}: orchestra {name}{aim} {state.session}" for word, name in ways.items()]


def _removed_line(event: CleanupCompleted) -> str:
    kept = f", kept as {event.trash}" if event.trash else ""
    where = f"{event.repo} on {event.branch} ({event.commit[:SHORT]})"
    return "\n".join(wrap("  code: ", f"{where}, removed by {event.reason}{kept}", room(), " " * 8))


def _left_lines(known: RepoRecord, state: RunState, gone: Container[str]) -> list[str]:
    """The branches that are not merged, why, and where they are."""
    results = state.context.get("parallel.results")
    ends = {one.get("branch"): one.get("status") for one in results or () if isinstance(one, dict)}
    lines = []
    for branch in known.unmerged if known.left is None else known.left:
        if branch in gone:
            continue
        if branch in known.unmerged:
            why = "conflict; kept with its worktree"
        elif branch in ends:
            why = "failed; kept" if ends[branch] == "fail" else "not chosen; kept"
        else:
            why = "kept"
        lines.append(f"  not merged: {branch} ({why})")
    return lines
