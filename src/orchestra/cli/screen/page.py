"""A session as one HTML page: graph, timeline, conversations, changes, cost; it loads nothing else."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from typing import Any, TypeAlias

from orchestra.cli.screen.ended import took_ms
from orchestra.cli.screen.words import describe
from orchestra.cli.terminal import many_lines
from orchestra.errors import Source
from orchestra.graph.dot import parse
from orchestra.graph.drawing import LABEL_LENGTH, Drawing, draw, edge_keys, is_jump, labels_of, outline, path_of
from orchestra.graph.model import Edge, Graph
from orchestra.graph.report import duration_words
from orchestra.run.events import (
    AGENT_TOOLS,
    AgentCommitCreated,
    AgentResponded,
    AgentToolEnded,
    AgentTurnCompleted,
    ConversationCompacted,
    EdgeSelected,
    InterviewCompleted,
    InterviewStarted,
    ParallelStarted,
    Recorded,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
    ToolExecuted,
    ToolStarted,
    WarningRaised,
)
from orchestra.run.fold import evolve
from orchestra.run.state import NEW, RunState
from orchestra.run.usage import RunUsage, usage_of
from orchestra.run.views import Summary

LONGEST = 20_000
"""Characters of one text on the page; it says how many more there are, and the command that shows them."""


@dataclass(frozen=True, slots=True)
class PageTurn:
    """An event with the path of its branch, and as plain data with every reference to a text resolved."""

    path: str
    recorded: Recorded
    data: Mapping[str, Any]

    @property
    def place(self) -> str:
        """The turn as ``orchestra show`` takes it."""
        return f"{self.recorded.meta.session}{'/' if self.path else ''}{self.path}:{self.recorded.depth}"


Changes: TypeAlias = Mapping[str, str]
"""The text of each commit by its hash."""


@dataclass(slots=True, kw_only=True)
class PageMessage:
    """Something that was said: by whom, what, the tools called, and where more of it is."""

    who: str
    text: str
    calls: list[str] = field(default_factory=list)
    more: str = ""


@dataclass(slots=True, kw_only=True)
class PageAttempt:
    """One attempt of a node: its prompt and its answers."""

    title: str
    path: str
    status: str = "running"
    begin: int = 0
    end: int = 0
    idle: int = 0
    """Milliseconds of it without a runner."""
    messages: list[PageMessage] = field(default_factory=list)
    commits: list[PageMessage] = field(default_factory=list)

    @property
    def took(self) -> int:
        """Milliseconds of work, as the node's own time counts them."""
        return max(0, self.end - self.begin - self.idle)


@dataclass(slots=True, kw_only=True)
class NodeStory:
    """What the page shows of one node."""

    label: str
    status: str = ""
    visits: int = 0
    duration_ms: int = 0
    reason: str = ""
    usage: RunUsage | None = None
    talks: list[PageAttempt] = field(default_factory=list)

    @property
    def told(self) -> bool:
        """Whether something was said or changed at the node."""
        return any(talk.messages or talk.commits for talk in self.talks)

    @property
    def facts(self) -> str:
        """Visits and time, in the box of the node."""
        return (
            f"{self.visits}×, {duration_words(self.duration_ms)}"
            if self.visits > 1
            else duration_words(self.duration_ms)
        )


@dataclass(slots=True, kw_only=True)
class Chapter:
    """A session on the page: the run itself, or one that it started. ``taken`` counts how often an edge
    was; ``took`` is in milliseconds, as the end of the run tells it; ``simulated`` where no model was asked."""

    summary: Summary
    took: int = 0
    simulated: bool = False
    pipeline: str = ""
    drawing: Drawing | None = None
    shapes: Mapping[str, str] = field(default_factory=dict)
    nodes: dict[str, NodeStory] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    models: Mapping[str, RunUsage] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def lanes(self) -> dict[str, list[tuple[str, PageAttempt]]]:
        """The timeline: per branch what ran in it, in order."""
        found: dict[str, list[tuple[str, PageAttempt]]] = {"": []}
        talks = [(node, talk) for node, story in self.nodes.items() for talk in story.talks]
        for node, talk in sorted(talks, key=lambda pair: pair[1].begin):
            found.setdefault(talk.path, []).append((node, talk))
        return found


