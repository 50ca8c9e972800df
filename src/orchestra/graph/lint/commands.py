"""Rules about shell commands."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from orchestra.errors import Diagnostic, Edit, Span
from orchestra.graph.edits import inside, rewritten
from orchestra.graph.inputs import inputs
from orchestra.graph.lint.survey import Survey, error, quote, warning
from orchestra.graph.model import Attribute, Node
from orchestra.graph.shell import Expression, expressions

_TRUSTED = frozenset({"current_node", "graph", "internal", "last_stage", "run", "workspace"})
"""Roots whose values come from the pipeline's author, the engine, or who started the run."""


def untrusted_shell(survey: Survey) -> Iterator[Diagnostic]:
    """A value in a command is data wherever the shell would read it as code (engine.md#tool-nodes)."""
    for node, attribute in survey.node_places("tool_command"):
        if survey.type_of[node.id] != "tool":
            continue
        command = str(attribute.value)
        values = expressions(command)
        for expression, span in zip(values, _places(attribute, values, command), strict=True):
            found = _judge(survey, node, span, expression)
            if found is not None:
                yield found


def _judge(survey: Survey, node: Node, span: Span, expression: Expression) -> Diagnostic | None:
    name = f"{{{{ {expression.name} }}}}"
    variable = expression.root in survey.variables
    untrusted = _overwritten(survey) if variable else expression.root not in _TRUSTED
    if expression.raw:
        if not untrusted:
            return None
        if variable:
            return warning(
                f"{name} is inserted unquoted into the command of {quote(node.id)}, and an agent or a person may"
                " have overwritten the variable: its text would be run as code",
                span,
                of=node,
                fix=f"write {{{{ run.vars.{expression.name} | raw }}}}, which nothing overwrites, or drop `| raw`",
            )
        return warning(
            f"{name} is inserted unquoted into the command of {quote(node.id)}, and may have been written by an"
            " LLM, a tool or a person: its text would be run as code",
            span,
            of=node,
            fix=f"remove `| raw`: {name} is then passed as data",
            edits=(Edit(span, name),) if span.text.startswith("{{") else (),
        )
    if expression.hazard:
        return error(
            f"{name} is in {_INSIDE[expression.hazard]} in the command of {quote(node.id)},"
            " where it cannot be passed as data",
            span,
            of=node,
            fix=_INSTEAD[expression.hazard].replace("NAME", expression.name),
        )
    if expression.foreign and untrusted:
        return warning(
            f"{name} becomes part of code that {expression.foreign} runs in the command of"
            f" {quote(node.id)}, and may have been written by an LLM, a tool or a person",
            span,
            of=node,
            fix="pass it as an argument or in an environment variable, and read it from there",
        )
    return None


_READ = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*"|\$(?:\{\w+\}|\w+)|\{\{\s*goal\s*\}\}""", re.DOTALL)
_NAMED = re.compile(r"(\\.)|\$\{?(\w+)\}?|\{\{\s*(goal)\s*\}\}", re.DOTALL)


def prompt_variable(survey: Survey) -> Iterator[Diagnostic]:
    """A command does not read what only prompts have: there ``$name`` is the shell's own variable."""
    given = {*survey.variables, *inputs(survey.graph)}
    known = {"goal"} | {name for name in given if not name.isupper()}
    for node, attribute in survey.node_places("tool_command"):
        if survey.type_of[node.id] != "tool":
            continue
        command = str(attribute.value)
        for start, end, name in _prompt_reads(command):
            if name not in known or _is_set(command, name) or (command[start] == "{" and name in given):
                continue
            value = "graph.goal" if name == "goal" and name not in survey.variables else name
            wrong = f"{quote(command[start:end])} is not replaced in a command"
            why = "; the shell expands it to nothing" if command[start] == "$" else ""
            yield warning(
                f"{wrong}{why}",
                inside(attribute.span, start, end),
                of=node,
                fix=f"write {{{{ {value} }}}}",
                edits=(rewritten(attribute.span, start, end, f"{{{{ {value} }}}}"),),
            )


def _prompt_reads(command: str) -> Iterator[tuple[int, int, str]]:
    """The variables that a command reads, with their places: in single quotes it reads none."""
    for match in _READ.finditer(command):
        if match[0][0] in "'\\":
            continue
        for named in _NAMED.finditer(command, match.start(), match.end()):
            if not named[1]:
                yield named.start(), named.end(), named[2] or named[3]


def _is_set(command: str, name: str) -> bool:
    """Whether a command may give a variable of the shell a value."""
    setting = rf"(?<![-\w]){name}=|\b(?:read|for|export|local|declare|getopts|mapfile)\b[^\n;]*\s{name}\b"
    return re.search(setting, command) is not None


_SILENT = frozenset({"start", "exit", "conditional", "tool"})
"""Handler types that write none of the plain keys of the context, which the run's variables are too."""


def _overwritten(survey: Survey) -> bool:
    return not _SILENT.issuperset(survey.types)


_INSIDE = {
    "$( )": "`$( )`",
    "back quotes": "back quotes",
    "eval": "text that `eval` runs",
    "sh -c": "code that a shell runs with `-c`",
    "a quoted here-document": "a here-document whose delimiter is quoted",
}
_INSTEAD = {
    "$( )": 'set a variable first: `value={{ NAME }}; x=$(program "$value")`',
    "back quotes": 'set a variable first: `value={{ NAME }}; x=$(program "$value")`',
    "eval": "run the command without `eval`",
    "sh -c": "pass it as an argument: `sh -c 'program \"$1\"' sh {{ NAME }}`",
    "a quoted here-document": "remove the quotes from the delimiter: `<<END`",
}


def _places(attribute: Attribute, expressions: Iterable[Expression], command: str) -> Iterator[Span]:
    """Each expression's own place in the file.

    Escapes move offsets but leave the text of an expression alone. One that cannot be found, as after a
    transform, has the whole value for its place.
    """
    source, at, end = attribute.span.source, attribute.span.start, attribute.span.end
    for expression in expressions:
        wanted = command[expression.start : expression.end]
        found = source.text.find(wanted, at, end)
        if found < 0:
            yield attribute.span
            continue
        at = found + len(wanted)
        yield Span(source, found, at)
