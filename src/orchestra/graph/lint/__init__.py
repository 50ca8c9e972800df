"""Rules about pipelines: one function per rule, and the function that runs them all (diagnostics.md).

A rule of our own reads a ``Survey``; a custom rule reads the ``Graph``. Every rule is linear, or nearly so, in
the size of the graph, and none recurses along it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

from orchestra.errors import Diagnostic, Severity
from orchestra.graph.collector import collector_paused
from orchestra.graph.lint.branches import branch_escape, parallel_join
from orchestra.graph.lint.commands import prompt_variable, untrusted_shell
from orchestra.graph.lint.conditions import ambiguous_edges, dead_edge
from orchestra.graph.lint.loops import unbounded_loop
from orchestra.graph.lint.stages import (
    child_dotfile,
    goal_gate_has_retry,
    human_choices,
    manager_actions,
    prompt_on_llm_nodes,
    tool_command_on_tool_nodes,
)
from orchestra.graph.lint.structure import (
    dead_end,
    edge_target_exists,
    exit_no_outgoing,
    exit_reachable,
    reachability,
    start_no_incoming,
    start_node,
    terminal_node,
)
from orchestra.graph.lint.survey import BUILT_IN_TYPES, Survey
from orchestra.graph.lint.values import value_of_node
from orchestra.graph.lint.words import (
    fidelity_valid,
    outcome_known,
    retry_target_exists,
    type_known,
    unknown_attribute,
)
from orchestra.graph.model import Graph

__all__ = ["BUILT_IN_TYPES", "RULES", "Rule", "in_order", "lint"]

Rule: TypeAlias = Callable[[Graph], Iterable[Diagnostic]]
"""A custom rule."""

RULES: dict[str, Callable[[Survey], Iterable[Diagnostic]]] = {
    rule.__name__: rule
    for rule in (
        start_node,
        terminal_node,
        start_no_incoming,
        exit_no_outgoing,
        reachability,
        exit_reachable,
        edge_target_exists,
        dead_end,
        type_known,
        fidelity_valid,
        retry_target_exists,
        goal_gate_has_retry,
        prompt_on_llm_nodes,
        tool_command_on_tool_nodes,
        prompt_variable,
        value_of_node,
        unknown_attribute,
        unbounded_loop,
        ambiguous_edges,
        dead_edge,
        outcome_known,
        parallel_join,
        branch_escape,
        human_choices,
        child_dotfile,
        manager_actions,
        untrusted_shell,
    )
}
"""Our own rules by name."""

_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}


def lint(
    graph: Graph,
    *,
    rules: Iterable[Rule] = (),
    known_types: Iterable[str] = BUILT_IN_TYPES,
    strict: bool = False,
    variables: Iterable[str] = (),
) -> tuple[Diagnostic, ...]:
    """What our rules and custom ``rules`` find in a graph, in source order, then by severity.

    ``known_types`` are the registered handler types; ``strict`` makes undeclared nodes errors;
    ``variables`` are the names of the run's variables, which tool commands may use. What a custom rule
    raises passes through.
    """
    found: list[Diagnostic] = []
    with collector_paused():
        survey = Survey(graph, frozenset(known_types), strict=strict, variables=frozenset(variables))
        for own in RULES.values():
            found.extend(own(survey))
    for custom in rules:
        found.extend(custom(graph))
    return in_order(found)


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Diagnostics in source order, then by severity; those without a place come first."""
    return tuple(sorted(diagnostics, key=_key))


def _key(diagnostic: Diagnostic) -> tuple[str, int, int]:
    span = diagnostic.span
    place = ("", -1) if span is None else (span.source.name, span.start)
    return *place, _RANK[diagnostic.severity]
