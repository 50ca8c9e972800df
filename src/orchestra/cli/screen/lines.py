"""Events as lines for people: what a run prints, and what ``log`` shows."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from msgspec.structs import replace as replace_struct

from orchestra.cli.screen.code import CODE_SHOWN, Code, code_described, commit_of
from orchestra.cli.stores import silence
from orchestra.cli.terminal import clock_time, duration_words, lay_out, one_line
from orchestra.graph.report import dollars, paint, plural
from orchestra.run.commands import STDERR, STDOUT
from orchestra.run.events import (
    AgentCommitCreated,
    AgentResponded,
    AgentToolEnded,
    AgentTurnCompleted,
    BranchMirrored,
    CanaryPlanted,
    CheckpointSaved,
    ChildEnded,
    ChildStarted,
    CleanupCompleted,
    CommitMessageWritten,
    ControlRequested,
    ConversationCompacted,
    EdgeSelected,
    Event,
    InterviewCompleted,
    InterviewStarted,
    InterviewTimeout,
    LiveEvent,
    ParallelBranchCompleted,
    ParallelBranchEnded,
    ParallelBranchOpened,
    ParallelBranchStarted,
    ParallelCompleted,
    ParallelStarted,
    PipelineCanceled,
    PipelineCompleted,
    PipelineFailed,
    PipelineForked,
    PipelineImported,
    PipelinePaused,
    PipelineRestarted,
    PipelineResumed,
    PipelineStarted,
    PipelineTaken,
    Recorded,
    RepoCloned,
    RepoFetched,
    RunnerAsked,
    RunnerClaimed,
    RunnerReleased,
    SessionBranchCreated,
    SessionBranchPushed,
    SessionBranchPushFailed,
    SessionOpened,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
    SteeringTaken,
    StoreSilent,
    ToolExecuted,
    ToolOutput,
    ToolStarted,
    WarningRaised,
    WorkspaceSnapshot,
    WorktreeCreated,
    WorktreeMergeConflict,
    WorktreeMerged,
)
from orchestra.run.interviews import question_of
from orchestra.run.parallel import CANCELED
from orchestra.run.questions import Question, choices_in_words, limit_in_words, short_id
from orchestra.run.resuming import BRANCHES, CHILD, CONVERSATION, QUESTION
from orchestra.run.routing import NO_CONDITION
from orchestra.run.steps import MEETING
from orchestra.run.usage import RunUsage, usage_of

GREEN, RED, YELLOW, GREY, BOLD = "32", "31", "33", "90", "1"
_SIGNS = {
    "success": ("✓", GREEN),
    "partial_success": ("✓", YELLOW),
    "skipped": ("·", GREY),
    "retry": ("↻", YELLOW),
    "fail": ("✗", RED),
}


_ITEM = re.compile(r"(?:#\d+|\[\d+\])$")
"""What follows a branch's target when several branches share it (E31, E36)."""

Place: TypeAlias = tuple[str, str]
"""Whose event it is: the session, and the path of the branch, empty in the main walk."""


def place_of(recorded: Recorded | LiveEvent) -> Place:
    """Whose event it is."""
    return recorded.meta.session, recorded.meta.branch


class EndedNode(NamedTuple):
    """A node that ended, and when; what its agents took, and its commits, in words."""

    event: StageCompleted | StageFailed
    at: int
    took: Sequence[str]
    commits: Sequence[str]


