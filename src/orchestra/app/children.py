"""The child pipelines of a pipeline: read, compiled and checked with it (engine.md#child-pipelines)."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import PurePath
from typing import Generic, Protocol, TypeAlias, TypeVar

from orchestra.errors import ConfigError, Diagnostic, Severity, Source
from orchestra.graph.model import Graph, Node

DEEPEST = 5
"""How deep children nest."""

WITH_CHILD = frozenset({"pipeline", "stack.manager_loop"})
"""The types of nodes that run a child."""

Reading: TypeAlias = Callable[[str], tuple[Source, tuple[Diagnostic, ...]]]
"""Returns a text by its path, with the findings of reading it. Raises ``ConfigError`` if it is missing."""


class ChildPipeline(Protocol):
    """A child pipeline as its parents see it."""

    @property
    def source(self) -> Source:
        """Its text."""

    @property
    def diagnostics(self) -> tuple[Diagnostic, ...]:
        """What was found in it."""

    @property
    def children(self) -> Mapping[str, ChildPipeline]:
        """Its own children, by node."""

    def checked_graph(self) -> Graph:
        """Its graph."""


_P = TypeVar("_P", bound=ChildPipeline)


def dotfile_of(graph: Graph, node: Node) -> str:
    """The file of a node's child, as the author named it; empty where the node starts none."""
    if graph.type_of(node.id) not in WITH_CHILD or (not node.flag("stack.child_autostart")):
        return ""
    return node.text("stack.child_dotfile") or graph.text("stack.child_dotfile")


def beside(parent: str, dotfile: str) -> str:
    """The path of a child's file, which is named relative to its parent's."""
    return posixpath.normpath(posixpath.join(posixpath.dirname(parent), dotfile))


class Children(Generic[_P]):
    """The children of one root, each file compiled once.

    ``above`` are the files from the root down to a parent.
    """

    def __init__(
        self,
        reading: Reading,
        compiling: Callable[[Source, tuple[Diagnostic, ...], Children[_P]], _P],
        above: tuple[str, ...],
    ) -> None:
        self._reading = reading
        self._compiling = compiling
        self._above = above
        self._known: dict[str, _P] = {}

    def below(self, path: str) -> Children[_P]:
        """The children of a child."""
        found = Children[_P](self._reading, self._compiling, (*self._above, path))
        found._known = self._known
        return found

    def of(self, graph: Graph) -> tuple[dict[str, _P], tuple[Diagnostic, ...]]:
        """A parent's children by node, and what is wrong with them; a child's findings are its parent's once."""
        children: dict[str, _P] = {}
        found: list[Diagnostic] = []
        for node in graph.nodes.values():
            if dotfile := dotfile_of(graph, node):
                fresh = beside(self._above[-1], dotfile) not in self._known
                child = self._child(graph, node, dotfile)
                if isinstance(child, Diagnostic):
                    found.append(child)
                    continue
                children[node.id] = child
                if fresh:
                    found.extend(child.diagnostics)
        return children, tuple(found)

    def _child(self, graph: Graph, node: Node, dotfile: str) -> _P | Diagnostic:
        path = beside(self._above[-1], dotfile)
        if path in self._above:
            way = " -> ".join(PurePath(each).name for each in (*self._above[self._above.index(path) :], path))
            return _error(graph, node, "child_cycle", f"the child of {node.id!r} is one of its own parents: {way}")
        if path not in self._known:
            if len(self._above) > DEEPEST:
                return _error(graph, node, "child_cycle", f"children are nested more than {DEEPEST} levels deep")
            try:
                source, found = self._reading(path)
            except ConfigError as error:
                return replace(
                    _error(graph, node, "child_dotfile", f"the child of {node.id!r}: {error.message}"),
                    fix=error.fix or "name a readable file, relative to this one",
                )
            self._known[path] = self._compiling(source, found, self.below(path))
        child = self._known[path]
        if len(self._above) + depth(child) > DEEPEST:
            return _error(graph, node, "child_cycle", f"children are nested more than {DEEPEST} levels deep")
        return child


def depth(pipeline: ChildPipeline) -> int:
    """How deep the children of a pipeline nest; 0 where it has none."""
    return max((1 + depth(child) for child in pipeline.children.values()), default=0)


def _error(graph: Graph, node: Node, rule: str, message: str) -> Diagnostic:
    key = "stack.child_dotfile"
    span = node.span_of(key, graph.span_of(key, node.span))
    fix = "remove the child, or run another pipeline there" if rule == "child_cycle" else ""
    return Diagnostic(rule=rule, severity=Severity.ERROR, message=message, span=span, node=node.id, fix=fix)


def texts(pipeline: ChildPipeline, path: str = "") -> dict[str, str]:
    """The texts of all that a pipeline runs, by path relative to its own file."""
    return dict(_texts(pipeline, path))


def _texts(pipeline: ChildPipeline, path: str) -> Iterator[tuple[str, str]]:
    graph = pipeline.checked_graph()
    for node, child in pipeline.children.items():
        below = beside(path, dotfile_of(graph, graph.nodes[node]))
        yield below, child.source.text
        yield from _texts(child, below)


def recorded_reader(known: Mapping[str, str], folder: str) -> Reading:
    """Reads the texts that a session recorded; they are named as files in its pipeline's folder."""

    def reading(path: str) -> tuple[Source, tuple[Diagnostic, ...]]:
        if path not in known:
            raise ConfigError(f"the text of {path} was not recorded", fix="name the pipeline with --graph")
        return Source(posixpath.join(folder, path), known[path]), ()

    return reading
