"""Everything that can happen in a run (E3, S11). Names are Attractor's.

The engine's only output is a stream of these; state is a fold over them. An event is recorded with
an envelope (``Meta``): session, the runner's epoch, its sequence number, time and branch path.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from msgspec import Struct

from orchestra.run.declare import BlobRef, Text, event, tag
from orchestra.run.outcome import Json

ContextValue: TypeAlias = "Json | BlobRef"
"""A context value, by reference when it is large."""


class Meta(Struct, frozen=True, kw_only=True):
    """The envelope of an event.

    ``epoch`` counts the runners a session has had, from 1; ``sequence`` counts the events of one
    runner, from 1; ``at`` is UTC in milliseconds; ``branch`` is empty outside parallel branches.
    """

    session: str
    epoch: int
    sequence: int
    at: int
    branch: str = ""


@event("PipelineLifecycle")
class PipelineStarted:
    """A session begins. It is the first turn of its chain and names its mailbox (S13, S15)."""

    pipeline: str = tag(10, "string", "name of the graph")
    goal: str = tag(11, "string", "the graph's goal", default="")
    label: str = tag(12, "string", "display name of the run", default="")
    dot: Text = tag(13, "text", "the pipeline's text as it was run")
    file: str = tag(14, "string", "where the text came from", default="")
    graph_hash: str = tag(15, "string", "BLAKE3-256 of the text, in hex")
    config_hash: str = tag(16, "string", "BLAKE3-256 of the settings in force, in hex", default="")
    variables: Mapping[str, ContextValue] = tag(17, "json", "variables given on the command line", default={})
    mailbox: int = tag(18, "u64", "context id of the session's mailbox")
    simulation: Text = tag(19, "text", "the simulation script, empty without one", default="")
    backend: str = tag(20, "string", "backends of the agents, empty where no node is one", default="")
    version: str = tag(21, "string", "version of Orchestra", default="")
    secrets: tuple[str, ...] = tag(22, "array", "names of the declared secrets whose values were there", default=())
    begins: str = tag(23, "string", "the node it begins at, where that is not the graph's start", default="")
    parent: str = tag(24, "string", "the session that it comes from", default="")
    parent_context: int = tag(25, "u64", "context id of that session", default=0)
    why: str = tag(26, "string", "why it comes from that one: restart, child", default="")
    ledger: Mapping[str, Json] = tag(27, "json", "what counts on from the session before it", default={})
    dotfiles: Mapping[str, ContextValue] = tag(28, "json", "texts of child pipelines by path", default={})
    workdir: str = tag(29, "string", "where it works, if that is not the folder of its file", default="")
    workspace: Mapping[str, Json] = tag(
        67,
        "json",
        "per repository the branch and commit at which it begins, if it continues another session",
        default={},
    )
    max_cost_micros: int = tag(74, "u64", "--max-cost, in millionths of a dollar", default=0)


@event("PipelineLifecycle")
class PipelineCompleted:
    """The run reached its end and every goal gate holds."""

    status: str = tag(31, "string", "success, or 'completed (no exit)'")
    node: str = tag(32, "string", "the node it ended at")
    duration_ms: int = tag(33, "u64", "from start to end, in milliseconds")
    steps: int = tag(34, "u64", "nodes executed")


@event("PipelineLifecycle")
class PipelineFailed:
    """The run ended without reaching its goal."""

    status: str = tag(31, "string", "fail", default="fail")
    node: str = tag(32, "string", "the node it ended at")
    duration_ms: int = tag(33, "u64", "from start to end, in milliseconds")
    steps: int = tag(34, "u64", "nodes executed")
    error: str = tag(35, "string", "why")
    routing: Mapping[str, Json] = tag(
        45, "json", "the rule that led nowhere, and the edges considered, as in EdgeSelected", default={}
    )


@event("PipelineLifecycle")
class PipelineRestarted:
    """The session ended at a ``loop_restart`` edge and continues in another one (E14).

    The next session begins at the edge's target; it is named before it begins, so that a resume can begin it.
    """

    status: str = tag(31, "string", "restarted", default="restarted")
    node: str = tag(32, "string", "the node it ended at")
    duration_ms: int = tag(33, "u64", "from start to end, in milliseconds")
    steps: int = tag(34, "u64", "nodes executed")
    target: str = tag(51, "string", "the node at which the next session begins")
    next_session: str = tag(52, "string", "the next session")
    next_context: int = tag(53, "u64", "context id of the next session")
    next_mailbox: int = tag(54, "u64", "context id of the next session's mailbox")


@event("PipelineLifecycle")
class PipelinePaused:
    """The run stopped and can be resumed."""

    node: str = tag(32, "string", "the node that comes next", default="")
    reason: str = tag(36, "string", "why, such as: interrupt, received SIGTERM, store, limit")
    request: int = tag(42, "u64", "turn of the mailbox that asked for it", default=0)
    waiting: bool = tag(46, "bool", "it waits for people to answer", default=False)
    limit: str = tag(47, "string", "the limit that was reached, or quota; empty for another pause", default="")


@event("PipelineLifecycle")
class PipelineCanceled:
    """The session was canceled; it can be resumed like a paused one."""

    status: str = tag(31, "string", "canceled", default="canceled")
    node: str = tag(32, "string", "the node that was running, or the next one", default="")
    reason: str = tag(36, "string", "who, and why")
    request: int = tag(42, "u64", "turn of the mailbox that asked for it", default=0)


@event("PipelineLifecycle")
class PipelineResumed:
    """A runner continues the session, from now on with another pipeline or script if one is given.

    An interrupted node runs again: a further attempt that uses up no retry (E4). After a failure the run
    continues at ``node``, which may be entered once more than its ``max_visits`` says. ``granted`` is ``visit``,
    ``steps`` or ``route`` after a failure; of an interrupted node it names what continues in it.
    """

    pipeline: str = tag(10, "string", "name of the graph, where it is another", default="")
    goal: str = tag(11, "string", "its goal", default="")
    dot: Text = tag(13, "text", "the pipeline's text from now on, where it is another", default="")
    file: str = tag(14, "string", "where that text came from", default="")
    graph_hash: str = tag(15, "string", "BLAKE3-256 of that text, in hex", default="")
    simulation: Text = tag(19, "text", "the simulation script from now on, where it is another", default="")
    secrets: tuple[str, ...] = tag(22, "array", "names of the declared secrets whose values were there", default=())
    dotfiles: Mapping[str, ContextValue] = tag(28, "json", "texts of child pipelines by path", default={})
    node: str = tag(32, "string", "the node that comes next", default="")
    again: int = tag(37, "u32", "how often this attempt of the node was restarted", default=0)
    recovery: int = tag(38, "u32", "how often a runner died at this attempt", default=0)
    refused: str = tag(39, "string", "why the node fails instead of running again", default="")
    granted: str = tag(
        40,
        "string",
        "what a failed run is granted, or what of a node continues",
        default="",
    )
    void_until: int = tag(43, "u64", "pauses and cancels of the mailbox up to this turn are void", default=0)
    max_cost_micros: int = tag(74, "u64", "--max-cost, in millionths of a dollar", default=0)


@event("PipelineLifecycle")
class PipelineForked:
    """A session begins in the history of another one: the first turn of a fork that is its own (S27)."""

    label: str = tag(12, "string", "display name of the run", default="")
    variables: Mapping[str, ContextValue] = tag(17, "json", "variables that are different from now on", default={})
    mailbox: int = tag(18, "u64", "context id of the session's mailbox")
    parent: str = tag(24, "string", "the session that it comes from")
    parent_context: int = tag(25, "u64", "context id of that session")
    why: str = tag(26, "string", "why it comes from that one: fork", default="fork")
    from_turn: int = tag(61, "u64", "the turn at which it leaves that one")
    values: Mapping[str, ContextValue] = tag(
        62, "json", "context values that are different from now on", default={}
    )
    origin: str = tag(64, "string", "the session whose history it shares, where that is not its parent", default="")
    until: int = tag(
        65, "u64", "the newest turn that counts of the children in that history, where not from_turn", default=0
    )


@event("PipelineLifecycle")
class PipelineImported:
    """The turns before this one were recorded in another store; their context ids belong there.

    Here the session's mailbox is ``mailbox``, and a restarted session continues in ``next_context``.
    """

    mailbox: int = tag(18, "u64", "context id of the session's mailbox here")
    parent_context: int = tag(25, "u64", "context id of the session that it comes from here, 0 without", default=0)
    holder: str = tag(41, "string", "who was running the session when it was exported, if anybody", default="")
    next_context: int = tag(53, "u64", "context id of the next session here, 0 without", default=0)
    next_mailbox: int = tag(54, "u64", "context id of the next session's mailbox here", default=0)
    children: Mapping[str, Json] = tag(
        63, "json", "context and mailbox here of each child session, by its id", default={}
    )
    branches: Mapping[str, Json] = tag(75, "json", "context here of each branch, by its context there", default={})


@event("PipelineLifecycle")
class PipelineTaken:
    """A new runner has the session (S16): what an older one appends from now on does not count."""

    holder: str = tag(41, "string", "how the runner is named to others")


@event("PipelineLifecycle")
class ChildStarted:
    """A node runs a child pipeline in a session of its own.

    The session is named before it begins: a later run of the node finds it.
    """

    file: str = tag(14, "string", "where the child's text came from", default="")
    node: str = tag(32, "string", "the node that runs it")
    visit: int = tag(55, "u32", "at which visit of the node")
    attempt: int = tag(56, "u32", "at which attempt of the visit")
    child_session: str = tag(57, "string", "the child's session")
    child_context: int = tag(58, "u64", "context id of that session")
    child_mailbox: int = tag(59, "u64", "context id of that session's mailbox")
    until: int = tag(
        65,
        "u64",
        "where it is a fork of the child of another session: the newest turn that counts there",
        default=0,
    )
    again: int = tag(66, "u32", "where it failed and continues: how many nodes it had run then", default=0)


@event("PipelineLifecycle")
class ChildEnded:
    """A child's session has ended; what it spent counts for its parent (E35)."""

    status: str = tag(31, "string", "success, fail, canceled")
    node: str = tag(32, "string", "the node that ran it")
    error: str = tag(35, "string", "why it failed", default="")
    child_session: str = tag(57, "string", "the session in which it ended")
    tokens_in: int = tag(70, "u64", "tokens that its models read", default=0)
    tokens_out: int = tag(71, "u64", "tokens that they wrote", default=0)
    cost_micros: int = tag(72, "u64", "what that cost, in millionths of a dollar", default=0)


