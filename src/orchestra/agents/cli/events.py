"""What command-line agents write, line by line, in one form for all of them (A6).

Each reader is a small state machine: a line in, events out. Unknown lines are skipped: these programs add new
ones in every version.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Protocol, TypeAlias

from orchestra.run.conversation import ToolCall, Usage
from orchestra.run.secrets import plain_json

NO_USAGE = Usage()


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBegun:
    """The program's own session, by which it continues later."""

    session: str
    model: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerText:
    """Text of an answer; ``answer`` is the provider's id, if known, ``part`` continues the previous text."""

    text: str
    answer: str = ""
    part: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolCalled:
    """A tool call; ``files`` are those that it writes."""

    call: ToolCall
    answer: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolResulted:
    """A tool's result."""

    call_id: str
    text: str
    is_error: bool = False
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenCount:
    """Tokens of one answer, so far as they are known before the end."""

    answer: str
    usage: Usage


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramFinished:
    """The final event. ``error`` is why it failed, ``status`` its HTTP status, 0 if unknown.

    ``usage`` is the sum of the whole run of the program; where ``cumulative``, of its whole session. ``text`` is
    None where the last text that was said is the answer.
    """

    text: str | None = None
    error: str = ""
    status: int = 0
    usage: Usage = NO_USAGE
    cumulative: bool = False
    cost_micros: int | None = None


CliEvent: TypeAlias = SessionBegun | AnswerText | ToolCalled | ToolResulted | TokenCount | ProgramFinished


class ProgramEvents(Protocol):
    """Reads the events of one run of a program."""

    def read(self, event: Mapping[str, Any]) -> Iterator[CliEvent]:
        """Read a line."""


_MOST = 2**40
"""Larger than any real count of tokens or millionths of a dollar."""


