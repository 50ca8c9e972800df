"""The rule about commands whose shell lets a failure pass."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from orchestra.errors import Diagnostic, Span
from orchestra.graph.edits import inside
from orchestra.graph.lint.survey import Survey, quote, warning
from orchestra.graph.model import Node

_HARMLESS = frozenset(
    ": [ cat command cut date declare echo env exit export false find grep head jq kill local ls mkdir printf pwd"
    " read readonly return rm seq set shift sleep sort source tail tee test touch tr trap true umask unset wait"
    " uniq wc yes".split()
)
"""Commands whose failure is expected, cannot be, or matters to nobody; those that start or end a script."""

_COMPOUND = re.compile(
    r"(?:^|[\s;&|(])(?:if|for|while|until|case|select|function)\s|\(\)\s*\{|(?:^|[;&|])\s*[({]", re.MULTILINE
)
"""What this reader does not take apart: its parts are judged by other rules of the shell."""

_QUOTED = re.compile(r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"|`[^`]*`|\$\((?:[^()]|\([^()]*\))*\)", re.DOTALL)
_TOKEN = re.compile(
    _QUOTED.pattern + r"|\{\{.*?\}\}|(?<!\S)\#[^\n]*|\|\||&&|\|&?|[;&\n]",
    re.DOTALL,
)
_WORD = re.compile(r"\s*(?:[A-Za-z_]\w*=\S*\s+)*(?:(?:time|then|else|do|!)\s+)*([^\s;&|]+)")
_ASSIGNMENT = re.compile(r"\s*(?:[A-Za-z_]\w*=\S*\s*)+$")
_ASKED = re.compile(r"\s*(?:if|elif|while|until)\s")
"""What begins a condition of the shell, which is there to fail."""

_SAFE = re.compile(
    r"\$\?|\bPIPESTATUS\b|\bset\s+-\w*e|\bset\s+-o\s+errexit|\|\|\s*exit\b(?!\s+0)|\btrap\b.*\bERR\b"
)
_PIPES_SAFE = re.compile(r"\bpipefail\b|\bPIPESTATUS\b")


_GOES_ON = re.compile(r"\bset\s+(?:-\S+\s+)*\+(?:\w*e\b|o\s+errexit\b)")
"""What tells a shell not to stop at the first failure."""

_GOOD = re.compile(r"(?:true|:|exit\s+0|return\s+0|echo\b.*|printf\b.*)", re.DOTALL)
"""What succeeds whatever stands before it."""


class _Part(NamedTuple):
    """A simple command: its text and place, and the operator after it."""

    text: str
    start: int
    end: int
    after: str


def masked_failure(survey: Survey) -> Iterator[Diagnostic]:
    """No pipe and no later line hides that a command failed, unless its shell stops there."""
    for node, attribute in survey.node_places("tool_command"):
        if survey.type_of[node.id] != "tool":
            continue
        shell = _shell(survey, node)
        command = str(attribute.value)
        found = None if shell is None else _hidden_failure(command, shell)
        if found is None:
            if shell is not None and _failure_matters(survey, node):
                yield from _excuses(node, attribute.span, command)
            continue
        part, by_pipe = found
        what = "a pipe" if by_pipe else "a later command"
        yield warning(
            f"a failure of {quote(part.text)} is hidden by {what}: {quote(node.id)} succeeds if its last command"
            " does",
            inside(attribute.span, part.start, part.end),
            of=node,
            fix='set `shell="bash -eo pipefail"` on the node or the graph'
            + ("" if by_pipe else ", or join the commands with `&&`"),
        )


def _failure_matters(survey: Survey, node: Node) -> bool:
    """Whether it matters to a run that a node fails: it is a goal gate, or an edge asks for its outcome."""
    asks = (edge.condition.text for edge in survey.graph.outgoing(node.id))
    return node.flag("goal_gate") or any("outcome" in one for one in asks)


def _excuses(node: Node, span: Span, command: str) -> Iterator[Diagnostic]:
    """A command after which ``|| true`` or its like makes every failure a success."""
    if "<<" in command or _COMPOUND.search(command):
        return
    joined: list[_Part] = []
    parts = list(_parts(command))
    for number, part in enumerate(parts):
        last = all(_GOOD.fullmatch(one.text) for one in parts[number + 1 :])
        failing = next((one for one in reversed(joined) if _matters(one.text)), None)
        excuses = bool(joined) and joined[-1].after == "||" and _GOOD.fullmatch(part.text) is not None
        if failing is not None and excuses and (last or part.text.startswith("exit")):
            yield warning(
                f"a failure of {quote(failing.text)} is hidden by {quote('|| ' + part.text)}: {quote(node.id)}"
                " still succeeds",
                inside(span, failing.start, failing.end),
                of=node,
                fix=f"remove `|| {part.text}`, or use the command's output in the conditions of the edges",
            )
            return
        joined = [] if part.after in (";", "\n", "&") else [*joined, part]


def _shell(survey: Survey, node: Node) -> str | None:
    """The shell that reads a node's command, with its options; None where it is no shell that we know."""
    named = node.text("shell") or survey.graph.text("shell")
    if not named:
        return "bash -eo pipefail" if node.flag("goal_gate") else "sh"
    program = named.split()[0].rpartition("/")[2]
    return named if program in {"sh", "bash", "dash", "ksh", "zsh", "ash"} else None


def _hidden_failure(command: str, shell: str) -> tuple[_Part, bool] | None:
    """The first command of which a failure would be hidden, and whether a pipe hides it."""
    stops = re.search(r"\s-\w*e", shell) is not None and _GOES_ON.search(command) is None
    pipes_count = "pipefail" in shell or _PIPES_SAFE.search(command) is not None
    if "<<" in command or (stops and pipes_count):
        return None
    parts = list(_parts(command))
    if not pipes_count:
        for part in parts:
            if part.after in ("|", "|&") and _matters(part.text):
                return part, True
    if stops or _SAFE.search(command) or _COMPOUND.search(command):
        return None
    joined: list[_Part] = []
    for part in parts[:-1]:
        joined.append(part)
        if part.after in (";", "\n", "&"):
            first = next((one for one in joined if _matters(one.text)), None)
            if first is not None and part.after != "&" and all(one.after != "||" for one in joined):
                return first, False
            joined = []
    return None


def _matters(text: str) -> bool:
    """Whether a failure of a simple command would say something."""
    flat = _QUOTED.sub("x", text)
    if _ASKED.match(flat):
        return False
    if _ASSIGNMENT.match(flat):
        return False
    word = _WORD.match(flat)
    return word is not None and word[1].rpartition("/")[2] not in _HARMLESS


def _parts(command: str) -> Iterator[_Part]:
    """The simple commands at the top level, in order; empty ones are left out."""
    start = 0
    for match in _TOKEN.finditer(command):
        token = match[0]
        if token not in ("||", "&&", "|", "|&", ";", "&", "\n") and not token.startswith("#"):
            continue
        if token == "&" and command[match.start() - 1 : match.start()] in ("<", ">"):
            continue
        if token == "&" and command[match.end() : match.end() + 1] == ">":
            continue
        yield from _part(command, start, match.start(), "\n" if token.startswith("#") else token)
        start = match.end()
    yield from _part(command, start, len(command), "")


def _part(command: str, start: int, end: int, after: str) -> Iterator[_Part]:
    text = command[start:end]
    if text.strip():
        begin = start + len(text) - len(text.lstrip())
        yield _Part(text.strip(), begin, begin + len(text.strip()), after)