@event("NodeExecution")
class StageStarted:
    """A node is entered, or tried again: announced before its handler runs."""

    node: str = tag(10, "string", "node id")
    handler: str = tag(11, "string", "handler type")
    visit: int = tag(12, "u32", "how often the node has been entered, from 1")
    attempt: int = tag(13, "u32", "which attempt of this visit, from 1", default=1)
    of: int = tag(14, "u32", "attempts allowed", default=1)


@event("NodeExecution")
class StageCompleted:
    """A node ended in another status than fail."""

    node: str = tag(10, "string", "node id")
    handler: str = tag(11, "string", "handler type")
    visit: int = tag(12, "u32", "how often the node has been entered, from 1")
    attempt: int = tag(13, "u32", "which attempt of this visit, from 1", default=1)
    status: str = tag(15, "string", "success, partial_success, retry, fail (a diamond's), skipped")
    word: str = tag(16, "string", "the agent's own word for the outcome", default="")
    preferred_label: str = tag(17, "string", "edge label that the node prefers", default="")
    suggested_next_ids: tuple[str, ...] = tag(18, "array", "next nodes that the node suggests", default=())
    prompt: Text = tag(19, "text", "what the agent was asked", default="")
    response: Text = tag(20, "text", "what it answered, whole", default="")
    context_updates: Mapping[str, ContextValue] = tag(21, "json", "changes to the context", default={})
    notes: str = tag(22, "string", "the handler's remark", default="")
    edge: str = tag(25, "string", "the edge that the handler chose", default="")
    duration_ms: int = tag(26, "u64", "in milliseconds, all attempts of the visit", default=0)
    tokens_in: int = tag(28, "u64", "tokens that models read for it, this attempt", default=0)
    tokens_out: int = tag(29, "u64", "tokens that models wrote, this attempt", default=0)
    cost_micros: int = tag(31, "u64", "what that cost, in millionths of a dollar", default=0)


