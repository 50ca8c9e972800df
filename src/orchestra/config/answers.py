"""``--answers FILE``: answers that are written down before a run, as YAML (humans.md H1)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from orchestra.config.schema import suggestion
from orchestra.config.yaml import Document, load
from orchestra.config.yaml import Path as Keys
from orchestra.errors import ConfigError, Source, Span

_KEYS = ("choice", "text", "skip")


class WrittenAnswer(NamedTuple):
    """One written answer, a choice, words, both, or a skip, with its place."""

    choice: str = ""
    text: str = ""
    skip: bool = False
    who: str = "answers"
    span: Span | None = None


class AnswerFile(NamedTuple):
    """The answers of a file: for any node in the order of asking, or by node."""

    any: tuple[WrittenAnswer, ...] = ()
    by_node: Mapping[str, tuple[WrittenAnswer, ...]] = {}


def read_answers(path: Path) -> AnswerFile:
    """The answers in a file. Raises ``ConfigError`` with the place of what cannot be used.

    ::

        answers:              # in the order in which is asked: answers: [Ship, N]
          review: [Fix, Ship] # the first visit of the node review, the second
          notes: {text: "written by the release team"}
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise ConfigError(f"{path}: {reason or error}") from error
    return parse_answers(Source(str(path), text))


def parse_answers(source: Source) -> AnswerFile:
    """The answers in a text. Raises ``ConfigError``."""
    document = load(source)
    data = document.data
    if not isinstance(data, dict) or list(data) != ["answers"]:
        stray = next((key for key in data if key != "answers"), None) if isinstance(data, dict) else None
        span = document.key_span((stray,)) if stray is not None else document.span(())
        raise ConfigError(
            "a file of answers has one key, 'answers:', with a list of answers or answers by node",
            span=span or Span(source, 0, 1),
            fix="write it as: answers: {review: [Approve]}",
        )
    written = data["answers"]
    if isinstance(written, list):
        return AnswerFile(any=_answers(document, ("answers",), written))
    if not isinstance(written, dict) or not written:
        raise ConfigError("expected answers by node, or a list of answers", span=document.span(("answers",)))
    return AnswerFile(by_node={node: _answers(document, ("answers", node), each) for node, each in written.items()})


def check_answers(answers: AnswerFile, gates: Collection[str], agents: Collection[str] = ()) -> None:
    """Raise ``ConfigError`` for answers to nodes that never ask; agents and their tools may ask."""
    for node, mine in answers.by_node.items():
        if node in gates or node in agents:
            continue
        near = suggestion(node, [*gates, *agents])
        known = f"human nodes: {', '.join(sorted(gates))}" if gates else "the pipeline has none"
        raise ConfigError(
            f"the pipeline has no human node and no agent {node!r}",
            span=mine[0].span,
            fix=near if near.startswith("did") else known,
        )


def _answers(document: Document, path: Keys, data: Any) -> tuple[WrittenAnswer, ...]:
    if isinstance(data, list):
        if not data:
            raise ConfigError("the list of answers is empty", span=document.span(path))
        return tuple(_answer(document, (*path, index), each) for index, each in enumerate(data))
    return (_answer(document, path, data),)


def _answer(document: Document, path: Keys, data: Any) -> WrittenAnswer:
    span = document.span(path)
    where = document.source.name
    if span is not None:
        where = f"{where}:{document.source.position(span.start)[0]}"
    if isinstance(data, dict):
        return _parts(document, path, data, where)
    choice = _words(data)
    if choice is None or not choice.strip():
        raise ConfigError(
            "an answer must be a choice (its key, label or number), or {text: …}", span=span, fix="such as: Approve"
        )
    return WrittenAnswer(choice, "", False, where, span)


def _parts(document: Document, path: Keys, data: dict[str, Any], where: str) -> WrittenAnswer:
    for key, value in data.items():
        if key not in _KEYS:
            span = document.key_span((*path, key))
            raise ConfigError(f"unknown key {key!r} in an answer", span=span, fix=suggestion(key, _KEYS))
        if key == "skip" and not isinstance(value, bool):
            raise ConfigError("skip must be true or false", span=document.span((*path, key)))
        if key != "skip" and _words(value) is None:
            raise ConfigError(f"{key} must be a text", span=document.span((*path, key)))
    choice, text = _words(data.get("choice", "")) or "", _words(data.get("text", "")) or ""
    if not (choice.strip() or text.strip() or data.get("skip")):
        raise ConfigError("the answer is empty", span=document.span(path), fix="add a choice or a text")
    return WrittenAnswer(choice, text, bool(data.get("skip")), where, document.span(path))


def _words(value: Any) -> str | None:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return value if isinstance(value, str) else None
