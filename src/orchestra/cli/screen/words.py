"""Events in words: what ``log`` shows of each, and the parts that the lines of a run share."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from msgspec.structs import replace

from orchestra.cli.terminal import one_line
from orchestra.graph.report import dollars, duration_words, plural
from orchestra.graph.substitution import with_values
from orchestra.run import events
from orchestra.run.commands import STDERR, STDOUT
from orchestra.run.events import (
    AgentCommitCreated,
    AgentResponded,
    AgentToolEnded,
    AgentTurnCompleted,
    ConversationCompacted,
    EdgeSelected,
    Event,
    InterviewCompleted,
    ParallelBranchCompleted,
    ParallelBranchEnded,
    ParallelCompleted,
    ParallelStarted,
    PipelineForked,
    PipelineResumed,
    PipelineStarted,
    SessionBranchCreated,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
    ToolExecuted,
    WorkspaceSnapshot,
    WorktreeMergeConflict,
)
from orchestra.run.questions import short_id
from orchestra.run.resuming import BRANCHES, CHILD, CONVERSATION, QUESTION
from orchestra.run.routing import RoutingRule
from orchestra.run.usage import RunUsage, usage_of

SHORT = 10
"""Characters of a commit's hash that lines show."""


def describe(event: Event) -> tuple[str, str]:
    """Return an event's subject (a node, a repository) and what there is to say about it."""
    return WORDS[type(event)](event)


def _started(event: PipelineStarted) -> tuple[str, str]:
    goal = f": {event.goal}" if event.goal else ""
    origin = f" ({event.why} of {event.parent})" if event.parent else ""
    return event.begins, f"{event.pipeline}{goal}{origin}"


def _forked(event: PipelineForked) -> tuple[str, str]:
    given = ", ".join([*(f"{k}={v}" for k, v in event.variables.items()), *map(str, event.values)])
    source = f"forked from {event.origin or event.parent} at turn {event.from_turn}"
    return "", f"{source}, with {given}" if given else source


def _stage_started(event: StageStarted) -> tuple[str, str]:
    tries = f", attempt {event.attempt} of {event.of}" if event.of > 1 else ""
    return event.node, f"{event.handler}, visit {event.visit}{tries}"


def _branches(event: ParallelStarted) -> tuple[str, str]:
    names = ", ".join(str(plan["id"]) for plan in event.branches[:8])
    return event.node, f"{plural(len(event.branches), 'branch', 'branches')}: {names}"


def _result(event: ParallelBranchEnded | ParallelBranchCompleted | ParallelCompleted) -> str:
    return f"{event.status} {event.failure_reason}".rstrip()


def end_words(
    event: StageCompleted | StageFailed,
    edge: EdgeSelected | None = None,
    verbose: bool = False,
    took: Sequence[str] = (),
) -> str:
    """Return how a node ended, what it took, and the edge taken where there was a choice."""
    parts = []
    if event.handler not in ("start", "exit", "conditional"):
        parts.append(duration_words(event.duration_ms))
    if event.attempt > 1:
        parts.append(f"{event.attempt} attempts")
    if event.status not in ("success", "fail") or (event.handler == "conditional"):
        parts.append(event.status)
    if isinstance(event, StageFailed):
        parts.append(in_brief(event.failure_reason))
    elif event.word:
        parts.append(event.word)
    parts += took
    text = ", ".join(part for part in parts if part)
    if edge is not None and (edge.candidates or not (edge.edge or edge.rule == RoutingRule.MEETING) or verbose):
        return f"{text} {_edge_words(edge, verbose)}".strip()
    return text