@event("NodeExecution")
class StageFailed:
    """A node ended in failure, its retries used up."""

    node: str = tag(10, "string", "node id")
    handler: str = tag(11, "string", "handler type")
    visit: int = tag(12, "u32", "how often the node has been entered, from 1")
    attempt: int = tag(13, "u32", "which attempt of this visit, from 1", default=1)
    status: str = tag(15, "string", "fail", default="fail")
    preferred_label: str = tag(17, "string", "edge label that the node prefers", default="")
    suggested_next_ids: tuple[str, ...] = tag(18, "array", "next nodes that the node suggests", default=())
    prompt: Text = tag(19, "text", "what the agent was asked", default="")
    response: Text = tag(20, "text", "what it answered, whole", default="")
    context_updates: Mapping[str, ContextValue] = tag(21, "json", "changes to the context", default={})
    notes: str = tag(22, "string", "the handler's remark", default="")
    failure_reason: str = tag(23, "string", "why", default="")
    failure_class: str = tag(24, "string", "transient, terminal, canceled", default="")
    edge: str = tag(25, "string", "the edge that the handler chose", default="")
    duration_ms: int = tag(26, "u64", "in milliseconds, all attempts of the visit", default=0)
    tokens_in: int = tag(28, "u64", "tokens that models read for it, this attempt", default=0)
    tokens_out: int = tag(29, "u64", "tokens that models wrote, this attempt", default=0)
    cost_micros: int = tag(31, "u64", "what that cost, in millionths of a dollar", default=0)


@event("NodeExecution")
class StageRetrying:
    """An attempt ended in retry or fail and another follows after ``delay_ms`` (E21, E22)."""

    node: str = tag(10, "string", "node id")
    handler: str = tag(11, "string", "handler type")
    visit: int = tag(12, "u32", "how often the node has been entered, from 1")
    attempt: int = tag(13, "u32", "the attempt that ended, from 1", default=1)
    of: int = tag(14, "u32", "attempts allowed", default=1)
    status: str = tag(15, "string", "retry or fail")
    prompt: Text = tag(19, "text", "what the agent was asked", default="")
    response: Text = tag(20, "text", "what it answered, whole", default="")
    failure_reason: str = tag(23, "string", "why", default="")
    failure_class: str = tag(24, "string", "transient, terminal, canceled", default="")
    delay_ms: int = tag(27, "u64", "how long to wait before the next attempt, in milliseconds")
    tokens_in: int = tag(28, "u64", "tokens that models read for it, this attempt", default=0)
    tokens_out: int = tag(29, "u64", "tokens that models wrote, this attempt", default=0)
    cost_micros: int = tag(31, "u64", "what that cost, in millionths of a dollar", default=0)


@event("NodeExecution")
class SteeringTaken:
    """An instruction from outside went to the agents of a node: it stood in the prompts of this visit."""

    node: str = tag(10, "string", "node id")
    text: str = tag(40, "string", "the instruction")
    request: int = tag(41, "u64", "turn of the mailbox that holds it")


@event("RoutingDecision")
class EdgeSelected:
    """Where the run continues, and why (engine.md#routing).

    ``edge`` is empty for a jump to a retry target.
    """

    source: str = tag(10, "string", "the node that ended")
    target: str = tag(11, "string", "the node that comes next")
    edge: str = tag(12, "string", "the edge taken: source->target, with #n for the n-th of a pair", default="")
    rule: int = tag(13, "u32", "number of the routing rule that decided")
    reason: str = tag(14, "string", "the same in words")
    candidates: tuple[Mapping[str, Json], ...] = tag(
        15, "json", "the edges considered: condition, whether it held, the values it saw", default=()
    )
    gate: str = tag(16, "string", "the unmet goal gate that sent the run back", default="")
    restart: bool = tag(17, "bool", "the session ends here, another begins at the target", default=False)


