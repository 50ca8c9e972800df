"""Events as lines for people: what a run prints, and what ``log`` shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from orchestra.cli._terminal import clock_time, laid_out, lasted, one_line
from orchestra.graph.report import counted, paint
from orchestra.run.events import (
    AgentResponded,
    AgentToolEnded,
    AgentTurnCompleted,
    CanaryPlanted,
    CheckpointSaved,
    ChildEnded,
    ChildStarted,
    ControlRequested,
    EdgeSelected,
    Event,
    Live,
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
    RunnerAsked,
    RunnerClaimed,
    RunnerReleased,
    SessionOpened,
    StageCompleted,
    StageFailed,
    StageRetrying,
    StageStarted,
    SteeringTaken,
    ToolExecuted,
    ToolOutput,
    ToolStarted,
    WarningRaised,
)

GREEN, RED, YELLOW, GREY, BOLD = "32", "31", "33", "90", "1"
_SIGNS = {
    "success": ("✓", GREEN),
    "partial_success": ("✓", YELLOW),
    "skipped": ("·", GREY),
    "retry": ("↻", YELLOW),
    "fail": ("✗", RED),
}


@dataclass(slots=True)
class Ends:
    """Turns the events of a run into one line per node as it ends; the edge taken belongs to that line."""

    write: Callable[[str], None]
    colour: bool
    width: int
    times: bool
    verbose: bool
    ended: int = 0
    waiting: StageCompleted | StageFailed | None = None
    waiting_at: int = 0
    order: list[str] = field(default_factory=list)
    above: dict[str, str] = field(default_factory=dict)
    """What stands before the nodes of a child's session: the nodes that run it."""
    session: str = ""
    working: str = ""
    """The node that the session of the last event is at."""

    def tell(self, recorded: Recorded | Live) -> None:
        """Take one event."""
        event = recorded.event
        self._belonging(recorded)
        match event:
            case StageCompleted() | StageFailed():
                self.settle()
                self.waiting, self.waiting_at = event, recorded.meta.at
            case EdgeSelected() if event.gate and self.waiting is None:
                self.line(recorded.meta.at, "↩", YELLOW, event.source, f"→ {event.target} ({event.reason})")
            case EdgeSelected():
                self.settle(event)
            case StageRetrying():
                self.line(recorded.meta.at, "↻", YELLOW, event.node, _retrying(event))
            case WarningRaised():
                self.settle()
                self.line(recorded.meta.at, "!", YELLOW, "warning", event.message)
            case PipelineResumed():
                self.settle()
                self.line(recorded.meta.at, "▶", GREEN, event.node, f"resumed{_because(event)}")
            case PipelineRestarted():
                self.settle()
                self.line(recorded.meta.at, "↺", YELLOW, event.target, f"restarts here as {event.next_session}")
            case SteeringTaken():
                self.settle()
                self.line(recorded.meta.at, "→", GREEN, event.node, f"told: {one_line(event.text, 200)}")
            case PipelineCompleted() | PipelineFailed() | PipelinePaused() | PipelineCanceled():
                self.settle()
            case _:
                self.output(event)

    def _belonging(self, recorded: Recorded | Live) -> None:
        """Note whose event follows, and what will stand before the nodes of a child."""
        event, session = recorded.event, recorded.meta.session
        if isinstance(event, PipelineForked) and event.why == "fork":
            self.above[session] = self.above.get(event.parent, "")
        if session != self.session:
            self.settle()
            parent, self.session = self.session, session
            if session not in self.above:  # a child that is taken up was named before this began
                self.above[session] = f"{self.above[parent]}{self.working}/" if parent else ""
        before = self.above[session]
        if isinstance(event, StageStarted | PipelineResumed):
            self.working = event.node
        elif isinstance(event, ChildStarted):
            self.above[event.child_session] = f"{before}{event.node}/"
        elif isinstance(event, PipelineRestarted):
            self.above[event.next_session] = before

    def output(self, event: Event | ToolOutput) -> None:
        """What a command writes, line by line, for those who want all of it."""
        if self.verbose and isinstance(event, ToolOutput):
            self.settle()
            for line in event.text.splitlines():
                self.write(paint(f"  | {one_line(line, 400)}", GREY, self.colour))

    def settle(self, edge: EdgeSelected | None = None) -> None:
        """Write the line of the node that ended, with the edge taken where there was a choice."""
        event, self.waiting = self.waiting, None
        if event is None:
            return
        self.ended += 1
        sign, tone = _SIGNS.get(event.status, ("·", GREY))
        if event.handler == "conditional":
            sign, tone = "◆", GREY
        self.line(self.waiting_at, sign, tone, event.node, _ended(event, edge, self.verbose))

    def line(self, at: int, sign: str, tone: str, node: str, rest: str) -> None:
        """A line; on a terminal as many as it needs."""
        name, words = one_line(self.above.get(self.session, "") + node, 80), one_line(rest, 400)
        if self.times:
            text = f"{clock_time(at)} {sign} {name}  {words}".rstrip()
        else:
            text = "\n".join(laid_out(sign, name, words, self.width))
        self.write(text.replace(sign, paint(sign, tone, self.colour), 1))


