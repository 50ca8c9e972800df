"""Facts about a graph that several rules need, each computed once; and wording that they share."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from typing import TypeAlias, TypeVar

from orchestra.errors import Diagnostic, Edit, Severity, Span
from orchestra.graph.attributes import SHAPES
from orchestra.graph.conditions import Condition
from orchestra.graph.edits import inside, rewritten
from orchestra.graph.flow import reachable
from orchestra.graph.joins import Before, Meetings, meetings, ways_of_the_run
from orchestra.graph.model import Attribute, Edge, Graph, Node
from orchestra.graph.nearest import Vocabulary
from orchestra.graph.tokens import in_quotes

RETRIES = ("retry_target", "fallback_retry_target")
"""Attributes that name where a run goes back to, the first that names a node first."""

MOST_ASKED = 500
"""Questions about what a node leads to, each of which costs a walk, that are answered in one graph."""

LONGEST = 60
"""Characters of a value that a message quotes."""


class Survey:
    """A graph with its nodes numbered in file order, and what follows from it."""

    def __init__(
        self, graph: Graph, known_types: frozenset[str], *, strict: bool, variables: frozenset[str]
    ) -> None:
        self.graph = graph
        self.known_types = known_types
        self.strict = strict
        self.variables = variables
        self.ids = list(graph.nodes)
        self.nodes = list(graph.nodes.values())
        self.index = {name: number for number, name in enumerate(self.ids)}
        self.starts = frozenset(graph.starts)
        self.exits = frozenset(graph.exits)
        self._led: dict[tuple[int, int], bytearray] = {}
        self._places: dict[str, list[tuple[Node, Attribute]]] = {}
        known = known_types | {"start", "exit"}
        self.types = [
            kind if kind in known else SHAPES.get(node.shape, "codergen")
            for kind, node in zip(graph.types.values(), self.nodes, strict=True)
        ]
        """The handler type that each node really gets (E2): one that nobody registered falls back to the shape."""

    @cached_property
    def type_of(self) -> Mapping[str, str]:
        """The handler type that each node really gets, by its id."""
        return dict(zip(self.ids, self.types, strict=True))

    @cached_property
    def by_type(self) -> Mapping[str, Sequence[Node]]:
        """The nodes of each handler type."""
        found: dict[str, list[Node]] = defaultdict(list)
        for kind, node in zip(self.types, self.nodes, strict=True):
            found[kind].append(node)
        return found

    @cached_property
    def successors(self) -> list[list[int]]:
        """The targets of every node's edges."""
        index = self.index
        successors: list[list[int]] = [[] for _ in self.ids]
        for edge in self.graph.edges:
            successors[index[edge.source]].append(index[edge.target])
        return successors

    @cached_property
    def jumps(self) -> list[list[int]]:
        """The retry targets of every node."""
        jumps: list[list[int]] = [[] for _ in self.ids]
        for key in RETRIES:
            for node, attribute in self.on_nodes.get(key, ()):
                target = self.index.get(str(attribute.value))
                if target is not None:
                    jumps[self.index[node.id]].append(target)
        return jumps

    @cached_property
    def ways(self) -> list[list[int]]:
        """Where a run can go from every node: along its edges, or to its retry targets."""
        return [[*edges, *jumps] for edges, jumps in zip(self.successors, self.jumps, strict=True)]

    @cached_property
    def reached(self) -> Sequence[int]:
        """1 for every node that a start leads to, by edges and retry targets; all of them without a start."""
        if not self.starts:
            return bytearray(b"\x01") * len(self.ids)
        roots = [self.index[name] for name in self.graph.starts]
        for key in RETRIES:
            target = self.index.get(self.graph.text(key))
            if target is not None:
                roots.append(target)
        return reachable(self.ways, roots)

    @cached_property
    def meetings(self) -> Meetings:
        """The fan-ins of the parallel nodes (E30)."""
        return meetings(self.successors, self.types)

    @cached_property
    def run_ways(self) -> list[list[int]]:
        """The successors in a run: a branch ends at its fan-in, and the run continues there."""
        return ways_of_the_run(self.successors, self.types, self.meetings.fan_in)

    @cached_property
    def owners(self) -> Sequence[int]:
        """A parallel node in one of whose branches each node lies; -1 for none.

        Nodes that a run can also be at without any branch are left out.
        """
        trunk = [*self.run_ways]
        for number, join in self.meetings.fan_in.items():
            trunk[number] = [join] if join >= 0 else []
        outside = reachable(trunk, [self.index[name] for name in self.graph.starts])
        owner = [-1] * len(self.ids)
        for number, join in self.meetings.fan_in.items():
            queue = [t for t in self.successors[number] if t != join and owner[t] < 0 and not outside[t]]
            for node in queue:
                if owner[node] < 0:
                    owner[node] = number
                    queue.extend(t for t in self.run_ways[node] if owner[t] < 0 and not outside[t])
        return owner

    def only_after(self, node: str, first: str) -> bool:
        """Whether every way of a run to ``node`` leads through ``first``; a node comes only after itself."""
        if node == first:
            return True
        here, there = self.index[first], self.index[node]
        if self._before is None or not (self.reached[here] and self.reached[there]):
            return False
        return not self._before.is_before(there, here)

    @cached_property
    def _before(self) -> Before | None:
        """The order in which a run comes to nodes first; None without a start."""
        start = self.index.get(self.graph.start)
        if start is None:
            return None
        again = [self.index[name] for key in RETRIES if (name := self.graph.text(key)) in self.index]
        ends = {self.index[name] for name in self.exits}
        return Before([[*targets, *again] if n in ends else targets for n, targets in enumerate(self.ways)], start)

    def leads_to(self, node: int, end: int) -> Sequence[int]:
        """1 for every node to which edges lead from one, without passing ``end``; none when asked too often."""
        if (node, end) not in self._led and len(self._led) < MOST_ASKED:
            self._led[node, end] = reachable(
                [() if n == end else targets for n, targets in enumerate(self.successors)], [node]
            )
        return self._led.get((node, end), b"\x01" * len(self.ids))

    @cached_property
    def declared(self) -> Vocabulary:
        """The ids of the declared nodes."""
        return Vocabulary(node.id for node in self.nodes if node.declared)

    @cached_property
    def on_nodes(self) -> dict[str, list[tuple[Node, Attribute]]]:
        """Every attribute that nodes have, by key."""
        found: dict[str, list[tuple[Node, Attribute]]] = {}
        for node in self.nodes:
            for key, attribute in node.attributes.items():
                found.setdefault(key, []).append((node, attribute))
        return found

    @cached_property
    def on_edges(self) -> dict[str, list[tuple[Edge, Attribute]]]:
        """Every attribute that edges have, by key."""
        found: dict[str, list[tuple[Edge, Attribute]]] = {}
        for edge in self.graph.edges:
            for key, attribute in edge.attributes.items():
                found.setdefault(key, []).append((edge, attribute))
        return found

    def node_places(self, key: str) -> Sequence[tuple[Node, Attribute]]:
        """Every place where the file gives nodes this attribute, with the first node that has it from there.

        A ``node [...]`` block is one place, however many nodes it reaches.
        """
        if key not in self._places:
            self._places[key] = _once(self.on_nodes.get(key, ()))
        return self._places[key]

    def edge_places(self, key: str) -> Sequence[tuple[Edge, Attribute]]:
        """The same for edges: a chain or an ``edge [...]`` block is one place."""
        return _once(self.on_edges.get(key, ()))

    def written(self, key: str) -> Iterator[tuple[Owner, Attribute]]:
        """Every place where the graph, a node or an edge has this attribute."""
        attribute = self.graph.attributes.get(key)
        if attribute is not None:
            yield self.graph, attribute
        yield from self.node_places(key)
        yield from self.edge_places(key)

    @cached_property
    def conditions(self) -> Iterable[tuple[Condition, Sequence[tuple[Edge, Attribute]]]]:
        """Every condition that can be read, and the places of it: many edges have the same."""
        found: dict[str, list[tuple[Edge, Attribute]]] = defaultdict(list)
        for edge, attribute in self.edge_places("condition"):
            found[edge.condition.text].append((edge, attribute))
        return [(places[0][0].condition, places) for text, places in found.items() if text]

    @cached_property
    def texts(self) -> Sequence[tuple[str, Node, Attribute, str]]:
        """The prompts and commands that name another value than ``$goal``, each with its key."""
        names = re.compile(r"[{<]|\[\[|%\(|\$(?!goal\b)").search
        return [
            (key, node, attribute, text)
            for key in ("prompt", "tool_command")
            for node, attribute in self.node_places(key)
            if names(text := str(attribute.value))
        ]

    @cached_property
    def forks(self) -> Sequence[tuple[Node, Sequence[Edge]]]:
        """The nodes with several edges among which routing chooses, and their edges."""
        return [
            (node, self.graph.outgoing(node.id))
            for node, kind, targets in zip(self.nodes, self.types, self.successors, strict=True)
            if len(targets) > 1 and kind not in _CHOOSING
        ]


