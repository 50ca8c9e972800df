"""Rules about pipelines: one function per rule, and the function that runs them all (diagnostics.md).

A rule of our own reads a ``Survey``; a custom rule reads the ``Graph``. Every rule is linear, or nearly so, in
the size of the graph, and none recurses along it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TypeAlias

from orchestra.errors import Diagnostic, Severity
from orchestra.graph.attributes import BUILT_IN_TYPES
from orchestra.graph.collector import collector_paused
from orchestra.graph.lint.branches import branch_escape, for_each, parallel_join
from orchestra.graph.lint.causes import CAUSES, STRUCTURE, without_consequences
from orchestra.graph.lint.commands import prompt_variable, untrusted_shell
from orchestra.graph.lint.conditions import ambiguous_edges, dead_edge
from orchestra.graph.lint.inputs import input_declared
from orchestra.graph.lint.keys import unknown_attribute, unused_attribute
from orchestra.graph.lint.loops import unbounded_loop
from orchestra.graph.lint.masking import masked_failure
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
from orchestra.graph.lint.styles import selector_matches, value_known
from orchestra.graph.lint.survey import Survey, list_words, quote
from orchestra.graph.lint.templates import template_syntax
from orchestra.graph.lint.values import value_of_node
from orchestra.graph.lint.words import (
    fidelity_valid,
    outcome_known,
    retry_target_exists,
    type_known,
)
from orchestra.graph.model import Graph

__all__ = ["RULES", "Rule", "in_order", "lint"]

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
        template_syntax,
        value_of_node,
        input_declared,
        unknown_attribute,
        unused_attribute,
        selector_matches,
        value_known,
        unbounded_loop,
        ambiguous_edges,
        dead_edge,
        outcome_known,
        parallel_join,
        branch_escape,
        for_each,
        human_choices,
        child_dotfile,
        manager_actions,
        untrusted_shell,
        masked_failure,
    )
}
"""Our own rules by name."""

_RANK = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.INFO: 2}

SURE = frozenset(
    {
        "fidelity_valid",
        "manager_actions",
        "outcome_known",
        "prompt_variable",
        "template_syntax",
        "type_known",
        "unknown_attribute",
        "untrusted_shell",
        "value_known",
    }
)
"""Rules whose findings hold whatever a broken statement would have said."""

MANY = 3
"""Nodes with the same problem, from which on they are one finding."""


def lint(
    graph: Graph,
    *,
    rules: Iterable[Rule] = (),
    known_types: Iterable[str] = BUILT_IN_TYPES,
    strict: bool = False,
    variables: Iterable[str] = (),
    broken: bool = False,
) -> tuple[Diagnostic, ...]:
    """Return the findings of our and custom ``rules``: causes first, in source order, by severity.

    ``known_types`` are the registered handler types; ``strict`` makes undeclared nodes errors;
    ``variables`` are the names of the run's variables, which tool commands may use; ``broken`` says that the text
    has syntax errors, so that nothing is said that may depend on what was lost. What a custom rule raises passes
    through.
    """
    types, given = frozenset(known_types), frozenset(variables)

    def by_our_rules(graph: Graph) -> list[Diagnostic]:
        survey = Survey(graph, types, strict=strict, variables=given)
        return [
            replace(each, rule=name)
            for name, own in RULES.items()
            if not broken or name in SURE
            for each in own(survey)
        ]

    with collector_paused():
        found = _together(without_consequences(graph, by_our_rules(graph), by_our_rules))
    if not broken:
        for custom in rules:
            found.extend(custom(graph))
    return in_order(found)


def _together(found: list[Diagnostic]) -> list[Diagnostic]:
    """The findings, where many nodes or edges with the same problem are one finding that lists them."""
    alike: dict[tuple[str, Severity, str, str], list[Diagnostic]] = {}
    for number, each in enumerate(found):
        mark = str(number) if each.node is None and each.edge is None else ""
        form = each.rule + mark, each.severity, _form(each, each.message), _form(each, each.fix)
        alike.setdefault(form, []).append(each)
    joined: list[Diagnostic] = []
    for group in alike.values():
        names = tuple(dict.fromkeys(each.node for each in group if each.node is not None))
        joined += [_join(group, names)] if len(names or group) >= MANY else group
    return joined


def _form(diagnostic: Diagnostic, text: str) -> str:
    return text if diagnostic.node is None else text.replace(quote(diagnostic.node), "\0")


def _join(group: list[Diagnostic], names: tuple[str, ...]) -> Diagnostic:
    first, *rest = in_order(group)
    others = [name for name in names if name != first.node]
    lines = dict.fromkeys(str(each.span.line) for each in rest if each.span is not None)
    more = f"the same is true of {list_words(others)}"
    if not names:  # edges, of which the lines are told
        more = f"{len(rest)} more, in lines {list_words(list(lines))}".replace("'", "")
    return replace(
        first,
        message=f"{first.message} ({more})",
        nodes=(first.node or "", *others) if names else first.nodes,
        edits=tuple(edit for each in group for edit in each.edits),
    )


def in_order(diagnostics: Iterable[Diagnostic]) -> tuple[Diagnostic, ...]:
    """Sort diagnostics: source order, causes first, by severity; those without a place first.

    Where a name is misspelt, what is wrong with the whole graph comes after everything else.
    """
    found = list(diagnostics)
    lost = any(d.rule in CAUSES and (d.edits or d.severity is Severity.ERROR) for d in found)
    return tuple(sorted(found, key=lambda d: (lost and d.rule in STRUCTURE, *_key(d))))


def _key(diagnostic: Diagnostic) -> tuple[str, int, bool, int]:
    span = diagnostic.span
    place = ("", -1) if span is None else (span.source.name, span.start)
    return *place, diagnostic.rule not in CAUSES, _RANK[diagnostic.severity]
