"""Rules about the values that prompts and commands name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import product

from orchestra.errors import Diagnostic, Span
from orchestra.graph.attributes import BUILT_IN_TYPES
from orchestra.graph.edits import inside
from orchestra.graph.lint.survey import Owner, Survey, quote, warn_of_part, warning
from orchestra.graph.model import Attribute, Node
from orchestra.graph.nearest import nearest

_PATH = r"(?:context\.)?(tools|responses)\.([A-Za-z_]\w*)(?:\.(\w+))?"
OF_NODE = re.compile(rf"\{{\{{\s*{_PATH}[\w.\[\]-]*\s*(?:\|\s*raw\s*)?\}}\}}", re.ASCII)
_ROOTS = r"(?:(?:tool|node|nodes|output|outputs|response|result|results|stage|stages|step|steps)\.)?"
_OF_NAME = re.compile(
    r"\{\{\s*(?:context\.)?(" + _ROOTS + r"([A-Za-z_]\w*)(?:\.(\w+))?)\s*(?:\|\s*raw\s*)?\}\}", re.ASCII
)
_LEFT = frozenset("answer code content exit_code output result response stderr stdout text".split())
_IN_CONDITION = re.compile(rf"(?<![\w.\"]){_PATH}", re.ASCII)
_OF_TOOL = ("output", "stderr", "exit_code")
_CALLED = {"stdout": "output", "out": "output", "result": "output", "code": "exit_code", "status": "exit_code"}
_ANSWER = frozenset({"codergen", "parallel.fan_in", "stack.manager_loop"})
"""Handler types whose nodes have a response."""


def value_of_node(survey: Survey) -> Iterator[Diagnostic]:
    """``{{ tools.NODE.output }}`` and ``{{ responses.NODE }}`` name what a node leaves, in conditions too."""
    for _key, node, attribute, text in survey.texts:
        if "{{" in text:
            yield from _in_text(survey, node, attribute, text)
    for condition, places in survey.conditions:
        for match, (edge, attribute) in product(_IN_CONDITION.finditer(condition.text), places):
            yield from _no_value(survey, attribute, match, of=edge)
        for match, (edge, attribute) in product(_ENGINE_IN_CONDITION.finditer(condition.text), places):
            yield from _unset_name(survey, attribute, match, of=edge)
    for node, attribute in survey.node_places("manager.stop_condition"):
        for match in _ENGINE_IN_CONDITION.finditer(str(attribute.value)):
            yield from _unset_name(survey, attribute, match, of=node)


def _in_text(survey: Survey, node: Node, attribute: Attribute, text: str) -> Iterator[Diagnostic]:
    for match in OF_NODE.finditer(text):
        yield from _no_value(survey, attribute, match, of=node)
    for match in _OF_NAME.finditer(text):
        yield from _short_name(survey, attribute, match, node)
    for match in _OF_ENGINE.finditer(text):
        yield from _unset_name(survey, attribute, match, of=node)


def problem(match: re.Match[str], kind: str, nodes: Iterable[str]) -> tuple[int, str, str]:
    """Return what is wrong with the value of a node that a match of ``OF_NODE`` names.

    ``kind`` is the node's handler type.

    The group of the match that is wrong, what was probably meant, and the problem in words: empty where there is
    none.
    """
    root, name, field = match.groups()
    if not kind:
        return 2, nearest(name, nodes) or "", "names no node of this pipeline"
    if root == "tools" and kind in _ANSWER:
        return 0, f"responses.{name}", f"is never set: {quote(name)} runs no command"
    if root == "responses" and kind == "tool":
        return 0, f"tools.{name}.output", f"is never set: {quote(name)} runs a command"
    if root == "tools" and kind == "tool" and field not in (*_OF_TOOL, None):
        what = f"has no {quote(field)} (a command sets {', '.join(_OF_TOOL)})"
        return 3, nearest(field, _OF_TOOL) or _CALLED.get(field, ""), what
    return 0, "", ""


def _short_name(survey: Survey, attribute: Attribute, match: re.Match[str], node: Node) -> Iterator[Diagnostic]:
    """``{{ test.output }}`` where ``tools.test.output`` is meant."""
    whole, name, field = match.groups()
    kind = survey.type_of.get(name, "")
    if kind not in {*_ANSWER, "tool"} or (field not in _LEFT and (field or whole == name)):
        return
    tool = f"tools.{name}.{field if field in _OF_TOOL else 'exit_code' if field == 'code' else 'output'}"
    meant = tool if kind == "tool" else f"responses.{name}"
    what = f"{quote(whole)} is not a value of {quote(name)}: it will have no value"
    yield warn_of_part(what, attribute, match.span(1), of=node, meant=meant)


def _no_value(
    survey: Survey,
    attribute: Attribute,
    match: re.Match[str],
    *,
    of: Owner,
) -> Iterator[Diagnostic]:
    root, name, field = match.groups()
    kind = survey.type_of.get(name, "")
    group, near, what = problem(match, kind, survey.graph.nodes)
    if not what:
        if isinstance(of, Node):
            yield from _not_there(survey, attribute, match, of)
        return
    part = match.span(group) if group else (match.start(1), match.end(3) if field else match.end(2))
    message = f"{quote(f'{root}.{name}')} {what}: it will have no value"
    yield warn_of_part(message, attribute, part, of=of, meant=near, fix="name a node and one of its values")


def _not_there(survey: Survey, attribute: Attribute, match: re.Match[str], node: Node) -> Iterator[Diagnostic]:
    """What a node reads that a branch keeps, or that cannot be there when a run comes to it first."""
    name = match[2]
    value = f"{match[1]}.{name}" + (f".{match[3]}" if match[3] else "")
    span = inside(attribute.span, match.start(1), match.end(3) if match[3] else match.end(2))
    if survey.only_after(name, node.id):
        after = f"{quote(name)} runs only after {quote(node.id)}"
        when = f"{quote(name)} has not run" if name == node.id else after
        yield _too_early(survey, value, span, node, when)
        return
    join = _branch_end(survey, survey.index[name], survey.index[node.id])
    if join:
        yield warning(
            f"{quote(value)} has no value at {quote(node.id)}, which fails:"
            f" the values of {quote(name)} stay in its branch",
            span,
            of=node,
            fix=f"read `parallel.results`, or set `merge=all` on {quote(join)} and read it after that",
        )


def _too_early(survey: Survey, value: str, span: Span, node: Node, when: str) -> Diagnostic:
    fix = "move it to a node that runs later"
    if survey.type_of[node.id] in _ANSWER:
        fix = f"write a task file (`agent.task`) with `{{% if {value} is defined %}}` around it, or {fix}"
    message = f"{quote(value)} has no value at the first visit of {quote(node.id)}, which fails: {when}"
    return warning(message, span, of=node, fix=fix)


def _branch_end(survey: Survey, number: int, reader: int) -> str:
    """The fan-in of the branch that a node is in, where the reader does not see what the branch leaves (E33)."""
    if not survey.meetings.fan_in:
        return ""
    parallel = survey.owners[number]
    join = survey.meetings.fan_in.get(parallel, -1)
    if join < 0 or survey.nodes[join].text("merge") != "none" or survey.leads_to(number, join)[reader]:
        return ""
    return survey.ids[join]


_CHILD = "status outcome node completed retries last_response reason session"
_SET_BY_ENGINE = {
    "human": tuple(f"human.gate.{key}" for key in ("selected", "label", "text")),
    "parallel": (
        *(f"parallel.{key}" for key in ("results", "success_count", "failure_count")),
        *(f"parallel.fan_in.{key}" for key in ("best_id", "best_outcome", "best_response", "results")),
    ),
    "stack": tuple(f"stack.child.{key}" for key in _CHILD.split()),
    "tool": ("tool.output",),
    "workspace": ("workspace.merged", "workspace.conflicts"),
}
"""The keys that only the engine can set, by the word that they begin with (engine.md#the-context)."""

_NAME = rf"((?:{'|'.join(_SET_BY_ENGINE)})\.\w[\w.]*\w)"
_OF_ENGINE = re.compile(rf"\{{\{{\s*(?:context\.)?{_NAME}[\w.\[\]-]*\s*(?:\|\s*raw\s*)?\}}\}}", re.ASCII)
_ENGINE_IN_CONDITION = re.compile(rf"(?<![\w.\"'-])(?:context\.)?{_NAME}(?:\s*!?=\s*(?P<value>\w+))?", re.ASCII)
_STATES = ("running", "paused", "completed", "failed", "canceled")
_CALLED_STATES = {"success": "completed", "succeeded": "completed", "done": "completed", "fail": "failed"}


def _unset_name(
    survey: Survey,
    attribute: Attribute,
    match: re.Match[str],
    *,
    of: Owner,
) -> Iterator[Diagnostic]:
    """``{{ human.gate.txt }}``: a name that only the engine could set, and does not."""
    name, value = match[1], match.groupdict().get("value")
    known = _SET_BY_ENGINE[name.partition(".")[0]]
    if name.split(".")[1] in survey.index and name.startswith("tool."):  # ``tool.NODE.output`` has its own finding
        return
    if not any(f"{name}.".startswith(f"{each}.") for each in known):
        near = nearest(name, known) or _with_same_end(name, known)
        span, what = match.span(1), f"{quote(name)} is not a name that a run sets: it will have no value"
        fix = f"known are {', '.join(known)}"
    elif name == "stack.child.status" and value and value not in _STATES:
        near = nearest(value, _STATES) or _CALLED_STATES.get(value, "")
        span, what = match.span("value"), f"{quote(value)} is not a status of a child"
        fix = f"use one of {', '.join(_STATES)}"
    else:
        if isinstance(of, Node) and attribute.key != "manager.stop_condition":
            yield from _before_its_node(survey, name, inside(attribute.span, *match.span(1)), of)
        return
    yield warn_of_part(what, attribute, span, of=of, meant=near, fix=fix)


_SETTERS = {
    "human": ("wait.human", "a human gate"),
    "parallel": ("parallel", "a parallel node"),
    "stack": ("stack.manager_loop", "a manager"),
    "tool": ("tool", "a tool node"),
}
"""Which handlers set the keys of the engine."""


def _before_its_node(survey: Survey, name: str, span: Span, node: Node) -> Iterator[Diagnostic]:
    """A key of the engine that every node which sets it can set only after the reader."""
    kind, called = _SETTERS.get(name.partition(".")[0], ("", ""))
    setters = survey.by_type.get(kind, ()) if BUILT_IN_TYPES.issuperset(survey.types) else ()
    if setters and all(survey.only_after(each.id, node.id) for each in setters):
        yield _too_early(survey, name, span, node, f"{called} sets it, and none runs before")


def _with_same_end(name: str, known: Sequence[str]) -> str:
    """The known name whose last word is that of ``name``, or nearly so: ``human.review.text``."""
    last = name.rpartition(".")[2]
    ends = {each.rpartition(".")[2]: each for each in reversed(known)}
    return ends.get(last) or ends.get(nearest(last, ends) or "", "")
