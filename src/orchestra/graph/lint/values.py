"""Rules about the values that prompts and commands name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from orchestra.errors import Diagnostic
from orchestra.graph.attributes import nearest
from orchestra.graph.inputs import inputs
from orchestra.graph.lint.survey import Survey, quote, warning
from orchestra.graph.model import Attribute
from orchestra.graph.places import inside, rewritten
from orchestra.graph.shell import TEMPLATE_WORDS

_PATH = r"(?:context\.)?(tools|responses)\.([A-Za-z_]\w*)(?:\.(\w+))?"
OF_NODE = re.compile(rf"\{{\{{\s*{_PATH}[\w.\[\]-]*\s*(?:\|\s*raw\s*)?\}}\}}", re.ASCII)
_IN_CONDITION = re.compile(rf"(?<![\w.\"]){_PATH}", re.ASCII)
_OF_TOOL = ("output", "stderr", "exit_code")
_ANSWER = frozenset({"codergen", "parallel.fan_in", "stack.manager_loop"})
"""Handler types whose nodes have a response."""


def value_of_node(survey: Survey) -> Iterator[Diagnostic]:
    """``{{ tools.NODE.output }}`` and ``{{ responses.NODE }}`` name what a node leaves, in conditions too."""
    for key in ("prompt", "tool_command"):
        for node, attribute in survey.node_places(key):
            for match in OF_NODE.finditer(str(attribute.value)):
                yield from _no_value(survey, attribute, match, node=node.id)
    for edge, attribute in survey.edge_places("condition"):
        for match in _IN_CONDITION.finditer(edge.condition.text):
            yield from _no_value(survey, attribute, match, edge=(edge.source, edge.target))


def problem(match: re.Match[str], kind: str, nodes: Iterable[str]) -> tuple[int, str, str]:
    """What is wrong with the value that a match of ``OF_NODE`` names, whose node's handler type is ``kind``.

    The group of the match that is wrong, what was probably meant, and the problem in words: empty where there is
    none.
    """
    root, name, field = match.groups()
    if not kind:
        return 2, nearest(name, nodes) or "", "names no node of this pipeline"
    if root == "tools" and kind in _ANSWER:
        return 0, f"responses.{name}", f"is not written: {quote(name)} runs no command"
    if root == "responses" and kind == "tool":
        return 0, f"tools.{name}.output", f"is not written: {quote(name)} runs a command"
    if root == "tools" and kind == "tool" and field not in (*_OF_TOOL, None):
        what = f"has no {quote(field)} (a command leaves {', '.join(_OF_TOOL)})"
        return 3, nearest(field, _OF_TOOL) or "", what
    return 0, "", ""


def _no_value(
    survey: Survey,
    attribute: Attribute,
    match: re.Match[str],
    *,
    node: str | None = None,
    edge: tuple[str, str] | None = None,
) -> Iterator[Diagnostic]:
    root, name, field = match.groups()
    kind = survey.types[survey.index[name]] if name in survey.index else ""
    group, near, what = problem(match, kind, survey.graph.nodes)
    if not what:
        return
    start, end = match.span(group) if group else (match.start(1), match.end(3) if field else match.end(2))
    yield warning(
        "value_of_node",
        f"{quote(f'{root}.{name}')} {what}: it will have no value",
        inside(attribute.span, start, end),
        node=node,
        edge=edge,
        fix=f"did you mean {near!r}?" if near else "name a node and a value that it leaves",
        edits=(rewritten(attribute.span, start, end, near),) if near else (),
    )


_NAMED = re.compile(r"\{\{\s*([A-Za-z_]\w*)\s*(?:\|\s*raw\s*)?\}\}|(?<![\\\w])\$\{?([a-z_]\w*)\}?", re.ASCII)

_QUIET = frozenset({"start", "exit", "conditional", "tool", "parallel", "parallel.fan_in"})
"""Handler types that set no key of a name that the author or an agent chose."""

_SET = frozenset(
    "goal outcome preferred_label current_node last_stage last_response item item_index item_count".split()
)
"""Plain names that the engine and handlers set."""


def input_declared(survey: Survey) -> Iterator[Diagnostic]:
    """With declared ``inputs``, prompts and commands name those, or what a node could set (L40).

    Without ``inputs`` only ``$gaol`` is told, where ``$goal`` is meant.
    """
    declared = inputs(survey.graph)
    names = [*declared, "goal"]
    known = {*names, *_SET, *TEMPLATE_WORDS, *survey.variables}
    nothing_else = bool(declared) and _QUIET.issuperset(survey.types)
    for key in ("prompt", "tool_command"):
        for node, attribute in survey.node_places(key):
            for match in _NAMED.finditer(str(attribute.value)):
                group = 1 if match[1] else 2
                name = match[group]
                # in a command the latter are the shell's own
                if name in known or (key, group) == ("tool_command", 2) or not (declared or group == 2):
                    continue
                near = nearest(name, names)
                if near or (group == 1 and nothing_else):
                    what = "is not an input of this pipeline" if declared else "is not 'goal', and stays as it is"
                    yield warning(
                        "input_declared",
                        f"{quote(name)} {what}" + (", and no node could set it" if nothing_else else ""),
                        inside(attribute.span, match.start(group), match.end(group)),
                        node=node.id,
                        fix=f"did you mean {near!r}?" if near else f"add {name} to the graph's `inputs`",
                        edits=(rewritten(attribute.span, match.start(group), match.end(group), near),)
                        if near
                        else (),
                    )