@dataclass(slots=True)
class Ends:
    """Turns the events of a run into one line per node as it ends; the edge taken belongs to that line.

    Walks run side by side in branches: the line of each waits for its own edge.
    """

    write: Callable[[str], None]
    colour: bool
    width: int
    times: bool
    verbose: bool
    ended: int = 0
    pending: dict[Place, EndedNode] = field(default_factory=dict)
    above: dict[str, str] = field(default_factory=dict)
    """The prefix of the nodes of a child's session: the nodes that run it."""
    working: dict[Place, str] = field(default_factory=dict)
    """The current node of each walk."""
    resumed: deque[Place] = field(default_factory=deque)
    """The walks whose node continues with a child of which nothing was heard yet."""
    last: Place | None = None
    committed: dict[Place, list[str]] = field(default_factory=dict)
    """The commits of each walk since its last node ended, in words."""
    talked: dict[Place, list[Event]] = field(default_factory=dict)
    """What agents did in each walk since its last node ended."""

    def tell(self, recorded: Recorded | LiveEvent) -> None:  # noqa: C901  one match
        """Take one event."""
        event, place = recorded.event, place_of(recorded)
        if isinstance(event, StoreSilent):
            self._write(recorded.meta.at, "!", YELLOW, "store", silence(event))
            return
        self._belonging(recorded)
        match event:
            case StageCompleted() | StageFailed():
                self.settle(place)
                took = agent_words(self.talked.pop(place, ()), event)
                commits = self.committed.pop(place, [])
                self.pending[place] = EndedNode(event, recorded.meta.at, took, commits)
            case AgentResponded() | AgentTurnCompleted() | ConversationCompacted():
                self.talked.setdefault(place, []).append(event)
            case EdgeSelected() if event.gate and place not in self.pending:
                self.line(recorded, "↩", YELLOW, event.source, f"→ {event.target} ({event.reason})")
            case EdgeSelected():
                self.settle(place, event)
            case StageRetrying():
                self.line(recorded, "↻", YELLOW, event.node, _retrying(event))
            case WarningRaised():
                self.settle(place)
                self.line(recorded, "!", YELLOW, "warning", event.message)
            case PipelineResumed():
                self.settle(place)
                self.line(recorded, "▶", GREEN, event.node, f"resumed{_because(event)}")
            case PipelineRestarted():
                self.settle(place)
                self.line(recorded, "↺", YELLOW, event.target, f"restarted here as {event.next_session}")
            case InterviewStarted() | InterviewCompleted() | SteeringTaken():
                self.settle(place)
                self.people(recorded, event)
            case ParallelBranchCompleted() if event.status == CANCELED:
                self.line(
                    recorded, "·", GREY, f"{event.node}/{event.branch_id}", f"canceled: {event.failure_reason}"
                )
            case (
                ParallelBranchEnded()
                | PipelineCompleted()
                | PipelineFailed()
                | PipelinePaused()
                | PipelineCanceled()
            ):
                self.settle(place)
            case _:
                self.output(recorded)

    def _belonging(self, recorded: Recorded | LiveEvent) -> None:
        """Note whose event follows, and the prefix of a child's nodes."""
        event, place = recorded.event, place_of(recorded)
        session = place[0]
        if isinstance(event, PipelineForked) and event.why == "fork":
            self.above[session] = self.above.get(event.parent, "")
        if self.last is not None and self.last != place:
            self.settle(self.last)
        if session not in self.above:  # a child that is resumed was named before this began
            parent = self.resumed.popleft() if self.resumed else self.last
            self.above[session] = f"{self.prefix(parent)}{self.working.get(parent, '')}/" if parent else ""
        self.last = place
        if isinstance(event, StageStarted | PipelineResumed):
            self.working[place] = event.node
            if isinstance(event, PipelineResumed) and event.granted == CHILD:
                self.resumed.append(place)
        elif isinstance(event, ChildStarted):
            self.above[event.child_session] = f"{self.prefix(place)}{event.node}/"
        elif isinstance(event, PipelineRestarted):
            self.above[event.next_session] = self.above[session]

    def prefix(self, place: Place) -> str:
        """Return the prefix of the nodes of a walk: the nodes that run its session, and its branch."""
        session, branch = place
        return self.above.get(session, "") + (f"{branch}/" if branch else "")

    def people(
        self, recorded: Recorded | LiveEvent, event: InterviewStarted | InterviewCompleted | SteeringTaken
    ) -> None:
        """A line for what a person is asked, answers, or tells an agent."""
        match event:
            case InterviewStarted():
                asks = f"asks: {one_line(event.text, 200)}{self._waited_for(question_of(event), recorded)}"
                self.line(recorded, "?", YELLOW, event.node, asks)
            case InterviewCompleted():
                self.line(recorded, "→", GREEN, event.node, answer_words(event))
            case SteeringTaken():
                self.line(recorded, "→", GREEN, event.node, f"instruction: {one_line(event.text, 200)}")

    def _waited_for(self, question: Question, recorded: Recorded | LiveEvent) -> str:
        """How to answer a question for which the run waits where no person is at a terminal (H5)."""
        if not (self.times and question.waits):
            return ""
        choices, limit = one_line(choices_in_words(question), 400), one_line(limit_in_words(question), 200)
        return f"  Answer with {choices} {limit}: orchestra answer {recorded.meta.session} VALUE"

    def named(self, place: Place, node: str) -> str:
        """Return a node with its prefix; the first node of a branch has the branch's own name."""
        branch = place[1]
        if _ITEM.sub("", branch.rpartition("/")[2]) == node:
            return self.above.get(place[0], "") + branch
        return self.prefix(place) + node

    def _code(self, recorded: Recorded | LiveEvent, event: Code) -> None:
        """A commit belongs to the line of its node, which follows; a branch or a merge has a line of its own."""
        place = place_of(recorded)
        if isinstance(event, AgentCommitCreated):
            self.committed.setdefault(place, []).append(commit_of(event))
            return
        self.settle(place)
        subject, words = code_described(event)
        trouble = isinstance(event, WorktreeMergeConflict | SessionBranchPushFailed)
        sign, tone = ("!", YELLOW) if trouble else ("⎇", GREY)
        self.line(recorded, sign, tone, subject, words)

    def output(self, recorded: Recorded | LiveEvent) -> None:
        """What a run does with git; and what a command writes, line by line, for those who want all of it."""
        event = recorded.event
        if isinstance(event, CODE_SHOWN):
            self._code(recorded, event)
        if self.verbose and isinstance(event, ToolOutput):
            self.settle(place_of(recorded))
            branch = f"{recorded.meta.branch}: " if recorded.meta.branch else ""
            lines = event.text.splitlines()
            if lines:
                said = (paint(f"  | {branch}{one_line(line, 400)}", GREY, self.colour) for line in lines)
                self.write("\n".join(said))

    def settle(self, place: Place, edge: EdgeSelected | None = None) -> None:
        """Write the line of the node that ended, with the edge taken where there was a choice."""
        found = self.pending.pop(place, None)
        if found is None:
            return
        event, at, took, commits = found
        self.ended += 1
        sign, tone = _SIGNS.get(event.status, ("·", GREY))
        if event.handler == "conditional":
            sign, tone = "◆", GREY
        said = [text for text in (_end_line(event, edge, self.verbose, took), *commits) if text]
        self._write(at, sign, tone, self.named(place, event.node), "  ".join(said))

    def settle_all(self) -> None:
        """Write the lines that wait for an edge: none follows."""
        for place in tuple(self.pending):
            self.settle(place)

    def line(self, recorded: Recorded | LiveEvent, sign: str, tone: str, node: str, rest: str) -> None:
        """A line about a node of the walk whose event it is."""
        self._write(recorded.meta.at, sign, tone, self.named(place_of(recorded), node), rest)

    def _write(self, at: int, sign: str, tone: str, node: str, rest: str) -> None:
        """A line; on a terminal as many as it needs."""
        name, words = one_line(node, 80), one_line(rest, 400)
        if self.times:
            text = f"{clock_time(at)} {sign} {name}  {words}".rstrip()
        else:
            text = "\n".join(lay_out(sign, name, words, self.width))
        self.write(text.replace(sign, paint(sign, tone, self.colour), 1))


