"""Leave out what only follows from a misspelt word: it goes when the word is corrected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

from orchestra.errors import Diagnostic, Severity, Source
from orchestra.graph.dot import parse
from orchestra.graph.edits import apply
from orchestra.graph.model import Graph

_NAMES = frozenset({"edge_target_exists", "retry_target_exists", "type_known"})
"""Rules about words that decide which nodes there are and how they are connected."""

CAUSES = _NAMES | {"unknown_attribute", "unused_attribute"}
"""Rules about words, whose findings say why something else is missing."""

STRUCTURE = frozenset(
    {
        "ambiguous_edges",
        "branch_escape",
        "child_dotfile",
        "dead_edge",
        "dead_end",
        "exit_reachable",
        "goal_gate_has_retry",
        "human_choices",
        "parallel_join",
        "prompt_on_llm_nodes",
        "reachability",
        "start_node",
        "terminal_node",
        "tool_command_on_tool_nodes",
        "unbounded_loop",
    }
)
"""Rules about the graph as a whole, in which a misspelt word shows far away from its place."""


Rules: TypeAlias = Callable[[Graph], list[Diagnostic]]


def without_consequences(graph: Graph, found: list[Diagnostic], rules: Rules) -> list[Diagnostic]:
    """Return the findings that remain once misspelled words are corrected, and those about them.

    ``rules`` finds what is wrong with a graph. Where an error is left out, the words that it comes from are errors.
    """
    for causes in (CAUSES - {"unused_attribute"}, CAUSES):
        found = _remaining(graph, found, rules, causes)
    return found


def _remaining(graph: Graph, found: list[Diagnostic], rules: Rules, causes: frozenset[str]) -> list[Diagnostic]:
    words = [each for each in found if each.rule in causes and each.edits]
    source = graph.span.source
    corrected, _noted = parse(Source(source.name, apply(source, words))) if words else (None, ())
    if corrected is None:
        return found
    remain = {_about(each) for each in rules(corrected)}
    known = set(map(id, words))
    lost = [each for each in found if id(each) not in known and _about(each) not in remain]
    refused = [each for each in lost if each.severity is Severity.ERROR]
    about = {each.node for each in refused} - {None}
    names = {id(each) for each in words if refused and (each.rule in _NAMES or each.node in about)}
    left_out = {id(each) for each in lost if names or each.severity is not Severity.ERROR}
    return [
        replace(each, severity=Severity.ERROR) if id(each) in names else each
        for each in found
        if id(each) not in left_out
    ]


def _about(diagnostic: Diagnostic) -> tuple[str, str | None, tuple[str, str] | None]:
    return diagnostic.rule, diagnostic.node, diagnostic.edge