@event("Checkpoint")
class CheckpointSaved:
    """A rendering of the folded state after a node (S17); ``state`` now and then holds all of it."""

    current_node: str = tag(10, "string", "the node that just ended")
    next_node: str = tag(11, "string", "the node that comes next, empty at the end", default="")
    completed: int = tag(12, "u64", "nodes executed so far")
    visit: int = tag(13, "u32", "how often the current node has been entered", default=1)
    retries: int = tag(14, "u32", "its retry count, 0 again after a success", default=0)
    changes: Mapping[str, ContextValue] = tag(15, "json", "context changes, the response left out", default={})
    kind: str = tag(16, "string", "run", default="run")
    mailbox: int = tag(17, "u64", "context id of the session's mailbox")
    started_ms: int = tag(18, "unix_ms", "when the session began")
    state: Mapping[str, ContextValue] | None = tag(
        19, "json", "the whole state now and then; a large one is the reference `whole`", default=None
    )
    workspace: Mapping[str, Json] = tag(20, "json", "per repository its commit and branch (W7)", default={})
    cost_micros: int = tag(21, "u64", "cost so far in millionths of a dollar", default=0)


@event("ToolExecution")
class ToolStarted:
    """A tool node's command is about to be started: recorded before it is, so that what a dead runner left
    running is found by its marker (E4)."""

    node: str = tag(10, "string", "node id")
    marker: str = tag(11, "string", "stands in the environment of all that the command starts")
    host: str = tag(12, "string", "the machine")
    command: Text = tag(13, "text", "what the shell is given")
    values: Mapping[str, ContextValue] = tag(14, "json", "the values it names, by variable", default={})
    shell: str = tag(25, "string", "the program that reads the command, with its options", default="")


AGENT_TOOLS = "tools of the agent"
"""The ``command`` of a ToolStarted that stands for all that an agent's tools start."""


@event("ToolExecution")
class ToolExecuted:
    """The command has ended, and nothing that it started is running.

    Output over 1 MiB, or that is no UTF-8 text, is whole in ``output_parts`` and ``stderr_parts``:
    references to blobs, in order. ``output`` and ``stderr`` then show its ends.
    """

    node: str = tag(10, "string", "node id")
    marker: str = tag(11, "string", "stands in the environment of all that the command starts")
    exit_code: int = tag(15, "u32", "128 + n where signal n ended it")
    output: Text = tag(16, "text", "what it wrote to standard output", default="")
    stderr: Text = tag(17, "text", "what it wrote to standard error", default="")
    output_bytes: int = tag(18, "u64", "size of the output", default=0)
    stderr_bytes: int = tag(19, "u64", "size of what it wrote to standard error", default=0)
    output_parts: tuple[Mapping[str, Json], ...] = tag(20, "json", "the blobs that hold the output", default=())
    stderr_parts: tuple[Mapping[str, Json], ...] = tag(21, "json", "the same for standard error", default=())
    duration_ms: int = tag(22, "u64", "in milliseconds", default=0)
    interrupted: bool = tag(23, "bool", "it was ended before it was done", default=False)
    left_behind: int = tag(24, "u32", "processes that were still running and were ended", default=0)


@event("AgentTurn")
class AgentResponded:
    """A model has answered.

    It is recorded before any tool that the answer asks for runs, so that it is never paid for twice (A9).
    ``messages`` are those that were new in the request, then the answer.
    """

    node: str = tag(10, "string", "node id")
    visit: int = tag(11, "u32", "at which visit of the node")
    attempt: int = tag(12, "u32", "at which attempt of the visit")
    thread: str = tag(13, "string", "the conversation")
    number: int = tag(14, "u32", "number of the turn in its conversation, from 1")
    model: str = tag(15, "string", "the model", default="")
    provider: str = tag(16, "string", "its provider, as configured", default="")
    messages: tuple[ContextValue, ...] = tag(17, "json", "messages that are new, oldest first", default=())
    fresh: bool = tag(18, "bool", "the conversation begins here, whatever was said in it before", default=False)
    tokens_in: int = tag(19, "u64", "tokens read, cached ones counted too", default=0)
    tokens_out: int = tag(20, "u64", "tokens written, reasoning counted too", default=0)
    cache_read: int = tag(21, "u64", "tokens read from the provider's cache", default=0)
    cache_write: int = tag(22, "u64", "tokens written to the provider's cache", default=0)
    reasoning: int = tag(23, "u64", "tokens of reasoning", default=0)
    cost_micros: int = tag(24, "u64", "what that cost, in millionths of a dollar", default=0)
    unpriced: bool = tag(25, "bool", "no price is known for the model", default=False)
    stop: str = tag(26, "string", "why the model stopped: stop, tools, length, refusal", default="")
    duration_ms: int = tag(27, "u64", "in milliseconds", default=0)


@event("AgentTurn")
class AgentToolEnded:
    """A tool that may change something has ended; recorded before the next such tool runs (A9)."""

    node: str = tag(10, "string", "node id")
    visit: int = tag(11, "u32", "at which visit of the node")
    attempt: int = tag(12, "u32", "at which attempt of the visit")
    thread: str = tag(13, "string", "the conversation")
    number: int = tag(14, "u32", "number of the turn in its conversation, from 1")
    messages: tuple[ContextValue, ...] = tag(17, "json", "the result, as the model gets it", default=())
    duration_ms: int = tag(27, "u64", "in milliseconds", default=0)
    tool: str = tag(31, "string", "the tool's name")
    call: str = tag(32, "string", "id of the call")
    files_written: tuple[str, ...] = tag(33, "array", "paths of the files it wrote", default=())
    is_error: bool = tag(34, "bool", "the tool failed", default=False)


