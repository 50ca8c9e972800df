"""The lines that a run prints as it happens: one per node as it ends (C4)."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from orchestra.cli.screen.words import (
    CODE,
    Words,
    agent_words,
    answer_words,
    commit_words,
    end_words,
    resume_words,
    retry_words,
)
from orchestra.cli.stores import silence
from orchestra.cli.terminal import BOLD, GREEN, GREY, RED, YELLOW, clock_time, lay_out, many_lines, one_line
from orchestra.graph.report import paint
from orchestra.run import events
from orchestra.run.events import (
    AgentCommitCreated,
    AgentResponded,
    AgentTurnCompleted,
    ChildStarted,
    ConversationCompacted,
    EdgeSelected,
    Event,
    InterviewStarted,
    LiveEvent,
    ParallelBranchCompleted,
    PipelineForked,
    PipelineRestarted,
    PipelineResumed,
    Recorded,
    StageCompleted,
    StageFailed,
    StageStarted,
    StoreSilent,
    ToolOutput,
)
from orchestra.run.interviews import question_of
from orchestra.run.parallel import CANCELED
from orchestra.run.questions import Question, choices_in_words, limit_in_words
from orchestra.run.resuming import CHILD

_SIGNS = {
    "success": ("✓", GREEN),
    "partial_success": ("✓", YELLOW),
    "skipped": ("·", GREY),
    "retry": ("↻", YELLOW),
    "fail": ("✗", RED),
}


class _EventLine(NamedTuple):
    """A line that an event has of its own: its sign, color, subject and words."""

    sign: str
    tone: str
    words: Words


_LINES: Mapping[type, _EventLine] = {
    events.StageRetrying: _EventLine("↻", YELLOW, lambda e: (e.node, retry_words(e))),
    events.WarningRaised: _EventLine("!", YELLOW, lambda e: ("warning", e.message)),
    events.PipelineResumed: _EventLine(
        "▶", GREEN, lambda e: (e.node, f"resumed: {said}" if (said := resume_words(e)) else "resumed here")
    ),
    events.PipelineRestarted: _EventLine("↺", YELLOW, lambda e: (e.target, f"restarted here as {e.next_session}")),
    events.InterviewCompleted: _EventLine("→", GREEN, lambda e: (e.node, answer_words(e))),
    events.SteeringTaken: _EventLine("→", GREEN, lambda e: (e.node, f"instruction: {one_line(e.text, 200)}")),
    **{
        kind: _EventLine("⎇", GREY, CODE[kind])
        for kind in (
            events.SessionBranchCreated,
            events.WorktreeMerged,
            events.RepoCloned,
            events.SessionBranchPushed,
        )
    },
    **{
        kind: _EventLine("!", YELLOW, CODE[kind])
        for kind in (events.WorktreeMergeConflict, events.SessionBranchPushFailed)
    },
}
"""The events with a line of their own, whatever else happened."""

_SETTLING = (
    events.ParallelBranchEnded,
    events.PipelineCompleted,
    events.PipelineFailed,
    events.PipelinePaused,
    events.PipelineCanceled,
)
"""Events after which no edge of their walk follows."""


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
class RunLines:
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
    """The walks whose node continues with a child that has no event yet."""
    last: Place | None = None
    committed: dict[Place, list[str]] = field(default_factory=dict)
    """The commits of each walk since its last node ended, in words."""
    talked: dict[Place, list[Event]] = field(default_factory=dict)
    """What agents did in each walk since its last node ended."""

    def tell(self, recorded: Recorded | LiveEvent) -> None:
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
            case AgentCommitCreated():  # it belongs to the line of its node, which follows
                self.committed.setdefault(place, []).append(commit_words(event))
            case EdgeSelected() if event.gate and place not in self.pending:
                self.line(recorded, "↩", YELLOW, event.source, f"→ {event.target} ({event.reason})")
            case EdgeSelected():
                self.settle(place, event)
            case ToolOutput():
                self._output(recorded, event)
            case _:
                self._line_of(recorded)

    def _line_of(self, recorded: Recorded | LiveEvent) -> None:
        """Write the line that an event has of its own, if it has one."""
        event, place = recorded.event, place_of(recorded)
        if isinstance(event, InterviewStarted):
            self.settle(place)
            asks = f"asks: {one_line(event.text, 200)}{self._waited_for(question_of(event), recorded)}"
            self.line(recorded, "?", YELLOW, event.node, asks)
        elif isinstance(event, ParallelBranchCompleted):
            if event.status == CANCELED:
                name = f"{event.node}/{event.branch_id}"
                self.line(recorded, "·", GREY, name, f"canceled: {event.failure_reason}")
        elif isinstance(event, _SETTLING):
            self.settle(place)
        elif type(event) in _LINES:
            self.settle(place)
            sign, tone, words = _LINES[type(event)]
            self.line(recorded, sign, tone, *words(event))

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

    def _output(self, recorded: Recorded | LiveEvent, event: ToolOutput) -> None:
        """Write what a command writes, line by line, for those who want all of it."""
        text = many_lines(event.text).splitlines()
        if self.verbose and text:
            self.settle(place_of(recorded))
            branch = f"{recorded.meta.branch}: " if recorded.meta.branch else ""
            said = (paint(f"  | {branch}{line[:400]}", GREY, self.colour) for line in text)
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
        said = [text for text in (end_words(event, edge, self.verbose, took), *commits) if text]
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


class View:
    """A view of a run in progress; this one shows nothing."""

    def open(self, session: str, title: str) -> None:
        """Name the session, which exists; nothing has been done yet."""

    def tell(self, told: Recorded | LiveEvent) -> None:
        """Show an event that is durable, or something as it happens."""

    def note(self, text: str) -> None:
        """Show a message of the program."""

    def hold(self, above: Callable[[str], None] | None) -> None:
        """Show lines only by ``above`` while a question is on the terminal; without it, hold them (H10)."""

    def release(self) -> None:
        """Show what was held: the terminal is free again."""

    def close(self) -> None:
        """Show what is left: no event follows."""

    def abandon(self) -> None:
        """Restore the terminal without waiting for anything: the process ends now."""


def headline(session: str, title: str, colour: bool) -> str:
    """The first line of a run: it names the session."""
    return f"session {paint(session, BOLD, colour)}  {one_line(title, 200)}"