def in_brief(reason: str) -> str:
    """Shorten a reason of many lines to its first words and its last line, for each stream."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    if len(lines) < 2:
        return reason
    code = _EXIT.match(reason)
    first = code.group() if code else lines[0]
    if STDERR in lines[1:] and lines[1] == STDOUT:
        at = lines.index(STDERR)
        return f"{first} {lines[at - 1]} … {lines[-1]}"
    return f"{first} … {lines[-1]}"


_EXIT = re.compile(r".*?exit code \d+(?: \([^)]*\))?:")


def _edge_words(edge: EdgeSelected, verbose: bool) -> str:
    label = next((str(c["label"]) for c in edge.candidates if c.get("edge") == edge.edge and c.get("label")), "")
    unchosen = edge.rule == RoutingRule.NO_CONDITION and sum(not c.get("condition") for c in edge.candidates) > 1
    shown = f"→ {edge.target}" + (f" by {label!r}" if label and not unchosen else "")
    if edge.gate:
        return f"{shown} ({edge.reason})"
    return f"{shown} ({edge.reason})" if verbose or not edge.edge else shown


def retry_words(event: StageRetrying) -> str:
    """Return why an attempt failed, and when the next one starts."""
    return (
        f"attempt {event.attempt} of {event.of}: {in_brief(event.failure_reason) or event.status};"
        f" retrying in {duration_words(event.delay_ms)}"
    )


_GRANTED = {"visit": "one more visit allowed", "steps": "max_steps doubled", "route": "its edge chosen again"}
_KEPT = {
    BRANCHES: "its branches continue",
    CHILD: "its child session continues",
    QUESTION: "waiting for an answer again",
    CONVERSATION: "its conversation continues",
}
"""What an attempt continues with, as ``resuming`` names it."""


def resume_words(event: PipelineResumed) -> str:
    """Describe how the current node is resumed, and what is different from now on."""
    parts = [
        event.refused,
        "" if event.refused or not event.again else _again(event),
        _GRANTED.get(event.granted, ""),
        "with a new pipeline" if event.dot else "",
        "its prompt stays the old one" if event.dot and event.granted == CONVERSATION else "",
        "with new scripted results" if event.simulation else "",
    ]
    return ", ".join(part for part in parts if part)


def _again(event: PipelineResumed) -> str:
    """Say how an interrupted attempt continues, and how often it was interrupted."""
    return _KEPT.get(event.granted, "run again") + (f", {event.again} times" * (event.again > 1))


def _command_words(event: ToolExecuted) -> str:
    """How a command ended, and how much it wrote."""
    parts = [
        "interrupted" if event.interrupted else f"exit code {event.exit_code}",
        duration_words(event.duration_ms),
        f"{plural(event.output_bytes, 'byte')} of output",
        f"{event.stderr_bytes} on standard error" if event.stderr_bytes else "",
    ]
    return ", ".join(part for part in parts if part)


def usage_words(event: AgentResponded | AgentTurnCompleted | ConversationCompacted) -> str:
    """The tokens and the cost of a model's answer, of a whole turn, or of a summary."""
    read = 0 if isinstance(event, ConversationCompacted) else event.cache_read
    cached = f" ({read} cached)" if read else ""
    cost = ", unpriced" if event.unpriced else f", {dollars(event.cost_micros, 4)}" if event.cost_micros else ""
    return f"{plural(event.tokens_in, 'token')} in{cached}, {event.tokens_out} out{cost}"


def agent_words(events: Sequence[Event], ended: StageCompleted | StageFailed | None = None) -> tuple[str, ...]:
    """What an agent's node took: turns, tokens, money, and how many of its tool calls failed (C4).

    Its attempt's end, where it is known, also counts what came before a resume.
    """
    turns = [event for event in events if isinstance(event, AgentTurnCompleted)]
    failed = sum(bool(call.get("error")) for event in turns for call in event.tool_calls)
    numbers = [event.number for event in turns if event.thread.startswith(f"{event.node}#{event.visit}.")]
    return tuple(
        _used_words(_with_earlier(used, ended, max(numbers, default=0)), failed)
        for used in usage_of(events).nodes.values()
        if used.turns
    )


def _with_earlier(used: RunUsage, ended: StageCompleted | StageFailed | None, number: int) -> RunUsage:
    """Count what came before a resume; ``number`` is the newest turn's in a conversation of this visit alone."""
    if ended is None or ended.tokens_in + ended.tokens_out <= used.tokens_in + used.tokens_out:
        return used
    return replace(
        used,
        turns=max(used.turns, number),
        tokens_in=ended.tokens_in,
        tokens_out=ended.tokens_out,
        cost_micros=ended.cost_micros,
    )


def _used_words(used: RunUsage, failed: int) -> str:
    parts = [
        plural(used.turns, "turn"),
        plural(used.tokens_in + used.tokens_out, "token"),
        "unpriced" if used.unpriced and not used.cost_micros else dollars(used.cost_micros, 4),
        f"{failed} of {plural(used.tool_calls, 'tool call')} failed" if failed else "",
    ]
    return ", ".join(part for part in parts if part)


def cost_words(micros: int, unpriced: bool) -> str:
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
        cost_words(used.cost_micros, used.unpriced),
    ]
    return ", ".join(part for part in parts if part)