def _end_line(
    event: StageCompleted | StageFailed, edge: EdgeSelected | None, verbose: bool, took: Sequence[str] = ()
) -> str:
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
    if edge is not None and (edge.candidates or not (edge.edge or edge.rule == MEETING) or verbose):
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
    unchosen = edge.rule == NO_CONDITION and sum(not c.get("condition") for c in edge.candidates) > 1
    shown = f"→ {edge.target}" + (f" by {label!r}" if label and not unchosen else "")
    if edge.gate:
        return f"{shown} ({edge.reason})"
    return f"{shown} ({edge.reason})" if verbose or not edge.edge else shown


def _retrying(event: StageRetrying) -> str:
    return (
        f"attempt {event.attempt} of {event.of}: {in_brief(event.failure_reason) or event.status};"
        f" retrying in {duration_words(event.delay_ms)}"
    )


def _because(event: PipelineResumed) -> str:
    said = _resume_words(event)
    return f": {said}" if said else " here"


_GRANTED = {"visit": "one more visit allowed", "steps": "max_steps doubled", "route": "its edge chosen again"}
_KEPT = {
    BRANCHES: "its branches continue",
    CHILD: "its child session continues",
    QUESTION: "waiting for an answer again",
    CONVERSATION: "its conversation continues",
}
"""What an attempt continues with, as ``resuming`` names it."""