@event("AgentTurn")
class AgentTurnCompleted:
    """A turn of an agent's loop has ended: a request, the answer, and the tools that it asked for.

    ``messages`` are the turn's that no event before this one holds; tokens and cost are the whole turn's.
    """

    node: str = tag(10, "string", "node id")
    visit: int = tag(11, "u32", "at which visit of the node")
    attempt: int = tag(12, "u32", "at which attempt of the visit")
    thread: str = tag(13, "string", "the conversation")
    number: int = tag(14, "u32", "number of the turn in its conversation, from 1")
    model: str = tag(15, "string", "the model", default="")
    provider: str = tag(16, "string", "its provider, as configured", default="")
    messages: tuple[ContextValue, ...] = tag(17, "json", "messages not recorded before, oldest first", default=())
    fresh: bool = tag(18, "bool", "the conversation begins here, whatever was said in it before", default=False)
    tokens_in: int = tag(19, "u64", "tokens read, cached ones counted too", default=0)
    tokens_out: int = tag(20, "u64", "tokens written, reasoning counted too", default=0)
    cache_read: int = tag(21, "u64", "tokens read from the provider's cache", default=0)
    cache_write: int = tag(22, "u64", "tokens written to the provider's cache", default=0)
    reasoning: int = tag(23, "u64", "tokens of reasoning", default=0)
    cost_micros: int = tag(24, "u64", "what that cost, in millionths of a dollar", default=0)
    unpriced: bool = tag(25, "bool", "no price is known for the model", default=False)
    duration_ms: int = tag(27, "u64", "in milliseconds", default=0)
    files_written: tuple[str, ...] = tag(33, "array", "paths of the files that the turn wrote", default=())
    tool_calls: tuple[Mapping[str, Json], ...] = tag(
        35, "json", "the tools that were called: id, name, error, milliseconds", default=()
    )
    agent_state: Mapping[str, ContextValue] = tag(36, "json", "what the backend needs to continue", default={})
    git_sha: str = tag(37, "string", "the commit that holds the turn's changes", default="")
    commit_message: str = tag(38, "string", "its subject", default="")


@event("AgentTurn")
class ConversationCompacted:
    """A conversation that was about to fill its model's window was made shorter (E40).

    ``messages`` replace everything before. ``model`` wrote the summary in them; if it is empty, old results were
    removed.
    """

    node: str = tag(10, "string", "node id")
    visit: int = tag(11, "u32", "at which visit of the node")
    attempt: int = tag(12, "u32", "at which attempt of the visit")
    thread: str = tag(13, "string", "the conversation")
    number: int = tag(14, "u32", "number of the last turn in its conversation")
    model: str = tag(15, "string", "the model that wrote the summary", default="")
    provider: str = tag(16, "string", "its provider, as configured", default="")
    messages: tuple[ContextValue, ...] = tag(17, "json", "the conversation as it is now, oldest first", default=())
    tokens_in: int = tag(19, "u64", "tokens read for the summary", default=0)
    tokens_out: int = tag(20, "u64", "tokens written for it", default=0)
    cost_micros: int = tag(24, "u64", "what that cost, in millionths of a dollar", default=0)
    unpriced: bool = tag(25, "bool", "no price is known for the model", default=False)
    duration_ms: int = tag(27, "u64", "in milliseconds", default=0)
    removed: int = tag(45, "u32", "messages that are not repeated", default=0)
    before: int = tag(46, "u64", "tokens that the conversation had, about", default=0)


@event("ParallelExecution", version=2)
class ParallelStarted:
    """A parallel node starts its branches; each is a fork of the chain at this turn (E30)."""

    node: str = tag(10, "string", "the parallel node")
    visit: int = tag(11, "u32", "how often the node has been entered, from 1")
    attempt: int = tag(12, "u32", "which attempt of this visit, from 1", default=1)
    fan_in: str = tag(13, "string", "where its branches meet, empty where they do not", default="")
    branches: tuple[Mapping[str, Json], ...] = tag(14, "json", "the branches: id, target, edge, item", default=())
    upstream: tuple[str, ...] = tag(15, "array", "nodes by which a branch would leave its piece", default=())
    join_policy: str = tag(16, "string", "when it is done", default="wait_all")
    error_policy: str = tag(17, "string", "what a failed branch does", default="continue")
    max_parallel: int = tag(18, "u32", "branches at once", default=4)


@event("ParallelExecution", version=2)
class ParallelBranchStarted:
    """A branch is about to begin, in a context of its own; recorded in the chain of its parallel node."""

    node: str = tag(10, "string", "the parallel node")
    branch_id: str = tag(20, "string", "the branch's id")
    index: int = tag(21, "u32", "its place in the order of branches, from 0", default=0)
    branch_context: int = tag(22, "u64", "context id of the branch")
    from_turn: int = tag(23, "u64", "the turn at which it leaves this chain")


@event("ParallelExecution", version=2)
class ParallelBranchOpened:
    """The first turn of a branch's own; earlier turns belong to its parallel node's walk."""

    node: str = tag(10, "string", "the parallel node")
    fan_in: str = tag(13, "string", "where the branch ends, empty where branches do not meet", default="")
    upstream: tuple[str, ...] = tag(15, "array", "nodes by which it would leave its piece", default=())
    branch_id: str = tag(20, "string", "the branch's id")
    index: int = tag(21, "u32", "its place in the order of branches, from 0", default=0)
    path: str = tag(24, "string", "its path from the main walk, such as fan/security")
    target: str = tag(25, "string", "the node at which it begins")
    values: Mapping[str, ContextValue] = tag(26, "json", "what its context has besides: the item", default={})