def _shorten(event: ConversationCompacted) -> str:
    if not event.model:
        return "old results of tools were removed"
    return f"{event.model} wrote a summary, {usage_words(event)}"


def _why_failed(event: AgentToolEnded) -> str:
    """Say that a tool's call failed, with the first line of the model's message."""
    if not event.is_error:
        return ""
    told = next((str(one.get("text", "")) for one in event.messages if isinstance(one, Mapping)), "")
    return f" failed: {in_brief(told)}" if told else " failed"


def turn_line(event: AgentTurnCompleted) -> str:
    """One line about a turn of an agent."""
    names = [f"{call.get('name')}{' (failed)' if call.get('error') else ''}" for call in event.tool_calls]
    parts = [
        f"turn {event.number}",
        event.model,
        ", ".join(names),
        usage_words(event) if event.tokens_in or event.tokens_out else "",
        plural(len(event.files_written), "file") + " written" if event.files_written else "",
        event.git_sha[:10],
    ]
    return ", ".join(part for part in parts if part)


def answer_words(event: InterviewCompleted) -> str:
    """Return an answer in one line: what, by whom, and whether it was automatic."""
    said = event.label or event.value
    text = one_line(event.said if isinstance(event.said, str) else event.said.preview, 120)
    words = ": ".join(part for part in (said, f"“{text}”" if text else "") if part)
    return f"{words}, {'automatic, ' if event.automatic else ''}by {one_line(event.who, 80)}"


def base_words(event: SessionBranchCreated) -> str:
    """Return where a session branch begins: the branch that was checked out, and the commit."""
    return f"{event.base_branch} ({event.base[:SHORT]})" if event.base_branch else event.base[:SHORT]


def commit_words(event: AgentCommitCreated) -> str:
    """Return a commit in the line of its node: the hash and the files."""
    return f"{event.commit[:SHORT]} ({_files(event)})"


def _files(event: AgentCommitCreated) -> str:
    one = event.changed == 1 and event.files
    return event.files[0] if one else plural(event.changed, "file")


def _commit(event: AgentCommitCreated) -> tuple[str, str]:
    own = " (made by the agent)" if event.own else ""
    left = f", ignored by git: {', '.join(event.left_out)}" if event.left_out else ""
    return event.node, f"{event.commit[:SHORT]} {event.message}, {_files(event)}{own}{left}"


def _snapshot(event: WorkspaceSnapshot) -> tuple[str, str]:
    commits = {
        name: found.get("commit", "") if isinstance(found, dict) else "" for name, found in event.repos.items()
    }
    return event.reason, ", ".join(f"{name} at {str(commit)[:SHORT]}" for name, commit in commits.items())


def _conflict(event: WorktreeMergeConflict) -> tuple[str, str]:
    files = ", ".join(str(found.get("file", "")) for found in event.conflicts)
    return event.repo, f"{event.source} conflicts with {event.branch}: {files}"


def _of_node(words: Callable[[Any], str]) -> Words:
    return lambda event: (event.node, words(event))


def _of_repo(words: Callable[[Any], str]) -> Words:
    return lambda event: (event.repo, words(event))


def _of_none(words: Callable[[Any], str]) -> Words:
    return lambda event: ("", words(event))


def _text_of(value: Any) -> str:
    return value if isinstance(value, str) else str(value.preview)


Words: TypeAlias = Callable[[Any], tuple[str, str]]
"""Puts an event of one class into words: its subject, and the rest."""

CODE: Mapping[type[Event], Words] = {
    events.SessionBranchCreated: _of_repo(lambda e: f"{e.branch} from {base_words(e)}"),
    events.WorktreeCreated: _of_repo(lambda e: f"{e.branch} in {e.folder}"),
    events.CommitMessageWritten: _of_node(lambda e: e.text.partition("\n")[0] or "no message"),
    events.AgentCommitCreated: _commit,
    events.WorkspaceSnapshot: _snapshot,
    events.WorktreeMerged: _of_repo(lambda e: f"{e.source} merged, {e.commit[:SHORT]}"),
    events.WorktreeMergeConflict: _conflict,
    events.RepoCloned: _of_repo(lambda e: f"cloned from {e.url}"),
    events.RepoFetched: _of_repo(lambda e: f"fetched from {e.url}"),
    events.SessionBranchPushed: _of_repo(lambda e: f"{e.branch} pushed to {e.url}"),
    events.SessionBranchPushFailed: _of_repo(lambda e: f"{e.branch} not pushed: {e.reason}"),
    events.CleanupCompleted: _of_repo(
        lambda e: f"{e.branch} removed by {e.reason}" + (f", kept as {e.trash}" if e.trash else "")
    ),
}
"""Events of the workspace (W14)."""