def _resume_words(event: PipelineResumed) -> str:
    """Describe how the current node is resumed, and what is different from now on."""
    parts = [
        event.refused,
        "" if event.refused or not event.again else _again(event),
        _GRANTED.get(event.granted, ""),
        "with a new pipeline" if event.dot else "",
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
    return tuple(
        _used_words(_with_earlier(used, ended), failed) for used in usage_of(events).nodes.values() if used.turns
    )


def _with_earlier(used: RunUsage, ended: StageCompleted | StageFailed | None) -> RunUsage:
    if ended is None or ended.tokens_in + ended.tokens_out <= used.tokens_in + used.tokens_out:
        return used
    return replace_struct(
        used, tokens_in=ended.tokens_in, tokens_out=ended.tokens_out, cost_micros=ended.cost_micros
    )


def _used_words(used: RunUsage, failed: int) -> str:
    parts = [
        plural(used.turns, "turn"),
        plural(used.tokens_in + used.tokens_out, "token"),
        "unpriced" if used.unpriced and not used.cost_micros else dollars(used.cost_micros, 4),
        f"{failed} of {plural(used.tool_calls, 'tool call')} failed" if failed else "",
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


def headline(session: str, title: str, colour: bool) -> str:
    """The first line of a run: it names the session."""
    return f"session {paint(session, BOLD, colour)}  {one_line(title, 200)}"


def describe(event: Event) -> tuple[str, str]:  # noqa: C901  one closed match
    """An event's subject (a node) and what there is to say about it."""
    match event:
        case PipelineStarted():
            origin = f" ({event.why} of {event.parent})" if event.parent else ""
            return event.begins, f"{event.pipeline}" + (f": {event.goal}" if event.goal else "") + origin
        case PipelineCompleted():
            return (
                event.node,
                f"{event.status} after {plural(event.steps, 'node')} in {duration_words(event.duration_ms)}",
            )
        case PipelineFailed():
            return event.node, event.error
        case PipelineRestarted():
            return event.node, f"restarts at {event.target} as session {event.next_session}"
        case PipelinePaused():
            return event.node, event.reason
        case PipelineResumed():
            return event.node, _resume_words(event)
        case StageStarted():
            tries = f", attempt {event.attempt} of {event.of}" if event.of > 1 else ""
            return event.node, f"{event.handler}, visit {event.visit}{tries}"
        case StageCompleted():
            return event.node, _end_line(event, None, False) or event.status
        case StageFailed():
            return event.node, event.failure_reason
        case StageRetrying():
            return event.node, _retrying(event)
        case EdgeSelected():
            return event.source, f"→ {event.target}  rule {event.rule}: {event.reason}"
        case CheckpointSaved():
            whole = ", whole state" if event.state is not None else ""
            return event.current_node, f"{plural(event.completed, 'node')} done{whole}"
        case ToolStarted():
            return event.node, event.command if isinstance(event.command, str) else event.command.preview
        case ToolExecuted():
            return event.node, _command_words(event)
        case AgentResponded():
            return event.node, f"turn {event.number}: {event.model} answered, {usage_words(event)}"
        case AgentToolEnded():
            return event.node, f"turn {event.number}: {event.tool}{_why_failed(event)}"
        case AgentTurnCompleted():
            return event.node, turn_line(event)
        case ConversationCompacted():
            return event.node, f"conversation shortened from {plural(event.before, 'token')}: {_shorten(event)}"
        case (
            SessionBranchCreated()
            | WorktreeCreated()
            | CommitMessageWritten()
            | AgentCommitCreated()
            | WorkspaceSnapshot()
            | WorktreeMerged()
            | WorktreeMergeConflict()
            | RepoCloned()
            | RepoFetched()
            | SessionBranchPushed()
            | SessionBranchPushFailed()
            | CleanupCompleted()
        ):
            return code_described(event)
        case InterviewStarted():
            return event.node, f"asks {short_id(event.question)}: {one_line(event.text, 200)}"
        case InterviewCompleted():
            return event.node, answer_words(event)
        case InterviewTimeout():
            return event.node, f"no answer to {short_id(event.question)} in {duration_words(event.timeout_ms)}"
        case WarningRaised():
            return event.node, event.message
        case ParallelStarted():
            names = ", ".join(str(plan["id"]) for plan in event.branches[:8])
            return event.node, f"{plural(len(event.branches), 'branch', 'branches')}: {names}"
        case ParallelBranchStarted():
            return event.node, f"{event.branch_id} in context {event.branch_context}"
        case ParallelBranchOpened():
            return event.path, f"starts at {event.target}"
        case ParallelBranchEnded():
            return "", f"branch ended at {event.node}: {event.status} {event.failure_reason}".rstrip()
        case ParallelBranchCompleted():
            return event.node, f"{event.branch_id}: {event.status} {event.failure_reason}".rstrip()
        case ParallelCompleted():
            return event.node, f"{event.status} {event.failure_reason}".rstrip()
        case PipelineForked():
            said = ", ".join([*(f"{k}={v}" for k, v in event.variables.items()), *map(str, event.values)])
            return "", f"forked from {event.origin or event.parent} at turn {event.from_turn}" + (
                f", with {said}" if said else ""
            )
        case PipelineImported():
            return "", "the turns before this one come from another store"
        case ChildStarted():
            how = "resumes" if event.again or event.until else "runs"
            return event.node, f"{event.child_session} {how} {event.file}"
        case ChildEnded():
            return event.node, f"{event.child_session} ended: {event.status} {event.error}".rstrip()
        case PipelineTaken():
            return "", f"by {event.holder}"
        case PipelineCanceled():
            return event.node, event.reason
        case SteeringTaken():
            return event.node, one_line(event.text, 200)
        case ControlRequested():
            return "", one_line(f"{event.action} by {event.who} {event.text}", 200)
        case BranchMirrored():
            return "", f"branch of context {event.branch_context} is context {event.context} here"
        case SessionOpened():
            return "", f"mailbox of context {event.context}"
        case RunnerClaimed():
            return "", f"{'renewed' if event.first else 'claimed'} by {event.holder}"
        case RunnerReleased():
            return "", f"by {event.token}"
        case CanaryPlanted():
            return "", ""
        case RunnerAsked():
            return "", "asked whether the runner is alive"