@event("ParallelExecution", version=2)
class ParallelBranchEnded:
    """The walk of a branch has ended, at its fan-in, at an exit, at a dead end or in failure."""

    node: str = tag(10, "string", "the node at which it ended")
    status: str = tag(31, "string", "status of its last node")
    failure_reason: str = tag(32, "string", "why it failed", default="")


@event("ParallelExecution", version=2)
class ParallelBranchCompleted:
    """A branch's result, in the chain of its parallel node, with its share of the ledger (E31, E35)."""

    node: str = tag(10, "string", "the parallel node")
    branch_id: str = tag(20, "string", "the branch's id")
    branch_context: int = tag(22, "u64", "context id of the branch")
    status: str = tag(31, "string", "success, partial_success, retry, fail, skipped, canceled")
    failure_reason: str = tag(32, "string", "why it failed", default="")
    notes: str = tag(33, "string", "the last remark of its handlers", default="")
    updates: Mapping[str, ContextValue] = tag(34, "json", "its changes to the context", default={})
    response: Text = tag(35, "text", "its last agent's answer", default="")
    score: Mapping[str, Json] = tag(36, "json", "its score, as `value`, where it has one", default={})
    duration_ms: int = tag(37, "u64", "from its beginning to its end, in milliseconds", default=0)
    turns: int = tag(38, "u64", "turns in its chain", default=0)
    git_branch: str = tag(39, "string", "its git branch", default="")
    ended_at: str = tag(40, "string", "the node at which it ended", default="")
    steps: int = tag(41, "u64", "nodes that it executed", default=0)
    nodes: Mapping[str, Json] = tag(42, "json", "what it adds to the counts of each node", default={})
    tokens_in: int = tag(43, "u64", "tokens that its models read", default=0)
    tokens_out: int = tag(44, "u64", "tokens that they wrote", default=0)
    cost_micros: int = tag(45, "u64", "what that cost, in millionths of a dollar", default=0)
    steered: tuple[int, ...] = tag(
        48, "array", "turns of the mailbox whose instructions its agents had", default=()
    )
    git_commits: Mapping[str, Json] = tag(49, "json", "the commit of its git branch, per repository", default={})


@event("ParallelExecution", version=2)
class ParallelCompleted:
    """The fan-out is decided (E32)."""

    node: str = tag(10, "string", "the parallel node")
    status: str = tag(31, "string", "success, partial_success, fail, skipped")
    failure_reason: str = tag(32, "string", "why it failed", default="")
    success_count: int = tag(46, "u32", "branches that succeeded", default=0)
    failure_count: int = tag(47, "u32", "branches that failed", default=0)


@event("WorkspaceSnapshot")
class SessionBranchCreated:
    """A repository gets a branch for the session (W2).

    It is recorded before the branch exists, so that a resume makes the same one.
    """

    repo: str = tag(10, "string", "name of the repository in the settings")
    branch: str = tag(11, "string", "the session branch")
    base: str = tag(12, "string", "hash of the commit that its changes are shown against")
    base_branch: str = tag(13, "string", "the branch that was checked out, empty for a detached HEAD", default="")
    path: str = tag(15, "string", "where the repository is")
    commit: str = tag(
        16, "string", "hash of the commit that it begins at, if another session's work is in it", default=""
    )
    owner: str = tag(31, "string", "the session")


@event("WorkspaceSnapshot")
class WorktreeCreated:
    """A worktree stands on its branch: the session's own, or that of a parallel branch (W1, W5)."""

    repo: str = tag(10, "string", "name of the repository in the settings")
    branch: str = tag(11, "string", "the branch checked out there")
    folder: str = tag(14, "string", "the worktree")
    path: str = tag(15, "string", "where the repository is", default="")
    commit: str = tag(16, "string", "hash of the commit checked out")


@event("WorkspaceSnapshot")
class AgentCommitCreated:
    """Changes of an agent's turn or of a node were committed (W3).

    It is recorded with that turn, or with the node's end.
    """

    repo: str = tag(10, "string", "name of the repository in the settings")
    branch: str = tag(11, "string", "the branch that it is on")
    commit: str = tag(16, "string", "hash of the commit")
    node: str = tag(17, "string", "node id")
    origin: str = tag(
        18, "string", "node.visit.attempt and the agent's turn, as in the trailer Orchestra-Turn", default=""
    )
    message: str = tag(19, "string", "the commit message's first line", default="")
    files: tuple[str, ...] = tag(20, "array", "the files in it, at most 100", default=())
    left_out: tuple[str, ...] = tag(21, "array", "files written that git ignores", default=())
    own: bool = tag(22, "bool", "the agent or command committed it itself", default=False)
    changed: int = tag(27, "u32", "how many files are in it", default=0)


@event("WorkspaceSnapshot")
class CommitMessageWritten:
    """A model has written a commit message (``commit_messages: auto``) (W3).

    It is recorded before the commit is made, so that a repeat makes the same one and pays for none.
    """

    repo: str = tag(10, "string", "name of the repository in the settings")
    node: str = tag(17, "string", "node id")
    text: str = tag(33, "string", "the message; empty where the model had none", default="")
    change: str = tag(34, "string", "what identifies the change that it describes")
    model: str = tag(35, "string", "the model", default="")
    provider: str = tag(36, "string", "its provider, as configured", default="")
    tokens_in: int = tag(37, "u64", "tokens read, cached ones counted too", default=0)
    tokens_out: int = tag(38, "u64", "tokens written, reasoning counted too", default=0)
    cost_micros: int = tag(39, "u64", "what that cost, in millionths of a dollar", default=0)
    unpriced: bool = tag(40, "bool", "no price is known for the model", default=False)
    duration_ms: int = tag(41, "u64", "in milliseconds", default=0)