_CHOOSING = frozenset({"parallel", "wait.human"})
"""Handlers that do not leave the choice among their edges to routing."""

_Owner = TypeVar("_Owner", Node, Edge)


def _once(found: Iterable[tuple[_Owner, Attribute]]) -> list[tuple[_Owner, Attribute]]:
    """The first of those that have the attribute from the same place."""
    places: dict[int, tuple[_Owner, Attribute]] = {}
    for each in found:
        places.setdefault(each[1].span.start, each)
    return list(places.values())


def has_condition(edge: Edge) -> bool:
    """Whether an edge is meant to have a condition; one that cannot be read has its own diagnostic."""
    written = edge.attributes.get("condition")
    return written is not None and bool(str(written.value).strip())


Owner: TypeAlias = Graph | Node | Edge
"""What has an attribute, and what a diagnostic is about."""


def _diagnostic(
    severity: Severity,
    message: str,
    span: Span,
    *,
    of: Owner | None = None,
    edge: Edge | None = None,
    meant: str = "",
    fix: str = "",
    edits: Iterable[Edit] = (),
) -> Diagnostic:
    """A finding ``of`` a node or an edge, or of both; ``lint`` gives it the name of the rule that found it.

    ``meant`` is the word that was probably meant, which the fix proposes to write in place of the span.
    """
    edge = of if isinstance(of, Edge) else edge
    if meant:
        fix, edits = f"did you mean {quote(meant)}?", tuple(edits) or swap_edit(span, meant)
    return Diagnostic(
        rule="",
        severity=severity,
        message=message,
        span=span,
        node=of.id if isinstance(of, Node) else None,
        edge=None if edge is None else (edge.source, edge.target),
        fix=fix,
        edits=tuple(edits),
    )