def chapter(summary: Summary, events: Sequence[PageTurn], changes: Changes) -> Chapter:
    """Return what the page shows of a session."""
    found = Chapter(summary=summary)
    _draw(found, events)
    by_branch = sorted(events, key=lambda told: told.path)  # branches may share the name of a conversation
    usage = usage_of(told.recorded.event for told in by_branch)
    found.models = usage.models
    for told in events:
        _add(found, told, changes)
    for node, used in usage.nodes.items():
        found.nodes.setdefault(node, NodeStory(label=node)).usage = used
    last = max((told.recorded.meta.at for told in events), default=0)
    for _node, talk in (pair for lane in found.lanes.values() for pair in lane):
        talk.end = talk.end or last
    state, gaps = _fold(told.recorded for told in events if not told.path)
    found.took, found.simulated = took_ms(state), state.simulated
    for talk in (talk for story in found.nodes.values() for talk in story.talks):
        talk.idle = sum(idle for at, idle in gaps if talk.begin < at <= talk.end)
    begun = [told.recorded.event.node for told in events if isinstance(told.recorded.event, StageStarted)]
    found.nodes = {node: found.nodes[node] for node in dict.fromkeys([*begun, *found.nodes])}
    return found


def _fold(events: Iterable[Recorded]) -> tuple[RunState, list[tuple[int, int]]]:
    """The state, and when a runner came back to the session after how long, in milliseconds."""
    state, gaps = NEW, []
    for recorded in events:
        before, state = state, evolve(state, recorded)
        if state.idle_ms > before.idle_ms:
            gaps.append((recorded.meta.at, state.idle_ms - before.idle_ms))
    return state, gaps


def _draw(found: Chapter, events: Sequence[PageTurn]) -> None:
    found.pipeline = next((told.data["dot"] for told in reversed(events) if told.data.get("dot")), "")
    graph, _diagnostics = parse(Source("pipeline", found.pipeline))
    if graph is None:
        return
    found.drawing = draw(replace(graph, edges=(*graph.edges, *_jumps(graph))))
    found.shapes = {node.id: node.shape for node in graph.nodes.values()}
    found.nodes = {node.id: NodeStory(label=node.label) for node in graph.nodes.values()}


def _jumps(graph: Graph) -> Iterator[Edge]:
    """The ways to retry targets, which no edge of the file shows."""
    for node in graph.nodes.values():
        target = node.text("retry_target")
        if target in graph.nodes:
            yield Edge(
                source=node.id, target=target, index=-1, attributes={}, span=node.span, target_span=node.span
            )


def _add(found: Chapter, told: PageTurn, changes: Changes) -> None:  # noqa: C901  one match
    match told.recorded.event:
        case StageStarted() as event:
            _begin(found, told, event)
        case StageCompleted() | StageFailed() | StageRetrying() as event:
            _end(found, told, event)
        case AgentResponded() | AgentToolEnded() | AgentTurnCompleted() as event:
            talk = _talk(found, told, event.node)
            talk.messages += [_message(told, message) for message in told.data.get("messages", ())]
        case ConversationCompacted(node=node):
            _talk(found, told, node).messages.append(PageMessage(who="", text=describe(told.recorded.event)[1]))
        case ToolStarted(node=node) as event if event.command != AGENT_TOOLS:
            _talk(found, told, node).messages.append(_text(told, "command", "command"))
        case ToolExecuted(node=node) as event:
            _talk(found, told, node).messages += _output(told, event)
        case InterviewStarted(node=node) as event:
            options = [f"[{option.get('key')}] {option.get('label')}" for option in event.options]
            text = "\n\n".join(part for part in (event.text, str(told.data.get("about") or "")) if part)
            _talk(found, told, node).messages.append(PageMessage(who="question", text=text, calls=options))
        case InterviewCompleted(node=node) as event:
            text = "\n".join(part for part in (event.label or event.value, str(told.data.get("said", ""))) if part)
            _talk(found, told, node).messages.append(
                PageMessage(who=f"answer by {event.who or 'nobody'}", text=text)
            )
        case AgentCommitCreated(node=node) as event:
            name = f"{event.repo} {event.commit[:10]}: {event.message}"
            text = changes.get(event.commit, "this commit is not in the repository any more")
            _talk(found, told, node).commits.append(_cut(name, text, f"git show {event.commit}"))
        case EdgeSelected() as event:
            _count(found.taken, event.edge or f"jump {event.source}->{event.target}")
        case ParallelStarted() as event:
            for branch in event.branches:
                _count(found.taken, str(branch.get("edge", "")))
        case WarningRaised() as event:
            found.warnings.append(f"{event.node}: {event.message}" if event.node else event.message)
        case _:
            pass


def _count(counts: dict[str, int], key: str) -> None:
    counts[key] = counts.get(key, 0) + 1


def _begin(found: Chapter, told: PageTurn, event: StageStarted) -> None:
    story = found.nodes.setdefault(event.node, NodeStory(label=event.node))
    story.status = "running"
    story.visits += event.attempt == 1
    attempt = f", attempt {event.attempt} of {event.of}" if event.attempt > 1 else ""
    branch = f", {told.path}" if told.path else ""
    story.talks.append(
        PageAttempt(title=f"visit {event.visit}{attempt}{branch}", path=told.path, begin=told.recorded.meta.at)
    )