@event("WorkspaceSnapshot")
class WorkspaceSnapshot:
    """Where the code stands, when it moved by something else than a commit of this chain (W7)."""

    repos: Mapping[str, Json] = tag(
        23, "json", "per repository its commit and branch, at the end also what is left unmerged", default={}
    )
    reason: str = tag(24, "string", "what moved it", default="")


@event("WorkspaceSnapshot")
class WorktreeMerged:
    """The commits of a parallel branch are in the branch of the walk that fans in (W6)."""

    repo: str = tag(10, "string", "name of the repository in the settings")
    branch: str = tag(11, "string", "the branch merged into")
    commit: str = tag(16, "string", "hash of that branch afterwards")
    source: str = tag(25, "string", "the branch merged")
    commits: int = tag(28, "u32", "how many commits came with it", default=0)


@event("WorkspaceSnapshot")
class WorktreeMergeConflict:
    """A parallel branch could not be merged; its branch and its worktree are kept (W6)."""

    repo: str = tag(10, "string", "name of the repository in the settings")
    branch: str = tag(11, "string", "the branch that it was to be merged into")
    folder: str = tag(14, "string", "the worktree that is kept", default="")
    source: str = tag(25, "string", "the branch that is not merged")
    conflicts: tuple[Mapping[str, Json], ...] = tag(26, "json", "per file its conflict hunks", default=())


@event("WorkspaceSnapshot")
class RepoCloned:
    """A repository that was missing was cloned from its remote (W9)."""

    repo: str = tag(10, "string", "name of the repository in the settings")
    path: str = tag(15, "string", "where it is now")
    commit: str = tag(16, "string", "hash of its current commit", default="")
    url: str = tag(29, "string", "the remote")


@event("WorkspaceSnapshot")
class RepoFetched:
    """What the remote has was fetched (W9)."""

    repo: str = tag(10, "string", "name of the repository in the settings")
    path: str = tag(15, "string", "where the repository is")
    url: str = tag(29, "string", "the remote")


@event("WorkspaceSnapshot")
class SessionBranchPushed:
    """The session branch is on the remote (W9)."""

    repo: str = tag(10, "string", "name of the repository in the settings")
    branch: str = tag(11, "string", "the branch pushed")
    commit: str = tag(16, "string", "hash of the commit that the remote has now")
    url: str = tag(29, "string", "the remote")


@event("WorkspaceSnapshot")
class SessionBranchPushFailed:
    """A push failed; it is tried again at the end of the run (W9)."""

    repo: str = tag(10, "string", "name of the repository in the settings")
    branch: str = tag(11, "string", "the branch that was to be pushed")
    reason: str = tag(24, "string", "what git said")
    url: str = tag(29, "string", "the remote")


@event("WorkspaceSnapshot")
class CleanupCompleted:
    """Branches and worktrees of the ended session were removed; recorded in its mailbox (W11)."""

    repo: str = tag(10, "string", "name of the repository in the settings")
    branch: str = tag(11, "string", "the branch removed")
    commit: str = tag(16, "string", "its last commit")
    reason: str = tag(24, "string", "what removed it: cleanup, merge, discard", default="")
    trash: str = tag(32, "string", "the ref that still holds it", default="")


@event("HumanInteraction")
class InterviewStarted:
    """A person is asked; the question is pending from now on (H7).

    It is recorded before the question is shown.
    """

    question: str = tag(10, "string", "the question's id")
    node: str = tag(11, "string", "the node that asks")
    text: str = tag(12, "string", "what is asked")
    kind: str = tag(13, "string", "yes_no, multiple_choice, freeform, confirmation")
    options: tuple[Mapping[str, Json], ...] = tag(
        14, "json", "the choices: key, label, and the node it leads to", default=()
    )
    freeform: bool = tag(15, "bool", "words of the person's own are an answer too", default=False)
    choice: str = tag(16, "string", "the key of the choice that is taken when time is up", default="")
    timeout_ms: int = tag(17, "u64", "how long the person has while asked, in milliseconds; 0: no limit", default=0)
    about: Text = tag(18, "text", "what is to be decided, as Markdown", default="")
    part: str = tag(19, "string", "which exchange, or which turn and call, of an agent's question", default="")
    after: int = tag(20, "u64", "answers up to this turn of the mailbox do not count", default=0)
    details: Mapping[str, ContextValue] = tag(21, "json", "more about the question", default={})


@event("HumanInteraction")
class InterviewCompleted:
    """A question was answered: by the first message of the mailbox that is an answer to it."""

    question: str = tag(10, "string", "the question's id")
    node: str = tag(11, "string", "the node that asks")
    value: str = tag(22, "string", "key of the choice, YES, NO, SKIPPED, TIMEOUT; empty: free text", default="")
    label: str = tag(23, "string", "the choice in words", default="")
    target: str = tag(24, "string", "the node it leads to", default="")
    said: Text = tag(25, "text", "what the person wrote", default="")
    who: str = tag(26, "string", "who answered", default="")
    answered_ms: int = tag(27, "unix_ms", "when", default=0)
    automatic: bool = tag(
        28, "bool", "not decided by a person: a default, a file of answers, auto-approval", default=False
    )
    request: int = tag(29, "u64", "turn of the mailbox that holds the answer", default=0)
    duration_ms: int = tag(31, "u64", "since the question was asked, in milliseconds", default=0)


