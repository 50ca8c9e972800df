"""People in an agent's work: ``ask-human``, and the approval of calls (H9, H11)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from difflib import unified_diff
from fnmatch import fnmatchcase
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeAlias

from orchestra.agents.tools import FunctionTool, ToolContext, ToolError, ToolResult
from orchestra.agents.tools.files import read_file_in
from orchestra.agents.tools.output import NAME as READ_OUTPUT
from orchestra.agents.tools.reporting import NAME as REPORT
from orchestra.agents.tools.schemas import schema, text
from orchestra.graph.report import plural
from orchestra.ports import Scope
from orchestra.run.outcome import Json
from orchestra.run.questions import (
    ALL_ALIKE,
    APPROVAL,
    APPROVE,
    DENY,
    SKIPPED,
    TIMEOUT,
    Option,
    Question,
    QuestionType,
    options_of,
)

NAME = "ask-human"

SHOWN = 4000
"""Characters of one argument that a person sees."""

IN_BRIEF = 300
"""Characters of a call that the question itself shows."""

_MAIN = ("command", "path", "file_path", "url")
"""Arguments that say what a call does."""

COMPARED = 400_000
"""Characters of a file, before and after, of which a diff is made."""


_UNANSWERED = {SKIPPED: "the person skipped the question", TIMEOUT: "no answer in time"}
"""What the agent gets in the place of an answer."""


async def _ask(arguments: Mapping[str, Json], context: ToolContext) -> ToolResult:
    asked = arguments.get("question")
    given = arguments.get("options") or []
    if not isinstance(asked, str) or not asked.strip():
        raise ToolError("the question is empty")
    labels = [str(one) for one in given] if isinstance(given, list) else []
    question = Question(
        text=asked.strip(),
        type=QuestionType.MULTIPLE_CHOICE if labels else QuestionType.FREEFORM,
        options=options_of(labels),
        freeform=not labels,
        part=context.part,
    )
    answer = await context.scope.ask(question)
    if answer.value in _UNANSWERED and answer.option is None:
        return ToolResult(text=_UNANSWERED[answer.value], is_error=True)
    words = answer.option.label if answer.option is not None else answer.text
    return ToolResult(text=words if answer.option is None or not answer.text else f"{words}: {answer.text}")


def ask_tool() -> FunctionTool:
    """The tool that asks a person. A call that was cut off is made again: it is the same question."""
    return FunctionTool(
        name=NAME,
        description="Ask a person a question and wait for the answer. Ask only what you cannot find out yourself.",
        parameters=schema(
            "question",
            question=text("The question, in one or two sentences."),
            options={
                "type": "array",
                "items": {"type": "string"},
                "description": "Choices, where there are only a few; without them the person answers in own words.",
            },
        ),
        function=_ask,
        read_only=True,
    )


Guard: TypeAlias = Callable[[str, Mapping[str, Any]], str]
"""What makes a call need a person's approval, by its tool and arguments: a tool, or a pattern; else empty."""

EXEMPT = frozenset({NAME, REPORT, READ_OUTPUT})
"""Tools that touch nothing but the run."""


def needs_no_approval(tool: str, arguments: Mapping[str, Any]) -> str:
    """No call needs approval."""
    return ""


def matching(patterns: tuple[str, ...], arguments: Mapping[str, Any]) -> str:
    """The first pattern that fits an argument, or one of the commands in it; empty where none does."""
    values = [value for value in arguments.values() if isinstance(value, str)]
    pieces = [piece.strip() for value in values for piece in (value, *_SEPARATORS.split(value))]
    return next((pattern for pattern in patterns for piece in pieces if fnmatchcase(piece, pattern)), "")


_SEPARATORS = re.compile(r"&&|\|\||[;|&\n(){}`]|\$\(")


def denial(words: str) -> ToolResult:
    """What the agent gets where a person said no."""
    reason = f": {words}" if words else ""
    return ToolResult(text=f"error: a person denied this call{reason}", is_error=True)


