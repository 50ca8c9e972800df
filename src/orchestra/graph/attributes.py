"""The attribute table: every known key with its type, default and aliases (language.md#attributes).

The parser types values by it, the linter checks and suggests by it, and the documentation prints it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

from orchestra.graph.nearest import nearest


@dataclass(frozen=True, slots=True, order=True)
class Duration:
    """A length of time in milliseconds."""

    milliseconds: int

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.milliseconds / 1000

    def __str__(self) -> str:
        """The shortest exact form: ``1d``, ``90s``, ``250ms``; zero is ``0s``."""
        if self.milliseconds == 0:
            return "0s"
        for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
            if self.milliseconds % size == 0:
                return f"{self.milliseconds // size}{unit}"
        return f"{self.milliseconds}ms"


Value: TypeAlias = str | int | float | bool | Duration

SHAPES: dict[str, str] = {
    "Mdiamond": "start",
    "Msquare": "exit",
    "box": "codergen",
    "hexagon": "wait.human",
    "diamond": "conditional",
    "component": "parallel",
    "tripleoctagon": "parallel.fan_in",
    "parallelogram": "tool",
    "house": "stack.manager_loop",
}
"""Which handler a shape picks (language.md#shapes-and-handlers)."""

BUILT_IN_TYPES = frozenset({*SHAPES.values(), "pipeline"})
"""The handler types that come with the program; they are never run as something else (engine.md#handlers)."""

DRAWN_SHAPES = frozenset(
    "Mcircle Mrecord assembly box3d cds circle cylinder doublecircle doubleoctagon egg ellipse fivepoverhang folder"
    " invhouse invtrapezium invtriangle larrow lpromoter none note noverhang octagon oval pentagon plain plaintext"
    " plasmid point polygon primersite promoter proteasesite proteinstab rarrow record rect rectangle"
    " restrictionsite ribosite rnastab rpromoter septagon signature square star tab terminator threepoverhang"
    " trapezium triangle underline utr component parallelogram".split()
)
"""Graphviz' other shapes: drawn, but they pick no handler."""


class ValueKind(StrEnum):
    """What a value has to be (L5, L6)."""

    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"
    BOOLEAN = "boolean"
    DURATION = "duration"
    NODE = "node id"
    CHOICE = "choice"
    FIDELITY = "fidelity"


@dataclass(frozen=True, slots=True)
class Entry:
    """One key of the table. ``choices`` are the words of a choice; an empty default means none."""

    key: str
    kind: ValueKind
    default: Value | None
    meaning: str
    choices: tuple[str, ...] = ()
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class AttributeScope:
    """The keys that mean something on a graph, a node or an edge."""

    name: str
    entries: dict[str, Entry]
    aliases: dict[str, str]
    old_words: dict[str, str]
    prefixes: tuple[str, ...]
    drawing: frozenset[str]

    def default(self, key: str) -> Value | None:
        """Return the default of a key; None if it has none."""
        entry = self.entries.get(key)
        return None if entry is None else entry.default

    def canonical(self, key: str) -> str:
        """Return the key that an alias or an old word stands for."""
        return self.aliases.get(key) or self.old_words.get(key) or key

    def entry(self, key: str) -> Entry | None:
        """What the table says of a canonical key."""
        return self.entries.get(key)

    def knows(self, key: str) -> bool:
        """Whether a key means something here, or is one of Graphviz' own, or of a handler's family."""
        return (
            key in self.entries
            or key in self.aliases
            or key in self.old_words
            or key in self.drawing
            or key.startswith(self.prefixes)
        )

    def nearest(self, key: str) -> str:
        """The known key within edit distance 2 of an unknown one; empty where there is none (section 2)."""
        return nearest(key, (*self.entries, *self.aliases))


_S, _I, _B, _D, _N, _C, _F = (
    ValueKind.STRING,
    ValueKind.INTEGER,
    ValueKind.BOOLEAN,
    ValueKind.DURATION,
    ValueKind.NODE,
    ValueKind.CHOICE,
    ValueKind.FIDELITY,
)
FIDELITIES = ("full", "truncate", "compact", "summary:low", "summary:medium", "summary:high")

_GRAPH = (
    Entry("goal", _S, "", "purpose of the pipeline; `$goal` in prompts, `graph.goal` in the context"),
    Entry("label", _S, "", "display name"),
    Entry("model_stylesheet", _S, "", "rules that choose the models of nodes"),
    Entry("default_max_retries", _I, 0, "retries of nodes without `max_retries`", minimum=0),
    Entry("retry_target", _N, "", "node to which an unmet goal gate sends the run"),
    Entry("fallback_retry_target", _N, "", "used if `retry_target` is not a node"),
    Entry("default_fidelity", _F, "", "how much earlier work a node's model sees"),
    Entry("thread_id", _S, "", "conversation shared by nodes with fidelity `full`"),
    Entry("default_max_visits", _I, 0, "limit for nodes without `max_visits`; 0 means no limit", minimum=0),
    Entry("max_steps", _I, 10000, "number of executed nodes after which the run fails", minimum=0),
    Entry("llm_model", _S, "", "model of nodes that set none"),
    Entry("llm_provider", _S, "", "provider of nodes that set none"),
    Entry("reasoning_effort", _S, "", "reasoning effort of nodes that set none"),
    Entry("goal_gates", _C, "visited", "whether an unvisited goal gate blocks the exit", ("visited", "all")),
    Entry("stack.child_dotfile", _S, "", "child pipeline of manager loops"),
    Entry("stack.child_workdir", _S, "", "working folder of the child"),
    Entry("shell", _S, "", "program that reads tool nodes' commands"),
    Entry("inputs", _S, "", "the run's variables, with defaults: `version, env=staging`"),
    Entry("tool_hooks.pre", _S, "", "shell command before every tool call of a model"),
    Entry("tool_hooks.post", _S, "", "shell command after every tool call of a model"),
)
_NODE = (
    Entry("label", _S, None, "display name (default: the id); the prompt if `prompt` is empty"),
    Entry("shape", _S, "box", "selects the handler"),
    Entry("type", _S, "", "name of the handler; overrides `shape`"),
    Entry("prompt", _S, "", "the instruction"),
    Entry("max_retries", _I, None, "retries after the first attempt (default: the graph's)", minimum=0),
    Entry(
        "retry_policy",
        _C,
        "standard",
        "delays between attempts",
        ("none", "standard", "aggressive", "linear", "patient"),
    ),
    Entry("goal_gate", _B, False, "must end in success or partial_success before the exit"),
    Entry("retry_target", _N, "", "node to which a failure sends the run"),
    Entry("fallback_retry_target", _N, "", "used if `retry_target` is not a node"),
    Entry("max_visits", _I, None, "maximum number of visits; 0 means no limit", minimum=0),
    Entry("fidelity", _F, "", "how much earlier work the node's model sees"),
    Entry("thread_id", _S, "", "conversation shared by nodes with fidelity `full`"),
    Entry("class", _S, "", "classes for the stylesheet, separated by commas or spaces"),
    Entry("timeout", _D, None, "time limit of each attempt"),
    Entry("llm_model", _S, "", "model"),
    Entry("llm_provider", _S, "", "provider"),
    Entry("reasoning_effort", _S, "", "reasoning effort"),
    Entry("auto_status", _B, False, "success if the handler reports no status"),
    Entry("allow_partial", _B, False, "partial_success instead of failure when retries are exhausted"),
    Entry("on_interrupt", _C, "rerun", "what a resume does with an interrupted attempt", ("rerun", "fail", "ask")),
    Entry("agent", _S, "", "name of an agent in the configuration"),
    Entry("backend", _S, "", "backend of this node"),
    Entry("output_schema", _S, "", "JSON Schema of the answer, as JSON or as a file's name"),
    Entry("attach", _S, "", "files and images for the agent, separated by commas; patterns are allowed"),
    Entry("fallbacks", _S, "", "provider:model to use when the model fails, separated by commas"),
    Entry("cli", _S, "", "command-line agent by its name in the configuration, for backend=cli"),
    Entry("tool_command", _S, "", "shell command of a tool node"),
    Entry("shell", _S, "", "program that reads the command; sh, or bash -eo pipefail for a goal gate"),
    Entry(
        "join_policy",
        _C,
        "wait_all",
        "when a fan-out is complete",
        ("wait_all", "first_success", "k_of_n", "quorum"),
    ),
    Entry(
        "error_policy", _C, "continue", "what happens after a failed branch", ("continue", "fail_fast", "ignore")
    ),
    Entry("max_parallel", _I, 4, "branches that run at the same time", minimum=1),
    Entry("k", _I, None, "number of successes required by `k_of_n`", minimum=1),
    Entry(
        "quorum",
        ValueKind.FLOAT,
        None,
        "fraction of branches required by `quorum`, from 0 to 1",
        minimum=0,
        maximum=1,
    ),
    Entry("for_each", _S, "", "key of a list in the context: one branch per item"),
    Entry("max_items", _I, 100, "maximum number of items of `for_each`", minimum=1),
    Entry("merge", _C, "none", "branches whose context updates a fan-in adopts", ("best", "all", "none")),
    Entry("merge_code", _C, None, "branches whose commits a fan-in merges", ("all", "best", "none")),
    Entry("human.default_choice", _S, "", "choice after the timeout"),
    Entry("human.timeout", _D, None, "time limit for an answer"),
    Entry("agent.role", _S, "", "role file or text"),
    Entry("agent.persona", _S, "", "persona file or text"),
    Entry("agent.personality", _S, "", "personality file or text"),
    Entry("agent.task", _S, "", "task file"),
    Entry("agent.tools", _S, "", "tools by name, separated by commas"),
    Entry("agent.mode", _C, "", "interactive: a person talks with the agent", ("", "autonomous", "interactive")),
    Entry("manager.poll_interval", _D, Duration(45_000), "interval between checks of the child"),
    Entry("manager.max_cycles", _I, 1000, "number of checks after which a manager gives up", minimum=1),
    Entry("manager.stop_condition", _S, "", "condition under which a manager ends its child as a success"),
    Entry("manager.actions", _S, "observe,wait", "actions of a manager: observe, steer, wait"),
    Entry("manager.steer_cooldown", _D, None, "minimum time between two instructions"),
    Entry("stack.child_autostart", _B, True, "start the child, or attach to a running one"),
    Entry("stack.child_dotfile", _S, "", "child pipeline"),
    Entry("stack.child_workdir", _S, "", "working folder of the child"),
    Entry("stack.child_session", _S, "", "session of a running child"),
    Entry("tool_hooks.pre", _S, "", "shell command before every tool call of the model"),
    Entry("tool_hooks.post", _S, "", "shell command after every tool call of the model"),
)
_EDGE = (
    Entry("label", _S, "", "display name; compared with a preferred label"),
    Entry("condition", _S, "", "condition under which the edge applies"),
    Entry("weight", _I, 0, "priority among edges that apply; the highest wins"),
    Entry("fidelity", _F, "", "how much earlier work the target's model sees"),
    Entry("thread_id", _S, "", "conversation of the target"),
    Entry("loop_restart", _B, False, "end the session and start a new one at the target"),
    Entry("max_visits", _I, 0, "how often the edge may be taken; 0 means no limit", minimum=0),
    Entry("human.freeform", _B, False, "accepts free text at a human gate"),
)
_DRAWING = frozenset(
    "_background area arrowhead arrowsize arrowtail bb beautify bgcolor center charset cluster clusterrank"
    " color colorscheme comment compound concentrate constraint Damping decorate defaultdist dim dimen dir"
    " diredgeconstraints distortion dpi edgehref edgetarget edgetooltip edgeURL epsilon esep fillcolor"
    " fixedsize fontcolor fontname fontnames fontpath fontsize forcelabels gradientangle group head_lp"
    " headclip headhref headlabel headport headtarget headtooltip headURL height href id image imagepath"
    " imagepos imagescale inputscale K label_scheme labelangle labeldistance labelfloat labelfontcolor"
    " labelfontname labelfontsize labelhref labeljust labelloc labeltarget labeltooltip labelURL landscape"
    " layer layerlistsep layers layerselect layersep layout len levels levelsgap lhead lheight linelength lp"
    " ltail lwidth margin maxiter mclimit mindist minlen mode model newrank nodesep nojustify normalize"
    " notranslate nslimit nslimit1 oneblock ordering orientation outputorder overlap overlap_scaling"
    " overlap_shrink pack packmode pad page pagedir pencolor penwidth peripheries pin pos quadtree quantum"
    " radius rank rankdir ranksep ratio rects regular remincross repulsiveforce resolution root rotate"
    " rotation samehead sametail samplepoints scale searchsize sep shapefile showboxes sides size skew"
    " smoothing sortv splines start style stylesheet tail_lp tailclip tailhref taillabel tailport tailtarget"
    " tailtooltip tailURL target TBbalance tooltip truecolor URL vertices viewport voro_margin width"
    " xdotversion xlabel xlp z".split()
)


def _scope(
    name: str,
    entries: tuple[Entry, ...],
    *,
    aliases: dict[str, str],
    old_words: dict[str, str],
    prefixes: tuple[str, ...],
) -> AttributeScope:
    return AttributeScope(name, {entry.key: entry for entry in entries}, aliases, old_words, prefixes, _DRAWING)


GRAPH = _scope(
    "graph",
    _GRAPH,
    aliases={"model_spec": "model_stylesheet", "default_max_retry": "default_max_retries"},
    old_words={"context_fidelity_default": "default_fidelity", "context_thread_default": "thread_id"},
    prefixes=("stack.", "tool_hooks."),
)
NODE = _scope(
    "node",
    _NODE,
    aliases={"backoff_policy": "retry_policy"},
    old_words={"llm_prompt": "prompt", "node_type": "type", "script": "tool_command"},
    prefixes=("agent.", "human.", "manager.", "stack.", "tool_hooks."),
)
EDGE = _scope("edge", _EDGE, aliases={}, old_words={}, prefixes=("human.",))
