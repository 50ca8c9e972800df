"""A model server's script from YAML, strict: every fault with its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from orchestra.config.durations import seconds
from orchestra.config.schema import suggestion
from orchestra.config.yaml import Document, load, read_all
from orchestra.config.yaml import Path as Keys
from orchestra.errors import ConfigError, Source, Span
from orchestra.modelserver.answers import KINDS, STOPS, Call, Failure, Rule, Script, ScriptedReply, TokenUsage, When

APIS = ("anthropic", "chat", "responses", "gemini", "bedrock")


def read(file: Path) -> Script:
    """The script in a file. Raises ``ConfigError``."""
    try:
        return parse(Source(str(file), file.read_text(encoding="utf-8-sig")))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"cannot read the script {file}: {error.strerror or error}") from error


def parse(source: Source | str) -> Script:
    """The script in a text. Raises ``ConfigError``.

    ::

        rules:
          - when: {model: "claude-*", contains: "review"}
            answers:
              - tool_calls: [{name: read-file, arguments: {path: a.txt}}]
              - text: "looks good"
        answers:
          - error: rate_limit
          - {text: hello, usage: {input: 100, output: 5}}
    """
    if isinstance(source, str):
        source = Source("script", source)
    document = load(source)
    given = _read_keys(document, (), document.data or {}, _SCRIPT)
    rules = tuple(given.get("rules", ()))
    answers = given.get("answers")
    if answers:
        rules = (*rules, Rule(answers=answers, repeat=given.get("repeat", True)))
    if not rules:
        raise ConfigError(
            "a model server's script needs 'answers:' or 'rules:'",
            span=document.span(()) or Span(source, 0, 1),
            fix='write it as answers: [{text: "…"}]',
        )
    return Script(rules=rules, strict=given.get("strict", True))


_Read = Callable[[Document, Keys, Any], Any]


def _read_keys(document: Document, path: Keys, value: Any, known: Mapping[str, _Read]) -> dict[str, Any]:
    """The keys of a mapping, each read as ``known`` says."""
    if not isinstance(value, dict):
        raise _wrong(document, path, f"keys and values are wanted here: {', '.join(known)}")

    def read(key: str) -> Any:
        if key in known:
            return known[key](document, (*path, key), value[key])
        meant = next((ours for ours in known if str(key).lower() in _OTHERS_WORDS.get(ours, ())), "")
        raise ConfigError(
            f"unknown key {key!r}",
            span=document.key_span((*path, key)),
            fix=f"did you mean {meant!r}?" if meant else suggestion(str(key), known),
        )

    return dict(zip(value, read_all(partial(read, key) for key in value), strict=True))


def _wrong(document: Document, path: Keys, message: str) -> ConfigError:
    return ConfigError(message, span=document.span(path))


def _text(document: Document, path: Keys, value: Any) -> str:
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if not isinstance(value, str):
        raise _wrong(document, path, "a text is wanted here")
    return value


def _flag(document: Document, path: Keys, value: Any) -> bool:
    if not isinstance(value, bool):
        raise _wrong(document, path, "true or false is wanted here")
    return value


def _count(document: Document, path: Keys, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**40:
        raise _wrong(document, path, "a number from 0 up is wanted here")
    return value


def _time(document: Document, path: Keys, value: Any) -> float:
    found = seconds(str(value))
    if found is None:
        raise _wrong(document, path, "a time such as 200ms, 1.5s or 2m is wanted")
    return found


def _one_of(words: tuple[str, ...]) -> _Read:
    def one(document: Document, path: Keys, value: Any) -> str:
        if value not in words:
            span, near = document.span(path), suggestion(str(value), words)
            raise ConfigError(f"one of {', '.join(words)} is wanted here", span=span, fix=near)
        return str(value)

    return one


def _list(inner: _Read) -> _Read:
    def listed(document: Document, path: Keys, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            return (inner(document, path, value),)
        return tuple(read_all(partial(inner, document, (*path, index), each) for index, each in enumerate(value)))

    return listed


def _answers(document: Document, path: Keys, value: Any) -> tuple[ScriptedReply, ...]:
    if not value:
        raise _wrong(document, path, "at least one answer is wanted here")
    found: tuple[ScriptedReply, ...] = _list(_answer)(document, path, value)
    return found


def _answer(document: Document, path: Keys, value: Any) -> ScriptedReply:
    if isinstance(value, str):
        return ScriptedReply(text=value)
    given = _read_keys(document, path, value, _ANSWER)
    if "error" in given:
        stray = next((key for key in given if key not in _WITH_ERROR), None)
        if stray is not None:
            message = f"{stray!r} cannot be combined with 'error'"
            raise ConfigError(message, span=document.key_span((*path, stray)))
    return ScriptedReply(**given)


def _arguments(document: Document, path: Keys, value: Any) -> Mapping[str, Any] | str:
    if isinstance(value, dict | str):
        return value
    raise _wrong(document, path, "keys and values are wanted here, or a text that is sent as it is")


def _call(document: Document, path: Keys, value: Any) -> Call:
    given = _read_keys(document, path, value, _CALL)
    if "name" not in given:
        raise _wrong(document, path, "a tool call needs a 'name'")
    return Call(**given)


def _usage(document: Document, path: Keys, value: Any) -> TokenUsage:
    usage = TokenUsage(**_read_keys(document, path, value, _USAGE))
    if usage.cached + usage.written > usage.input:
        raise _wrong(document, path, "'input' counts cached and written tokens too, so it cannot be less than they")
    return usage


def _error(document: Document, path: Keys, value: Any) -> Failure:
    if isinstance(value, str):
        return Failure(kind=_KIND(document, path, value))
    given = _read_keys(document, path, value, _ERROR)
    if "kind" not in given:
        if "status" not in given:
            raise _wrong(document, path, f"an error needs a 'kind': {', '.join(KINDS)}; or a 'status'")
        given["kind"] = "invalid_request" if given["status"] < 500 else "server_error"
    return Failure(**given)


def _status(document: Document, path: Keys, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 400 <= value < 600:
        raise _wrong(document, path, "an HTTP status from 400 to 599 is wanted here")
    return value


def _headers(document: Document, path: Keys, value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong(document, path, "names and values of headers are wanted here")
    found = {key: _text(document, (*path, key), inner) for key, inner in value.items()}
    for key, inner in found.items():
        if not (key + inner).isascii() or not (key + inner).isprintable():
            raise _wrong(document, (*path, key), "a header is one line of ASCII")
    return found


def _raw(document: Document, path: Keys, value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _as_is(document: Document, path: Keys, value: Any) -> Any:
    return value


def _when(document: Document, path: Keys, value: Any) -> When:
    return When(**_read_keys(document, path, value, _WHEN))


def _rule(document: Document, path: Keys, value: Any) -> Rule:
    given = _read_keys(document, path, value, _RULE)
    if "answers" not in given:
        raise _wrong(document, path, "a rule needs 'answers'")
    return Rule(**given)


_KIND = _one_of(tuple(KINDS))
_CALL: Mapping[str, _Read] = {"name": _text, "arguments": _arguments, "id": _text}
_USAGE: Mapping[str, _Read] = dict.fromkeys(("input", "output", "cached", "written", "reasoning"), _count)
_ERROR: Mapping[str, _Read] = {
    "kind": _KIND,
    "status": _status,
    "message": _text,
    "body": _as_is,
    "retry_after": _time,
    "after": _count,
}
_ANSWER: Mapping[str, _Read] = {
    "text": _text,
    "thinking": _text,
    "tool_calls": _list(_call),
    "usage": _usage,
    "stop": _one_of(STOPS),
    "error": _error,
    "headers": _headers,
    "delay": _time,
    "pace": _time,
    "break_after": _count,
    "silent_after": _count,
    "empty": _flag,
    "raw": _raw,
}
_WITH_ERROR = frozenset({"error", "headers", "delay", "pace", "text"})
_WHEN: Mapping[str, _Read] = {
    "model": _text,
    "contains": _text,
    "system": _text,
    "tool": _text,
    "api": _one_of(APIS),
}
_RULE: Mapping[str, _Read] = {"when": _when, "answers": _answers, "repeat": _flag}
_SCRIPT: Mapping[str, _Read] = {
    "rules": _list(_rule),
    "answers": _answers,
    "repeat": _flag,
    "strict": _flag,
}
_OTHERS_WORDS: Mapping[str, tuple[str, ...]] = {
    "answers": ("responses", "replies", "turns", "script"),
    "api": ("provider", "protocol", "kind"),
    "arguments": ("args", "input", "parameters", "params"),
    "break_after": ("cut_after", "close_after", "abort_after"),
    "contains": ("prompt", "user", "message", "match", "last"),
    "delay": ("wait", "sleep", "latency", "timeout"),
    "error": ("failure", "fail", "status", "exception"),
    "input": ("prompt_tokens", "tokens_in"),
    "kind": ("type", "code", "error"),
    "name": ("tool", "function"),
    "output": ("completion_tokens", "tokens_out"),
    "raw": ("body",),
    "repeat": ("loop", "cycle", "times"),
    "retry_after": ("retry",),
    "rules": ("cases", "matches"),
    "silent_after": ("hang_after", "stall_after", "silence"),
    "status": ("http_status", "status_code", "http"),
    "stop": ("stop_reason", "finish_reason", "finish", "reason"),
    "system": ("system_prompt", "instructions"),
    "text": ("response", "content", "reply", "answer", "message", "output"),
    "thinking": ("reasoning",),
    "tool_calls": ("tools", "calls", "functions", "tool"),
    "usage": ("tokens",),
    "when": ("if", "match", "where"),
    "written": ("cache_write", "cache_creation"),
    "cached": ("cache_read",),
}
"""What providers, simulation scripts and other tools call our keys."""