def _ended(event: StageCompleted | StageFailed, edge: EdgeSelected | None, verbose: bool) -> str:
    parts = []
    if event.handler not in ("start", "exit", "conditional"):
        parts.append(lasted(event.duration_ms))
    if event.attempt > 1:
        parts.append(f"{event.attempt} attempts")
    if event.status not in ("success", "fail") or (event.handler == "conditional"):
        parts.append(event.status)
    if isinstance(event, StageFailed):
        parts.append(in_brief(event.failure_reason))
    elif event.word:
        parts.append(event.word)
    text = ", ".join(part for part in parts if part)
    if edge is not None and (edge.candidates or not edge.edge or verbose):
        return f"{text} {_taken(edge, verbose)}".strip()
    return text


def in_brief(reason: str) -> str:
    """A reason of many lines, such as the end of what a command wrote, by its first words and its last line."""
    lines = [line.strip() for line in reason.splitlines() if line.strip()]
    if len(lines) < 2:
        return reason
    code = _EXIT.match(reason)
    return f"{code.group() if code else lines[0]} … {lines[-1]}"


_EXIT = re.compile(r".*?exit code \d+:")


def _taken(edge: EdgeSelected, verbose: bool) -> str:
    label = next((str(c["label"]) for c in edge.candidates if c.get("edge") == edge.edge and c.get("label")), "")
    shown = f"→ {edge.target}" + (f" by {label!r}" if label else "")
    if edge.gate:
        return f"{shown} ({edge.reason})"
    return f"{shown} ({edge.reason})" if verbose or not edge.edge else shown


def _retrying(event: StageRetrying) -> str:
    return (
        f"attempt {event.attempt} of {event.of}: {in_brief(event.failure_reason) or event.status};"
        f" again in {lasted(event.delay_ms)}"
    )


def _because(event: PipelineResumed) -> str:
    said = _resumed(event)
    return f": {said}" if said else " here"


def _resumed(event: PipelineResumed) -> str:
    """What becomes of the node at which a session goes on, and what is different from now on."""
    parts = [
        event.refused,
        "" if event.refused or not event.again else "begun again" + (f", {event.again} times" * (event.again > 1)),
        {"visit": "one more visit", "steps": "as many steps again"}.get(event.granted, ""),
        "with another pipeline" if event.dot else "",
        "with another script" if event.simulation else "",
    ]
    return ", ".join(part for part in parts if part)


def _executed(event: ToolExecuted) -> str:
    """How a command ended, and how much it wrote."""
    parts = [
        "interrupted" if event.interrupted else f"exit code {event.exit_code}",
        lasted(event.duration_ms),
        f"{event.output_bytes} bytes of output",
        f"{event.stderr_bytes} on standard error" if event.stderr_bytes else "",
    ]
    return ", ".join(part for part in parts if part)


def used(event: AgentResponded | AgentTurnCompleted) -> str:
    """The tokens and the cost of a model's answer, or of a whole turn."""
    cached = f" ({event.cache_read} cached)" if event.cache_read else ""
    cost = ", unpriced" if event.unpriced else f", ${event.cost_micros / 1e6:.4f}" if event.cost_micros else ""
    return f"{event.tokens_in} tokens in{cached}, {event.tokens_out} out{cost}"


