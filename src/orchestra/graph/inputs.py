"""The variables that a pipeline declares: ``inputs="version, env=staging"`` on the graph (L40)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from orchestra.errors import ConfigError
from orchestra.graph.model import Graph
from orchestra.graph.nearest import nearest


def inputs(graph: Graph) -> dict[str, str | None]:
    """The declared variables by name with their defaults; None where one is required."""
    found: dict[str, str | None] = {}
    for part in graph.text("inputs").split(","):
        name, equals, default = (word.strip() for word in part.partition("="))
        if name:
            found[name] = default if equals else None
    return found


def defaults(graph: Graph) -> dict[str, str]:
    """The declared variables that have a default."""
    return {name: default for name, default in inputs(graph).items() if default is not None}


def with_defaults(graph: Graph, given: Mapping[str, str]) -> dict[str, str]:
    """The variables of a run: those given, and the defaults of the others.

    Raises ``ConfigError`` for a required one that is missing and for one that is not declared; without ``inputs``
    any variable may be given.
    """
    declared = inputs(graph)
    span = graph.span_of("inputs", graph.span)
    for name in given if declared else ():
        if name not in declared:
            near = nearest(name, declared)
            fix = f"did you mean {near}?" if near else f"it declares: {', '.join(declared)}"
            raise ConfigError(f"the pipeline declares no variable {name!r}", span=span, fix=fix)
    missing = [name for name, default in declared.items() if default is None and name not in given]
    if missing:
        raise ConfigError(
            f"the pipeline needs the variable {', '.join(missing)}", span=span, fix=f"add {missing[0]}=VALUE"
        )
    return {**defaults(graph), **given}


_PROSE = frozenset({"prompt", "label", "goal", "tool_command"})
"""Attributes whose texts name values only in braces and after ``$``; in others any word may be a name."""

_MARKED = re.compile(r"\{\{.*?\}\}|\{%.*?%\}|\$\{?[A-Za-z_]\w*", re.ASCII | re.DOTALL)
_WORD = re.compile(r"[A-Za-z_]\w*", re.ASCII)


def unused_variables(graphs: Sequence[Graph], given: Iterable[str]) -> dict[str, str]:
    """Return given variables that no pipeline names, each with a similar name that one does.

    A pipeline with ``inputs`` refuses what it does not declare; agents of the configuration have texts of their
    own, so that of a pipeline with such agents nothing is said (L40).
    """
    everything = [one for graph in graphs for one in (graph, *graph.nodes.values(), *graph.edges)]
    written = [(key, attribute.value) for one in everything for key, attribute in one.attributes.items()]
    if any(map(inputs, graphs)) or any(key.partition(".")[0] == "agent" for key, _value in written):
        return {}
    marked: set[str] = set()
    others: set[str] = set()
    for key, value in written:
        if key in _PROSE:
            marked.update(_WORD.findall(" ".join(_MARKED.findall(str(value)))))
        else:
            others.update(_WORD.findall(str(value)))
    roots = {name: set(_WORD.findall(name.partition(".")[0])) for name in given if name != "goal"}
    free = sorted(marked - {"context", "goal"}.union(*roots.values()))
    return {name: nearest(name, free) or "" for name, words in roots.items() if not words <= marked | others}