def swap_edit(span: Span, text: str) -> tuple[Edit]:
    """Return the edit that replaces the word of a value or key; quotes are kept."""
    bare = not span.text.startswith('"') and text.isidentifier()
    return (Edit(span, text if bare else in_quotes(text)),)


def append_edit(graph: Graph, *statements: str) -> tuple[Edit, ...]:
    """The edit that adds statements at the end of a graph, each on a line of its own."""
    source = graph.span.source
    at = source.text.rfind("}")
    if at < 0:
        return ()
    line = source.text[source.text.rfind("\n", 0, at) + 1 : at]
    lines = "".join(f"    {statement}\n" for statement in statements)
    return (Edit(Span(source, at, at), lines if not line.strip() else f"\n{lines}"),)


error = partial(_diagnostic, Severity.ERROR)
"""Something that no run could do right."""

warning = partial(_diagnostic, Severity.WARNING)
"""Something that is probably not meant."""

info = partial(_diagnostic, Severity.INFO)
"""Something worth knowing."""


def warn_of_part(
    message: str, attribute: Attribute, part: tuple[int, int], *, of: Owner | None, meant: str = "", fix: str = ""
) -> Diagnostic:
    """A warning about a part of an attribute's text, given by its offsets, and what was probably meant there."""
    edits = (rewritten(attribute.span, *part, meant),) if meant else ()
    return warning(message, inside(attribute.span, *part), of=of, meant=meant, fix=fix, edits=edits)


def quote(value: str) -> str:
    """A value as messages show it, cut when it is long."""
    return f"'{value}'" if len(value) <= LONGEST else f"'{value[: LONGEST - 3]}...'"


def list_words(names: Sequence[str], most: int = 5) -> str:
    """``'a'``, ``'a' and 'b'``, ``'a', 'b' and 7 more``."""
    shown = [quote(name) for name in names[:most]]
    if len(names) > most:
        return f"{', '.join(shown)} and {len(names) - most} more"
    if len(shown) < 2:
        return "".join(shown)
    return f"{', '.join(shown[:-1])} and {shown[-1]}"
