"""The rule about a run's variables: how a pipeline declares them, and where it names them (L40)."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from orchestra.errors import Diagnostic
from orchestra.graph.edits import inside, rewritten
from orchestra.graph.inputs import inputs
from orchestra.graph.lint.survey import Survey, quote, warn_of_part, warning
from orchestra.graph.model import Attribute, Node
from orchestra.graph.nearest import nearest
from orchestra.graph.shell import TEMPLATE_WORDS
from orchestra.graph.tokens import KEY

_NAMED = re.compile(
    r"""\{\{\s*(?P<plain>(?:(?:input|inputs|param|params|var|vars|variables)\.)?[A-Za-z_]\w*)\s*(?:\|\s*raw\s*)?\}\}
      | \{\{\s*\$(?P<twice>[A-Za-z_]\w*)\s*\}\}
      | \$\{\{\s*(?P<actions>[A-Za-z_]\w*)\s*\}\} | <%=?\s*(?P<erb>[A-Za-z_]\w*)\s*%> | <(?P<angle>[A-Za-z_]\w*)>
      | \[\[\s*(?P<square>[A-Za-z_]\w*)\s*\]\] | %\((?P<percent>[A-Za-z_]\w*)\)s
      | (?<![\\\w])\$\{?(?P<dollar>[a-z_]\w*)\}?
      | (?<![\w${])\{(?P<single>[A-Za-z_]\w*)\}(?!\})""",
    re.ASCII | re.VERBOSE,
)

_ODD = frozenset({"single", "twice", "actions", "erb", "angle", "square", "percent"})
"""Forms that are not replaced: ``{name}``, ``{{ $name }}`` and those of other programs' templates."""

_OF_SHELL = frozenset({"dollar", "angle", "square"})
"""Forms that are the shell's own in a command."""

_MARK = re.compile(r"\{|<|\[\[|%\(|\$(?!goal\b)")

_QUIET = frozenset({"start", "exit", "conditional", "tool", "parallel", "parallel.fan_in"})
"""Handler types that set no key of a name that the author or an agent chose."""

_SET = frozenset(
    "goal outcome preferred_label current_node last_stage last_response item item_index item_count".split()
)
"""Plain names that the engine and handlers set."""

_ITEM = ("item", "item_index", "item_count")

_LONG = tuple(name for name in sorted(_SET) if len(name) > 9)
"""Those that no other name is near by chance."""


def input_declared(survey: Survey) -> Iterator[Diagnostic]:
    """With declared ``inputs``, prompts and commands name those, or what a node could set (L40).

    Without ``inputs`` only ``$gaol`` and ``{{ lastresponse }}`` are told, which are the program's own names.
    """
    yield from _declarations(survey)
    declared = inputs(survey.graph)
    alone = bool(declared) and _QUIET.issuperset(survey.types)
    for key, node, attribute, text in survey.texts:
        for match in _names(text):
            form, name = str(match.lastgroup), match[str(match.lastgroup)]
            meant = "" if key == "tool_command" and form in _OF_SHELL else _meant(survey, declared, form, name)
            if meant or (form == "plain" and alone and meant is not None):
                yield _undeclared(attribute, match, node, meant or "", declared=bool(declared), alone=alone)


def _names(text: str) -> Iterator[re.Match[str]]:
    """Yield the names of a text in braces or after ``$``.

    The whole expression is tried only where such a mark is.
    """
    mark = _MARK.search(text)
    while mark is not None:
        found = _NAMED.match(text, mark.start())
        if found is not None:
            yield found
        mark = _MARK.search(text, mark.end() if found is None else found.end())


def _meant(survey: Survey, declared: Collection[str], form: str, name: str) -> str | None:
    """Return the name that was meant in braces or after ``$``; empty if none is near, None if known."""
    names = [*declared, "goal", *(_ITEM if survey.on_nodes.get("for_each") else ())]
    if form in _ODD:
        return name if name in declared or (form != "single" and name == "goal") else None
    if "." in name:
        last = name.rpartition(".")[2]
        return last if last in names else None
    if name in names or name in _SET or name in TEMPLATE_WORDS or name in survey.variables:
        return None
    if not declared and form == "plain":
        return nearest(name, _LONG)
    return nearest(name, names if form == "dollar" else [*names, *_LONG]) or ""


def _undeclared(
    attribute: Attribute, match: re.Match[str], node: Node, meant: str, *, declared: bool, alone: bool
) -> Diagnostic:
    form = str(match.lastgroup)
    start, end = match.span(0 if form in _ODD else form)
    name = quote(match[0] if form in _ODD else match[form])
    what = f"{name} is not an input of this pipeline" if declared else f"{name} is not a name that a run sets"
    if form in _ODD:
        what = f"{name} would not be replaced"
    elif alone:
        what += ", and no node could set it"
    put = f"{{{{ {meant} }}}}" if form in _ODD else meant
    fix = f"add {match[form]} to the graph's `inputs`"
    return warn_of_part(what, attribute, (start, end), of=node, meant=put if meant else "", fix=fix)


_TYPES = frozenset("any bool boolean file float int integer list number path required str string text".split())
_NEXT = re.compile(r"\s*;\s*|\s+(?=[A-Za-z_]\w*\s*=)")
"""What people write between two variables in place of a comma."""


def _declarations(survey: Survey) -> Iterator[Diagnostic]:
    """Every part of ``inputs`` is a name, or a name with a default."""
    written = survey.graph.attributes.get("inputs")
    if written is None:
        return
    text, at = str(written.value), 0
    for part in text.split(","):
        start, at = at + len(part) - len(part.lstrip()), at + len(part) + 1
        name, meant = part.strip(), _meant_part(part.strip())
        if meant and meant != name:
            yield warning(
                f"{quote(name)} does not declare a variable: write NAME or NAME=DEFAULT, separated by commas",
                inside(written.span, start, start + len(name)),
                fix=f"write {meant}",
                edits=(rewritten(written.span, start, start + len(name), meant),),
            )


def _meant_part(part: str) -> str:
    """A part of ``inputs`` as it should be written; empty where that is not plain."""
    several = [each for each in _NEXT.split(part) if each]
    if len(several) > 1:
        return ", ".join(_meant_part(each) or each for each in several)
    name, colon, value = (each.strip() for each in part.partition(":"))
    kind, equals, default = (each.strip() for each in value.partition("="))
    if colon and "=" not in name:
        return f"{name}{equals}{default}" if kind.lower() in _TYPES else f"{name}={value}"
    name, equals, value = (each.strip() for each in part.partition("="))
    plain = name.strip("${} ")
    if len(plain.split()) > 1 and not equals:
        return ", ".join(plain.split())
    return f"{plain}{equals}{value}" if KEY.fullmatch(plain) else ""
