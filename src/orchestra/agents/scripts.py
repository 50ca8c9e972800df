"""Simulation scripts: YAML that says what each node answers (cli.md#simulation-scripts)."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from orchestra.agents.simulation import Scenario, Script, ScriptedResult
from orchestra.config.durations import seconds
from orchestra.config.yaml import Document, load, read_all
from orchestra.config.yaml import Path as Keys
from orchestra.errors import ConfigError, Source
from orchestra.graph.attributes import nearest
from orchestra.graph.conditions import normalize_label
from orchestra.run.outcome import FailureClass, Status
from orchestra.run.secrets import plain_json

_Known: TypeAlias = Mapping[str, Callable[[Any], Any]]
"""The keys that a result may have, and how each is read."""


def read_script(file: Path) -> Source:
    """The text of a script file. Raises ``ConfigError``."""
    try:
        return Source(str(file), file.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text (byte {error.start})") from error
    except OSError as error:
        raise ConfigError(f"cannot read the simulation script {file}: {error.strerror or error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """What may be scripted: a pipeline's nodes, its commands and its children by node.

    ``unasked`` are the nodes without an agent, ``tools`` those whose command's end is scripted (None: either kind
    of result may stand for any node). ``labels`` are those of the pipeline's edges.
    """

    nodes: Collection[str]
    unasked: Collection[str] = ()
    tools: Collection[str] | None = ()
    labels: Collection[str] = ()
    children: Mapping[str, Cast] = field(default_factory=dict)


def parse_script(source: Source, cast: Cast) -> Scenario:
    """The script in a text, its node ids checked against the pipeline's. Raises ``ConfigError``.

    ::

        nodes:
          review:
            - {status: fail, text: "two problems", label: Reject, delay: 200ms}
            - {text: "looks good", updates: {score: 9}}
          build: {exit_code: 2, stderr: "no rule to make target"}
        children:
          release:
            nodes:
              tag: {status: fail}
    """
    document = load(source)
    if document.data is None:
        return Scenario(text=source.text)
    found = _scenario(document, (), document.data, cast)
    return Scenario(script=found.script, text=source.text, children=found.children)


_PARTS = ("nodes", "children")


def _scenario(document: Document, path: Keys, data: Any, cast: Cast) -> Scenario:
    if not isinstance(data, dict) or not data or not all(_part(data, key) for key in data):
        stray = next((key for key in data if key not in _PARTS), None) if isinstance(data, dict) else None
        span = document.key_span((*path, stray)) if stray is not None else document.span(path)
        raise ConfigError("a simulation script is a 'nodes:' key with results by node id", span=span)
    children = {
        node: _times(document, (*path, "children", node), scripts, cast)
        for node, scripts in data.get("children", {}).items()
    }
    script = _script(document, (*path, "nodes"), data.get("nodes", {}), cast)
    return Scenario(script=script, text=json.dumps(data), children=children)


def _part(data: dict[str, Any], key: str) -> bool:
    return key in _PARTS and isinstance(data[key], dict)


def _script(document: Document, path: Keys, data: dict[str, Any], cast: Cast) -> Script:
    def read(node: str) -> tuple[ScriptedResult, ...]:
        here = (*path, node)
        if node not in cast.nodes:
            raise ConfigError(
                f"the pipeline has no node {node!r}", span=document.key_span(here), fix=_near(node, cast.nodes)
            )
        if node in cast.unasked:
            raise ConfigError(
                f"node {node!r} asks no agent; its scripted result would never be used",
                span=document.key_span(here),
                fix="take it out, or script the node before it",
            )
        results = _results(document, here, data[node], _keys(cast, node))
        for index, result in enumerate(results):
            _check_label(document, here, index, result.label, cast)
        return results

    return dict(zip(data, read_all(partial(read, node) for node in data), strict=True))


def _check_label(document: Document, path: Keys, index: int, label: str, cast: Cast) -> None:
    """Refuse a label that no edge has and that one nearly has: it would choose nothing."""
    labels = {normalize_label(each): each for each in cast.labels}
    wanted = normalize_label(label)
    if not label or wanted in labels:
        return
    near = nearest(wanted, labels)
    if near:
        spans = (document.span((*path, index, "label")), document.span((*path, "label")), document.span(path))
        raise ConfigError(
            f"no edge has the label {label!r}",
            span=next((span for span in spans if span is not None), None),
            fix=f"did you mean {labels[near]!r}?",
        )


def _keys(cast: Cast, node: str) -> _Known:
    if cast.tools is None:
        return _EITHER_KEYS
    return _TOOL_KEYS if node in cast.tools else _AGENT_KEYS


def _times(document: Document, path: Keys, scripts: Any, cast: Cast) -> tuple[Scenario, ...]:
    """The scripts of a node's child, one for each time that it is run."""
    node = str(path[-1])
    if node not in cast.children:
        raise ConfigError(
            f"the pipeline has no node {node!r} that runs a child",
            span=document.key_span(path),
            fix=_near(node, cast.children),
        )
    child = cast.children[node]
    if cast.tools is None:
        child = replace(child, tools=None, unasked=())
    if isinstance(scripts, list) and scripts:
        return tuple(_scenario(document, (*path, index), each, child) for index, each in enumerate(scripts))
    return (_scenario(document, path, scripts, child),)


