"""Rules about the values that prompts and commands name."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestra.errors import Diagnostic
from orchestra.graph.attributes import nearest
from orchestra.graph.inputs import inputs
from orchestra.graph.lint.survey import Survey, quote, warning
from orchestra.graph.model import Attribute
from orchestra.graph.places import inside, rewritten
from orchestra.graph.shell import TEMPLATE_WORDS

_OF_NODE = re.compile(
    r"\{\{\s*(?:context\.)?(tools|responses)\.([A-Za-z_]\w*)[\w.\[\]-]*\s*(?:\|\s*raw\s*)?\}\}", re.ASCII
)


_IN_CONDITION = re.compile(r"(?<![\w.\"])(?:context\.)?(tools|responses)\.([A-Za-z_]\w*)", re.ASCII)


def value_of_node(survey: Survey) -> Iterator[Diagnostic]:
    """``{{ tools.NODE.output }}`` and ``{{ responses.NODE }}`` name a node, in conditions too."""
    for key in ("prompt", "tool_command"):
        for node, attribute in survey.node_places(key):
            for match in _OF_NODE.finditer(str(attribute.value)):
                if match[2] not in survey.graph.nodes:
                    yield _no_node(survey, attribute, match, node=node.id)
    for edge, attribute in survey.edge_places("condition"):
        for match in _IN_CONDITION.finditer(edge.condition.text):
            if match[2] not in survey.graph.nodes:
                yield _no_node(survey, attribute, match, edge=(edge.source, edge.target))


def _no_node(
    survey: Survey,
    attribute: Attribute,
    match: re.Match[str],
    *,
    node: str | None = None,
    edge: tuple[str, str] | None = None,
) -> Diagnostic:
    near = nearest(match[2], survey.graph.nodes)
    return warning(
        "value_of_node",
        f"{quote(f'{match[1]}.{match[2]}')} names no node of this pipeline: it will have no value",
        inside(attribute.span, match.start(2), match.end(2)),
        node=node,
        edge=edge,
        fix=f"did you mean {near!r}?" if near else "name a node of this pipeline",
        edits=(rewritten(attribute.span, match.start(2), match.end(2), near),) if near else (),
    )


_NAMED = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*(?:\|\s*raw\s*)?\}\}|(?<![\\\w])\$\{?([a-z_]\w*)\}?", re.ASCII)

_QUIET = frozenset({"start", "exit", "conditional", "tool", "parallel", "parallel.fan_in"})
"""Handler types that set no key of a name that the author or an agent chose."""

_SET = frozenset(
    "goal outcome preferred_label current_node last_stage last_response item item_index item_count".split()
)
"""Plain names that the engine and handlers set."""


def input_declared(survey: Survey) -> Iterator[Diagnostic]:
    """Where a pipeline declares its ``inputs``, prompts and commands name those, or what a node could set (L40)."""
    declared = inputs(survey.graph)
    if not declared:
        return
    known = {*declared, *_SET, *TEMPLATE_WORDS}
    nothing_else = _QUIET.issuperset(survey.types)
    for key in ("prompt", "tool_command"):
        for node, attribute in survey.node_places(key):
            for match in _NAMED.finditer(str(attribute.value)):
                group = 1 if match[1] else 2
                name = match[group]
                if name in known or (key, group) == ("tool_command", 2):  # the latter are the shell's own
                    continue
                near = nearest(name, declared)
                if near or (group == 1 and nothing_else):
                    place = inside(attribute.span, match.start(group), match.end(group))
                    yield warning(
                        "input_declared",
                        f"{quote(name)} is no input of this pipeline"
                        + (", and no node could set it" if nothing_else else ""),
                        place,
                        node=node.id,
                        fix=f"did you mean {near!r}?" if near else f"add {name} to the graph's `inputs`",
                        edits=(rewritten(attribute.span, match.start(group), match.end(group), near),)
                        if near
                        else (),
                    )
