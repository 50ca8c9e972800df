"""Rules about braces in prompts and commands that no value replaces (A22, engine.md#tool-nodes)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from orchestra.errors import Diagnostic
from orchestra.graph.edits import inside, rewritten
from orchestra.graph.lint.survey import Survey, error, quote, warning
from orchestra.graph.shell import TEMPLATE_WORDS

_NAME = r"[A-Za-z_][\w-]*(?:\.[\w-]+|\[[^\[\]{}]*\])*"

_BRACES = re.compile(r"(?<![{$])\{\{(?!\{)(?P<body>(?:[^{}]|\{[^{}]*\}|\}(?!\}))*)\}\}")
_EXPRESSION = re.compile(rf"(?<![{{$])\{{\{{\s*{_NAME}\s*\}}\}}(?!\}})", re.ASCII)
_UNCLOSED = re.compile(
    rf"(?<![{{$])\{{\{{[ \t]*(?P<name>{_NAME})[ \t]*(?:\}}(?!\}})|(?=[\n\"'`]|\Z)(?![^{{}}]*\}}\}}))", re.ASCII
)
_STATEMENT = re.compile(
    r"\{%[-+]?\s*(?:if|elif|else|endif|for|endfor|set|raw|endraw|block|endblock|macro|include|import|filter|with)"
    r"\b[^%]*%\}"
)
_JINJA = re.compile(
    rf"""(?P<name>{_NAME}) \s*
         (?: (?P<filter>\|) \s* [A-Za-z_]\w* .*
           | (?P<call>\() .*
           | (?P<operator>[-+*/%~]|[=!<>]=|[<>]) \s* [\w"'(-] .*
           | (?P<word>\s(?:if|or|and|in|is|not)\s) .*
           | (?P<mark>[:!?]) .*
           | (?P<index>(?<=\])) )
       | (?:not\s|\(|["']) .* """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_GO = re.compile(r"(?<![\w\])])[.$]\w|(?:^|[|(]\s*)\w+\s+[.$\"]")
"""What only Go's templates have: a field ``.Name``, a variable ``$name``, a function with an argument."""

_FOR = {
    "filter": "it has a filter",
    "call": "it has a call",
    "operator": "it has an operator",
    "word": "it is an expression",
    "mark": "it is more than a name",
    "index": "its index is not a number",
}


class Slip(NamedTuple):
    """Braces that nothing is put in for: where, what is wrong, and the name that is meant, if one is."""

    start: int
    end: int
    what: str
    name: str = ""
    sure: bool = False


def template_syntax(survey: Survey) -> Iterator[Diagnostic]:
    """What stands in double braces is a dotted name: the only form that a value takes the place of."""
    for key, node, attribute, text in survey.texts:
        if ("{{" not in text and "{%" not in text) or survey.type_of[node.id] not in _READERS[key]:
            continue
        command = key == "tool_command"
        for slip in slips(text):
            shown = quote(text[slip.start : slip.end])
            where = "the command" if command else "the prompt"
            name = f"{{{{ {slip.name} }}}}"
            fix = f"write {name}" if slip.name else "write {{ dotted.name }}"
            yield (error if command else warning)(
                f"{shown} is not replaced in {where}: {slip.what}",
                inside(attribute.span, slip.start, slip.end),
                of=node,
                fix=fix if slip.sure else f"{fix}; {_OTHERWISE[key]}",
                edits=(rewritten(attribute.span, slip.start, slip.end, name),) if slip.sure else (),
            )
    yield from _in_labels(survey)


def _in_labels(survey: Survey) -> Iterator[Diagnostic]:
    """Labels of gates, and labels that are prompts, have no expression: it would not be replaced."""
    for node, attribute in survey.node_places("label"):
        if "{{" not in str(attribute.value):
            continue
        kind = survey.type_of[node.id]
        if kind != "wait.human" and (kind != "codergen" or node.text("prompt") or node.text("agent.task")):
            continue
        for match in _EXPRESSION.finditer(str(attribute.value)):
            gate = kind == "wait.human"
            yield warning(
                f"{quote(match[0])} is not replaced in a label",
                inside(attribute.span, *match.span()),
                of=node,
                fix="a gate shows the last response: let the node before it say it"
                if gate
                else "write it in the `prompt`",
            )


_READERS = {
    "prompt": frozenset({"codergen", "parallel.fan_in", "stack.manager_loop"}),
    "tool_command": frozenset({"tool"}),
}
_OTHERWISE = {
    "prompt": "filters and statements work in a task file (`agent.task`)",
    "tool_command": "let the shell do the rest, or keep the template of another program in a file",
}


def slips(text: str) -> Iterator[Slip]:
    """What looks like an expression of a template, and is none that is replaced, in order."""
    found = [each for match in _BRACES.finditer(text) if (each := _in_braces(match)) is not None]
    found += [
        Slip(match.start(), match.end(), "it is not closed", match["name"], True)
        for match in _UNCLOSED.finditer(text)
    ]
    found += [Slip(match.start(), match.end(), "it is a Jinja statement") for match in _STATEMENT.finditer(text)]
    return iter(sorted(found))


def _in_braces(match: re.Match[str]) -> Slip | None:
    body = match["body"].strip()
    jinja = _JINJA.fullmatch(body)
    if jinja is None or _GO.search(body) or re.fullmatch(rf"{_NAME}\s*\|\s*raw", body):
        return None
    name = jinja["name"] or ""
    if (name in TEMPLATE_WORDS and jinja["call"] is None) or (
        jinja["index"] is not None and re.search(r"\[(?![0-9]+\])", name) is None
    ):
        return None
    what = next((what for group, what in _FOR.items() if jinja[group] is not None), "it is an expression")
    plain = re.match(r"[\w.-]*\w", name)
    return Slip(match.start(), match.end(), what, plain[0] if plain else "")