@event("HumanInteraction")
class InterviewTimeout:
    """The time for an answer is up; a default, if any, is the answer."""

    question: str = tag(10, "string", "the question's id")
    node: str = tag(11, "string", "the node that asks")
    choice: str = tag(16, "string", "the key of the choice that is taken instead", default="")
    timeout_ms: int = tag(17, "u64", "how long the person had, in milliseconds")


@event("Warning", name="Warning")
class WarningRaised:
    """Something that a person should know, and that stops nothing."""

    message: str = tag(10, "string", "what")
    rule: str = tag(11, "string", "which rule", default="")
    node: str = tag(12, "string", "at which node", default="")


@event("SessionControl")
class SessionOpened:
    """The first turn of a mailbox: names the session it belongs to (S13, S15)."""

    context: int = tag(10, "u64", "context id of the session")
    pipeline: str = tag(11, "string", "name of the graph")


@event("SessionControl")
class BranchMirrored:
    """A branch of a mirrored session has a context here; recorded where the session is listed (S22)."""

    branch_context: int = tag(24, "u64", "context id of the branch in the original store")
    context: int = tag(25, "u64", "context id of the branch here")


@event("SessionControl")
class ControlRequested:
    """A request to the session's runner (S15); its effect is in the session's own chain."""

    action: str = tag(17, "string", "pause, interrupt, cancel, steer, answer")
    text: str = tag(18, "string", "an instruction, why, or the text of an answer", default="")
    who: str = tag(19, "string", "who asked", default="")
    question: str = tag(20, "string", "the question that is answered", default="")
    value: str = tag(21, "string", "the answer: key of a choice, YES, NO, SKIPPED, TIMEOUT", default="")
    automatic: bool = tag(22, "bool", "not decided by a person at that moment", default=False)
    label: str = tag(23, "string", "the choice as shown to the person", default="")


@event("SessionControl")
class RunnerClaimed:
    """A runner claims the session, or is still there; of claims for one epoch the first wins (S16)."""

    token: str = tag(12, "string", "which runner: its holder's name, and when it claimed")
    holder: str = tag(13, "string", "how it is named to others")
    ttl_ms: int = tag(14, "u64", "how long the claim is valid after its last sign of life, in milliseconds")
    first: int = tag(15, "u64", "turn of its first claim; absent in that one", default=0)
    local: bool = tag(16, "bool", "a lock of the operating system backs it", default=False)


@event("SessionControl")
class RunnerReleased:
    """A runner gives the session back."""

    token: str = tag(12, "string", "which runner")


@event("SessionControl")
class CanaryPlanted:
    """A turn by which ``doctor`` sees later whether a server still has what it had (S21)."""


@event("SessionControl")
class RunnerAsked:
    """Another process checks whether the session's runner lives; the turn's time is the store's."""


Event: TypeAlias = (
    PipelineStarted
    | PipelineCompleted
    | PipelineFailed
    | PipelineRestarted
    | PipelinePaused
    | PipelineCanceled
    | PipelineResumed
    | ChildStarted
    | ChildEnded
    | StageStarted
    | StageCompleted
    | StageFailed
    | StageRetrying
    | SteeringTaken
    | EdgeSelected
    | CheckpointSaved
    | ToolStarted
    | ToolExecuted
    | AgentResponded
    | AgentToolEnded
    | AgentTurnCompleted
    | ConversationCompacted
    | ParallelStarted
    | ParallelBranchStarted
    | ParallelBranchOpened
    | ParallelBranchEnded
    | ParallelBranchCompleted
    | ParallelCompleted
    | SessionBranchCreated
    | WorktreeCreated
    | CommitMessageWritten
    | AgentCommitCreated
    | WorkspaceSnapshot
    | WorktreeMerged
    | WorktreeMergeConflict
    | RepoCloned
    | RepoFetched
    | SessionBranchPushed
    | SessionBranchPushFailed
    | CleanupCompleted
    | InterviewStarted
    | InterviewCompleted
    | InterviewTimeout
    | WarningRaised
    | PipelineForked
    | PipelineImported
    | PipelineTaken
    | SessionOpened
    | BranchMirrored
    | ControlRequested
    | RunnerClaimed
    | RunnerReleased
    | RunnerAsked
    | CanaryPlanted
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnreadableEvent:
    """A turn that this program cannot read as an event: foreign, or written by a newer one (S10)."""

    type_id: str
    type_version: int
    reason: str


class Recorded(Struct, frozen=True):
    """An event as it stands in the store: its envelope, and the turn that holds it (0: not yet stored)."""

    meta: Meta
    event: Event
    turn_id: int = 0
    depth: int = 0
    parent: int = 0


class ToolOutput(Struct, frozen=True, kw_only=True):
    """What a command writes, as it comes: shown while it happens, never recorded (E3)."""

    node: str
    stream: str
    text: str


class StoreSilent(Struct, frozen=True, kw_only=True):
    """The store's server has not answered for ``silent_ms``; never recorded (S20).

    The run waits until ``until`` (UTC ms); 0 means that it answers again.
    """

    store: str
    silent_ms: int
    until: int


class LiveEvent(Struct, frozen=True):
    """Something of a run that is not recorded, with the envelope of what is; its sequence is 0."""

    meta: Meta
    event: ToolOutput | StoreSilent