def _count(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MOST else 0


def _map(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _maps(value: Any) -> list[Mapping[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str:
    """A result's text: a string, or content blocks."""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(_text(each.get("text", "")) for each in value if isinstance(each, dict))
    return "" if value is None else json.dumps(value)


_WRITING = {"Write": "file_path", "Edit": "file_path", "MultiEdit": "file_path", "NotebookEdit": "notebook_path"}


class Claude:
    """``claude --output-format stream-json --verbose``."""

    def read(self, event: Mapping[str, Any]) -> Iterator[CliEvent]:
        """Read a line. What subagents do is counted in the final sum only."""
        match event.get("type"):
            case "system" if event.get("subtype") == "init":
                yield SessionBegun(session=str(event.get("session_id", "")), model=str(event.get("model", "")))
            case "assistant" if not event.get("parent_tool_use_id"):
                yield from _claude_answer(_map(event.get("message")))
            case "user" if not event.get("parent_tool_use_id"):
                yield from _claude_results(_map(event.get("message")))
            case "result":
                yield _claude_end(event)
            case _:
                pass


def _claude_answer(message: Mapping[str, Any]) -> Iterator[CliEvent]:
    answer = str(message.get("id", ""))
    if usage := _map(message.get("usage")):
        yield TokenCount(answer=answer, usage=_claude_usage(usage))
    for block in _maps(message.get("content")):
        if block.get("type") == "text" and block.get("text"):
            yield AnswerText(text=str(block["text"]), answer=answer)
        elif block.get("type") == "tool_use":
            name, arguments = str(block.get("name", "")), _map(block.get("input"))
            file = arguments.get(_WRITING.get(name, ""))
            call = ToolCall(id=str(block.get("id", "")), name=name, arguments=arguments)
            yield ToolCalled(call=call, answer=answer, files=(file,) if isinstance(file, str) else ())


def _claude_results(message: Mapping[str, Any]) -> Iterator[CliEvent]:
    for block in _maps(message.get("content")):
        if block.get("type") == "tool_result":
            yield ToolResulted(
                call_id=str(block.get("tool_use_id", "")),
                text=_text(block.get("content")),
                is_error=block.get("is_error") is True,
            )


def _claude_usage(usage: Mapping[str, Any]) -> Usage:
    read, written = _count(usage.get("cache_read_input_tokens")), _count(usage.get("cache_creation_input_tokens"))
    return Usage(
        input=_count(usage.get("input_tokens")) + read + written,
        output=_count(usage.get("output_tokens")),
        cache_read=read,
        cache_write=written,
    )


def _claude_end(event: Mapping[str, Any]) -> ProgramFinished:
    """The end. A failed API call is a ``success`` with ``is_error``."""
    subtype, result = str(event.get("subtype", "")), event.get("result")
    failed = event.get("is_error") is True or subtype != "success"
    errors = event.get("errors")
    listed = "; ".join(map(str, errors)) if isinstance(errors, list) else ""
    told = str(result or listed or subtype.replace("_", " "))
    cost = event.get("total_cost_usd")
    micros = round(cost * 1_000_000) if isinstance(cost, int | float) and 0 <= cost < _MOST / 1_000_000 else None
    return ProgramFinished(
        text=str(result or ""),
        error=told if failed else "",
        status=_count(event.get("api_error_status")),
        usage=_claude_usage(_map(event.get("usage"))),
        cost_micros=micros,
    )


class Codex:
    """``codex exec --json``."""

    def __init__(self) -> None:
        self._calls: set[str] = set()
        self._error = ""

    def read(self, event: Mapping[str, Any]) -> Iterator[CliEvent]:
        """Read a line. An ``error`` alone does not end the run: ``turn.failed`` or the program's exit does."""
        item = event.get("item")
        match event.get("type"):
            case "thread.started":
                yield SessionBegun(session=str(event.get("thread_id", "")))
            case "item.started" if isinstance(item, dict):
                yield from self._item_started(item)
            case "item.completed" if isinstance(item, dict):
                yield from self._item_completed(item)
            case "turn.failed":
                error = event.get("error")
                told = str((error or {}).get("message", "") if isinstance(error, dict) else error or "")
                yield ProgramFinished(error=told or self._error or "the turn failed")
            case "turn.completed":
                yield ProgramFinished(usage=_codex_usage(_map(event.get("usage"))), cumulative=True)
            case "error":
                self._error = str(event.get("message", ""))
            case _:
                pass

    def _item_started(self, item: Mapping[str, Any]) -> Iterator[CliEvent]:
        kind, id_ = str(item.get("type", "")), str(item.get("id", ""))
        if kind in _CODEX_TOOLS and id_ not in self._calls:
            self._calls.add(id_)
            given = {key: item[key] for key in _CODEX_TOOLS[kind] if item.get(key) not in (None, "")}
            yield ToolCalled(call=ToolCall(id=id_, name=kind, arguments=given))

    def _item_completed(self, item: Mapping[str, Any]) -> Iterator[CliEvent]:
        kind = item.get("type")
        if kind == "agent_message":
            yield AnswerText(text=str(item.get("text", "")))
        elif kind in _CODEX_TOOLS:
            yield from self._item_started(item)
            files = [str(each.get("path", "")) for each in _maps(item.get("changes"))]
            failed = item.get("status") in ("failed", "declined") or bool(item.get("exit_code"))
            shown = item.get("aggregated_output", item.get("result", item.get("error")))
            text = _text(shown) or str(item.get("status", ""))
            yield ToolResulted(
                call_id=str(item.get("id", "")),
                text=text,
                is_error=failed,
                files=() if failed else tuple(file for file in files if file),
            )


_CODEX_TOOLS: Mapping[str, tuple[str, ...]] = {
    "command_execution": ("command",),
    "file_change": ("changes",),
    "mcp_tool_call": ("server", "tool", "arguments"),
    "web_search": ("query",),
}
"""The items that are tool calls, and what of them are the arguments."""


def _codex_usage(usage: Mapping[str, Any]) -> Usage:
    return Usage(
        input=_count(usage.get("input_tokens")),
        output=_count(usage.get("output_tokens")),
        cache_read=_count(usage.get("cached_input_tokens")),
        cache_write=_count(usage.get("cache_write_input_tokens")),
        reasoning=_count(usage.get("reasoning_output_tokens")),
    )


class Gemini:
    """``gemini --output-format stream-json``."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[str, ...]] = {}

    def read(self, event: Mapping[str, Any]) -> Iterator[CliEvent]:
        """Read a line."""
        match event.get("type"):
            case "init":
                yield SessionBegun(session=str(event.get("session_id", "")), model=str(event.get("model", "")))
            case "message" if event.get("role") == "assistant":
                yield AnswerText(text=str(event.get("content", "")), part=event.get("delta") is True)
            case "tool_use":
                yield self._call(event)
            case "tool_result":
                failed = event.get("status") != "success"
                shown = event.get("error") if failed else event.get("output")
                id_ = str(event.get("tool_id", ""))
                yield ToolResulted(call_id=id_, text=_text(shown), is_error=failed, files=self._files.get(id_, ()))
            case "result":
                yield _gemini_end(event)
            case _:
                pass

    def _call(self, event: Mapping[str, Any]) -> ToolCalled:
        arguments, id_ = _map(event.get("parameters")), str(event.get("tool_id", ""))
        name = str(event.get("tool_name", ""))
        file = arguments.get("file_path")
        files = (file,) if name in ("write_file", "replace") and isinstance(file, str) else ()
        self._files[id_] = files
        return ToolCalled(call=ToolCall(id=id_, name=name, arguments=arguments), files=files)


def _gemini_end(event: Mapping[str, Any]) -> ProgramFinished:
    stats, error = _map(event.get("stats")), event.get("error")
    failed = event.get("status") != "success"
    told = str(error.get("message", "") if isinstance(error, dict) else error or "")
    return ProgramFinished(
        error=(told or "it failed") if failed else "",
        usage=Usage(
            input=_count(stats.get("input_tokens")),
            output=_count(stats.get("output_tokens")),
            cache_read=_count(stats.get("cached")),
        ),
    )


READERS: Mapping[str, Callable[[], ProgramEvents]] = {
    "claude-stream-json": Claude,
    "codex-json": Codex,
    "gemini-stream-json": Gemini,
}
"""A new reader by the format's name; ``none`` has none."""


LONGEST = 16 * 1024 * 1024
"""Longest line that is read, in bytes; longer ones are skipped."""


@dataclass(slots=True)
class LineSplitter:
    """Splits a stream into lines of bounded length."""

    pending: bytearray = field(default_factory=bytearray)
    skipping: bool = False
    skipped: int = 0
    """How many lines were too long."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Yield the lines that are complete now."""
        *whole, rest = data.split(b"\n")
        for part in whole:
            line = bytes(self.pending) + part
            self.pending.clear()
            if self.skipping or len(line) > LONGEST:
                self.skipped += 1
                self.skipping = False
            else:
                yield line
        if not self.skipping:
            self.pending += rest
        if len(self.pending) > LONGEST:
            self.pending.clear()
            self.skipping = True

    def last(self) -> bytes:
        """Return the text after the last line break."""
        line = bytes(self.pending)
        self.pending.clear()
        return line


def parse_line(line: bytes) -> Mapping[str, Any] | None:
    """A line's JSON object; None for anything else, such as a warning that a program prints in between."""
    text = line.strip()
    if not text.startswith(b"{"):
        return None
    try:
        found = plain_json(
            json.loads(text, parse_int=_integer, parse_float=_float, parse_constant=lambda _name: None)
        )
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _integer(text: str) -> int | float | None:
    """A number as it can be recorded: large ones are not exact."""
    return int(text) if len(text) < 19 else _float(text)


def _float(text: str) -> float | None:
    found = float(text)
    return found if isfinite(found) else None