def turn_line(event: AgentTurnCompleted) -> str:
    """One line about a turn of an agent."""
    names = [f"{call.get('name')}{' (failed)' if call.get('error') else ''}" for call in event.tool_calls]
    parts = [
        f"turn {event.number}",
        event.model,
        ", ".join(names),
        used(event),
        counted(len(event.files_written), "file") + " written" if event.files_written else "",
        event.git_sha[:10],
    ]
    return ", ".join(part for part in parts if part)


def headline(session: str, title: str, colour: bool) -> str:
    """The first line of a run: it names the session."""
    return f"session {paint(session, BOLD, colour)}  {one_line(title, 200)}"


# --- every event in one line, for `log` ----------------------------------------------------------


def described(event: Event) -> tuple[str, str]:  # noqa: C901  one closed match
    """An event's subject (a node) and what there is to say about it."""
    match event:
        case PipelineStarted():
            origin = f" ({event.why} of {event.parent})" if event.parent else ""
            return event.begins, f"{event.pipeline}" + (f": {event.goal}" if event.goal else "") + origin
        case PipelineCompleted():
            return event.node, f"{event.status} after {counted(event.steps, 'node')} in {lasted(event.duration_ms)}"
        case PipelineFailed():
            return event.node, event.error
        case PipelineRestarted():
            return event.node, f"goes on at {event.target} as {event.next_session}"
        case PipelinePaused():
            return event.node, event.reason
        case PipelineResumed():
            return event.node, _resumed(event)
        case StageStarted():
            tries = f", attempt {event.attempt} of {event.of}" if event.of > 1 else ""
            return event.node, f"{event.handler}, visit {event.visit}{tries}"
        case StageCompleted():
            return event.node, _ended(event, None, False) or event.status
        case StageFailed():
            return event.node, event.failure_reason
        case StageRetrying():
            return event.node, _retrying(event)
        case EdgeSelected():
            return event.source, f"→ {event.target}  rule {event.rule}: {event.reason}"
        case CheckpointSaved():
            whole = ", whole state" if event.state is not None else ""
            return event.current_node, f"{counted(event.completed, 'node')} done{whole}"
        case ToolStarted():
            return event.node, event.command if isinstance(event.command, str) else event.command.preview
        case ToolExecuted():
            return event.node, _executed(event)
        case AgentResponded():
            return event.node, f"turn {event.number}: {event.model} answered, {used(event)}"
        case AgentToolEnded():
            return event.node, f"turn {event.number}: {event.tool}{' failed' if event.is_error else ''}"
        case AgentTurnCompleted():
            return event.node, turn_line(event)
        case WarningRaised():
            return event.node, event.message
        case ParallelStarted():
            names = ", ".join(str(plan["id"]) for plan in event.branches[:8])
            return event.node, f"{len(event.branches)} branches: {names}"
        case ParallelBranchStarted():
            return event.node, f"{event.branch} in context {event.branch_context}"
        case ParallelBranchOpened():
            return event.path, f"begins at {event.target}"
        case ParallelBranchEnded():
            return event.node, f"branch ended: {event.status} {event.failure_reason}".rstrip()
        case ParallelBranchCompleted():
            return event.node, f"{event.branch}: {event.status} {event.failure_reason}".rstrip()
        case ParallelCompleted():
            return event.node, f"{event.status} {event.failure_reason}".rstrip()
        case PipelineForked():
            said = ", ".join([*(f"{k}={v}" for k, v in event.variables.items()), *map(str, event.values)])
            return "", f"leaves {event.origin or event.parent} at turn {event.from_turn}" + (
                f", with other {said}" if said else ""
            )
        case PipelineImported():
            return "", "the turns before this one are from another store"
        case ChildStarted():
            how = "goes on with" if event.again or event.until else "runs"
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
        case SessionOpened():
            return "", f"mailbox of context {event.context}"
        case RunnerClaimed():
            return "", f"{'renewed' if event.first else 'claimed'} by {event.holder}"
        case RunnerReleased():
            return "", f"by {event.token}"
        case CanaryPlanted():
            return "", ""
        case RunnerAsked():
            return "", "whether the runner lives"