def _talk(found: Chapter, told: PageTurn, node: str) -> PageAttempt:
    """The newest attempt of a node in a branch."""
    story = found.nodes.setdefault(node, NodeStory(label=node))
    for talk in reversed(story.talks):
        if talk.path == told.path:
            return talk
    story.talks.append(PageAttempt(title=told.path or node, path=told.path, begin=told.recorded.meta.at))
    return story.talks[-1]


def _end(found: Chapter, told: PageTurn, event: StageCompleted | StageFailed | StageRetrying) -> None:
    talk = _talk(found, told, event.node)
    story = found.nodes[event.node]
    talk.end = told.recorded.meta.at
    talk.status = story.status = "retry" if isinstance(event, StageRetrying) else event.status
    if not isinstance(event, StageRetrying):
        story.duration_ms += event.duration_ms
    story.reason = "" if isinstance(event, StageCompleted) else event.failure_reason
    if not any(message.who in ("assistant", "output") for message in talk.messages):
        talk.messages += [
            _text(told, name, who)
            for name, who in (("prompt", "user"), ("response", "assistant"))
            if told.data.get(name)
        ]
    if story.reason:
        talk.messages.append(PageMessage(who="failed", text=story.reason))


def _message(told: PageTurn, message: Any) -> PageMessage:
    """A message of a conversation."""
    if not isinstance(message, dict):
        return PageMessage(who="", text=str(message))
    who = str(message.get("role", ""))
    if who == "tool":
        who = f"{message.get('name', 'tool')} {'failed' if message.get('is_error') else 'returned'}"
    calls = [
        f"{call.get('name')} {call.get('invalid') or json.dumps(call.get('arguments', {}), ensure_ascii=False)}"
        for call in message.get("tool_calls", ())
    ]
    cut = _cut(who, str(message.get("text", "")), f"orchestra show {told.place}")
    cut.calls = calls
    return cut


def _output(told: PageTurn, event: ToolExecuted) -> Iterator[PageMessage]:
    yield _text(told, "output", "output")
    if told.data.get("stderr"):
        yield _text(told, "stderr", "standard error")
    if event.exit_code:
        yield PageMessage(who="exit code", text=str(event.exit_code))


def _text(told: PageTurn, name: str, who: str) -> PageMessage:
    return _cut(who, str(told.data.get(name, "")), f"orchestra show {told.place} --whole {name}")


def _cut(who: str, text: str, command: str) -> PageMessage:
    left_out = len(text) - LONGEST
    more = f"{left_out} more characters: {command}" if left_out > 0 else ""
    return PageMessage(who=who, text=many_lines(text[:LONGEST]), more=more)


SIGNS = {"success": "✓", "partial_success": "✓", "fail": "✗", "retry": "↻", "running": "▶", "skipped": "·", "": "·"}


@dataclass(frozen=True, slots=True)
class Scale:
    """Milliseconds to shares of the timeline's width: time in which nothing ran takes little room."""

    pieces: tuple[tuple[int, int, float], ...]
    whole: float

    def at(self, time: int) -> float:
        """The place of a moment, from 0 to 100."""
        for begin, end, before in self.pieces:
            if time <= end:
                return (before + max(time - begin, 0)) / self.whole * 100
        return 100.0

    @property
    def breaks(self) -> list[tuple[float, str]]:
        """Where time was left out, and how much."""
        pairs = zip(self.pieces, self.pieces[1:], strict=False)
        return [(self.at(right[0]), duration_words(right[0] - left[1])) for left, right in pairs]


def scale(lanes: Mapping[str, Sequence[tuple[str, PageAttempt]]]) -> Scale:
    """The scale of a timeline."""
    busy: list[list[int]] = []
    for begin, end in sorted((talk.begin, talk.end) for lane in lanes.values() for _node, talk in lane):
        if busy and begin <= busy[-1][1] + max(2000, busy[-1][1] - busy[0][0]) // 5:
            busy[-1][1] = max(busy[-1][1], end)
        else:
            busy.append([begin, end])
    total = sum(end - begin for begin, end in busy) or 1
    pieces, before = [], 0.0
    for begin, end in busy:
        pieces.append((begin, end, before))
        before += end - begin + total / 50
    return Scale(tuple(pieces), before - total / 50 if pieces else 1.0)


def page(chapters: Sequence[Chapter], version: str) -> str:
    """The page. Every text on it is escaped; it holds no script, and its policy allows none."""
    from jinja2 import Environment, StrictUndefined

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.globals.update(
        signs=SIGNS,
        outline=outline,
        path_of=path_of,
        edge_keys=edge_keys,
        is_jump=is_jump,
        labels_of=labels_of,
        label_length=LABEL_LENGTH,
        lasted=duration_words,
        scale=scale,
    )
    template = environment.from_string(
        (files("orchestra.cli") / "screen" / "page.html").read_text(encoding="utf-8")
    )
    return template.render(chapters=chapters, version=version)