def _near(node: str, known: Collection[str]) -> str:
    near = get_close_matches(node, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def _results(document: Document, path: Keys, results: Any, known: _Known) -> tuple[ScriptedResult, ...]:
    if isinstance(results, dict):
        return (_result(document, path, results, known),)
    if not isinstance(results, list) or not results:
        raise ConfigError(
            "a list of results is wanted here", span=document.span(path), fix='write it as [{text: "…"}]'
        )
    each = (partial(_result, document, (*path, index), item, known) for index, item in enumerate(results))
    return tuple(read_all(each))


def _result(document: Document, path: Keys, result: Any, known: _Known) -> ScriptedResult:
    if not isinstance(result, dict):
        raise ConfigError("a result is keys and values, such as {status: fail}", span=document.span(path))

    def read(key: str) -> Any:
        here = (*path, key)
        if key not in known:
            fix = _near(key, known) or f"known here: {', '.join(known)}"
            raise ConfigError(f"unknown key {key!r} in a result", span=document.key_span(here), fix=fix)
        try:
            return known[key](result[key])
        except ValueError as error:
            raise ConfigError(f"{key}: {error}", span=document.span(here)) from error

    values = dict(zip(result, read_all(partial(read, key) for key in result), strict=True))
    if values.get("error") and values.get("failure_class") == FailureClass.CANCELED:
        raise ConfigError(
            "an exception is transient or terminal, not canceled", span=document.span((*path, "failure_class"))
        )
    if "exit_code" in values and "status" in values:
        raise ConfigError(
            "status and exit_code say the same",
            span=document.key_span((*path, "status")),
            fix="leave one of them out",
        )
    return ScriptedResult(**values)


def _text(value: Any) -> str:
    if isinstance(value, bool | int | float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    if not isinstance(value, str):
        raise ValueError("a text is wanted here")
    return value


def _status(value: Any) -> str:
    text = _text(value)
    if not text:
        raise ValueError(f"one of {', '.join(Status)} is wanted, or a word that an outgoing edge asks for")
    return text


def _names(value: Any) -> tuple[str, ...]:
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list):
        raise ValueError("a node id or a list of them is wanted here")
    return tuple(_text(item) for item in items)


def _updates(value: Any) -> Any:
    if not isinstance(value, dict):
        raise ValueError("keys and values are wanted here")
    return plain_json(value)


def _writes(value: Any) -> dict[str, str]:
    """Files and their texts, by paths inside the workspace."""
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise ValueError("paths and texts are wanted here")
    for name in value:
        if not name or name.startswith("/") or {"..", ".git", ""} & set(name.split("/")):
            raise ValueError(f"{name!r} is not a path inside the workspace")
    return dict(value)


def _delay(value: Any) -> float:
    found = seconds(_text(value))
    if found is None:
        raise ValueError("a time such as 200ms, 1.5s or 2m is wanted")
    return found


def _count(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**40:
        raise ValueError("a number of tokens is wanted, such as 1200")
    return value


def _cost(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
        raise ValueError("an amount in dollars is wanted, such as 0.25")
    return float(value)


def _class(value: Any) -> str:
    if value not in list(FailureClass):
        raise ValueError(f"one of {', '.join(FailureClass)} is wanted")
    return str(value)


def _exit_code(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 256:
        raise ValueError("an exit code is wanted: 0 for success, 1 to 255 for a failure")
    return value


def _end(value: Any) -> str:
    if value not in ("success", "fail"):
        raise ValueError("a command ends with success or fail")
    return str(value)


_AGENT_KEYS: _Known = {
    "status": _status,
    "text": _text,
    "label": _text,
    "suggest": _names,
    "updates": _updates,
    "notes": _text,
    "reason": _text,
    "failure_class": _class,
    "retry_after": _delay,
    "delay": _delay,
    "error": _text,
    "tokens_in": _count,
    "tokens_out": _count,
    "cost": _cost,
    "writes": _writes,
}
_TOOL_KEYS: _Known = {
    "status": _end,
    "exit_code": _exit_code,
    "text": _text,
    "stderr": _text,
    "notes": _text,
    "reason": _text,
    "failure_class": _class,
    "delay": _delay,
    "error": _text,
}
_EITHER_KEYS: _Known = {**_TOOL_KEYS, **_AGENT_KEYS}