WORDS: Mapping[type[Event], Words] = {
    events.PipelineStarted: _started,
    events.PipelineCompleted: _of_node(
        lambda e: f"{e.status} after {plural(e.steps, 'node')} in {duration_words(e.duration_ms)}"
    ),
    events.PipelineFailed: _of_node(lambda e: e.error),
    events.PipelineRestarted: _of_node(lambda e: f"restarts at {e.target} as session {e.next_session}"),
    events.PipelinePaused: _of_node(lambda e: e.reason),
    events.PipelineCanceled: _of_node(lambda e: e.reason),
    events.PipelineResumed: _of_node(lambda e: resume_words(e)),
    events.PipelineForked: _forked,
    events.PipelineImported: _of_none(lambda _: "the turns before this one come from another store"),
    events.PipelineTaken: _of_none(lambda e: f"by {e.holder}"),
    events.StageStarted: _stage_started,
    events.StageCompleted: _of_node(lambda e: end_words(e) or e.status),
    events.StageFailed: _of_node(lambda e: e.failure_reason),
    events.StageRetrying: _of_node(lambda e: retry_words(e)),
    events.EdgeSelected: lambda e: (e.source, f"→ {e.target}  rule {e.rule}: {e.reason}"),
    events.CheckpointSaved: lambda e: (
        e.current_node,
        f"{plural(e.completed, 'node')} done" + (", whole state" if e.state is not None else ""),
    ),
    events.ToolStarted: _of_node(lambda e: with_values(_text_of(e.command), e.values)),
    events.ToolExecuted: _of_node(lambda e: _command_words(e)),
    events.AgentResponded: _of_node(lambda e: f"turn {e.number}: {e.model} answered, {usage_words(e)}"),
    events.AgentToolEnded: _of_node(lambda e: f"turn {e.number}: {e.tool}{_why_failed(e)}"),
    events.AgentTurnCompleted: _of_node(lambda e: turn_line(e)),
    events.ConversationCompacted: _of_node(
        lambda e: f"conversation shortened from {plural(e.before, 'token')}: {_shorten(e)}"
    ),
    events.InterviewStarted: _of_node(lambda e: f"asks {short_id(e.question)}: {one_line(e.text, 200)}"),
    events.InterviewCompleted: _of_node(lambda e: answer_words(e)),
    events.InterviewTimeout: _of_node(
        lambda e: f"no answer to {short_id(e.question)} in {duration_words(e.timeout_ms)}"
    ),
    events.SteeringTaken: _of_node(lambda e: one_line(e.text, 200)),
    events.ControlRequested: _of_none(lambda e: one_line(f"{e.action} by {e.who} {e.text}", 200)),
    events.WarningRaised: _of_node(lambda e: e.message),
    events.ParallelStarted: _branches,
    events.ParallelBranchStarted: _of_node(lambda e: f"{e.branch_id} in context {e.branch_context}"),
    events.ParallelBranchOpened: lambda e: (e.path, f"starts at {e.target}"),
    events.ParallelBranchEnded: _of_none(lambda e: f"branch ended at {e.node}: {_result(e)}"),
    events.ParallelBranchCompleted: _of_node(lambda e: f"{e.branch_id}: {_result(e)}"),
    events.ParallelCompleted: _of_node(lambda e: _result(e)),
    events.ChildStarted: _of_node(
        lambda e: f"{e.child_session} {'resumes' if e.again or e.until else 'runs'} {e.file}"
    ),
    events.ChildEnded: _of_node(lambda e: f"{e.child_session} ended: {e.status} {e.error}".rstrip()),
    events.BranchMirrored: _of_none(lambda e: f"branch of context {e.branch_context} is context {e.context} here"),
    events.SessionOpened: _of_none(lambda e: f"mailbox of context {e.context}"),
    events.RunnerClaimed: _of_none(lambda e: f"{'renewed' if e.first else 'claimed'} by {e.holder}"),
    events.RunnerReleased: _of_none(lambda e: f"by {e.token}"),
    events.RunnerAsked: _of_none(lambda _: "asked whether the runner is alive"),
    events.CanaryPlanted: _of_none(lambda _: ""),
    **CODE,
}
"""Every class of events."""