def part_of(scope: Scope, tool: str, arguments: Mapping[str, Any]) -> str:
    """How the question about a call is named where a program makes it that has its own turns.

    One that was ended while it waited makes its call again: that is the same question for as long as it has no
    recorded answer, and another one afterwards.
    """
    digest = sha256(json.dumps([tool, arguments], sort_keys=True, default=str).encode()).hexdigest()[:8]
    number = 1
    while scope.has_answered(f"{digest}-{number}"):
        number += 1
    return f"{digest}-{number}"


async def approval(
    context: ToolContext, tool: str, arguments: Mapping[str, Any], alike: str, part: str
) -> ToolResult | None:
    """Ask whether a call may be made; None where it may, else what the agent gets.

    Words of the person's own deny it, and go to the agent.
    """
    scope = context.scope
    if scope.is_approved(alike):
        return None
    question = Question(
        text=f"May the agent call {tool}: {_call_in_brief(arguments)}?",
        options=(
            Option(key=APPROVE, label="Approve"),
            Option(key=ALL_ALIKE, label=f"Let all alike pass in this run ({alike})"),
            Option(key=DENY, label="Deny"),
        ),
        freeform=True,
        about=show_call(tool, arguments, context.folders),
        part=part,
        metadata={
            APPROVAL: alike,
            "tool": tool,
            "arguments": json.dumps(arguments, ensure_ascii=False, default=str),
        },
    )
    answer = await scope.ask(question)
    if answer.value == TIMEOUT and answer.option is None:
        return ToolResult(text="error: the call was not made: it was not approved in time", is_error=True)
    return None if answer.value in (APPROVE, ALL_ALIKE) else denial(answer.text)


def _call_in_brief(arguments: Mapping[str, Any]) -> str:
    """A call in one line: its command, its path, or all arguments; what is left out is counted."""
    main = next((arguments[key] for key in _MAIN if isinstance(arguments.get(key), str)), None)
    words = " ".join((main or json.dumps(arguments, ensure_ascii=False, default=str)).split())
    cut = len(words) - IN_BRIEF
    return words if cut <= 0 else f"{words[:IN_BRIEF]}… ({plural(cut, 'more character')})"


def show_call(tool: str, arguments: Mapping[str, Any], folders: Mapping[str, Path]) -> str:
    """A call as a person reads it: a change of a file as a diff, else each argument as it is."""
    repo, _, plain = tool.rpartition(":")
    path = str(arguments.get("path") or arguments.get("file_path") or "")
    old, new, content = (arguments.get(key) for key in ("old_string", "new_string", "content"))
    if plain == "edit-file" and isinstance(old, str) and isinstance(new, str):
        lines = [f"-{line}" for line in old.splitlines()] + [f"+{line}" for line in new.splitlines()]
        return _fence(path, "\n".join(lines), "diff")
    if plain == "write-file" and isinstance(content, str):
        before = _before(folders.get(repo) or next(iter(folders.values())), path)
        if before is not None and len(before) + len(content) < COMPARED:
            _old, _new, *lines = (*unified_diff(before.splitlines(), content.splitlines(), lineterm=""), "", "")
            return _fence(path, "\n".join(lines).rstrip("\n"), "diff")
    parts = [
        _fence(key, value if isinstance(value, str) else json.dumps(value, default=str))
        for key, value in arguments.items()
    ]
    return "\n\n".join(parts)


def _before(folder: Path, path: str) -> str | None:
    """Return a file's text before a call, None if it cannot be shown."""
    try:
        return read_file_in(folder, path)
    except ToolError:
        return None


def _fence(name: str, value: str, kind: str = "") -> str:
    value = value if len(value) <= SHOWN else f"{value[:SHOWN]}\n… ({len(value)} characters)"
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", value)), default=0))
    return f"{name}\n\n{fence}{kind}\n{value}\n{fence}"
