"""Simulation scripts: YAML that says what each node answers (cli.md#simulation-scripts)."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from orchestra.agents.simulation import ONLY_AGENTS, ONLY_COMMANDS, Scenario, Script, ScriptedResult
from orchestra.config import schema
from orchestra.config.schema import Section, SettingPlace
from orchestra.errors import ConfigError, Source
from orchestra.graph.conditions import normalize_label
from orchestra.graph.nearest import nearest
from orchestra.run.outcome import FailureClass


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

    def whole(data: Any, place: SettingPlace) -> Scenario:
        return Scenario() if data is None else _scenario(data, place, cast)

    return replace(schema.read(source, whole), text=source.text or NO_RESULTS)


NO_RESULTS = "# no results\n"
"""What is recorded of an empty script: every agent is simulated all the same."""


_PARTS = ("nodes", "children")


def _scenario(data: Any, place: SettingPlace, cast: Cast) -> Scenario:
    fix = "write it as: nodes: {NODE: {text: …}}"
    if not isinstance(data, dict) or not data:
        place.fault("a simulation script is a 'nodes:' key with results by node id", fix)
        return Scenario()
    for key, part in data.items():
        if key not in _PARTS:
            place.at(key).key_fault("a simulation script has the keys 'nodes:' and 'children:' only", fix)
        elif not isinstance(part, dict):
            place.at(key).fault("expected nodes by their ids", fix)
    parts = {key: part for key, part in data.items() if key in _PARTS and isinstance(part, dict)}
    children = {
        node: _times(scripts, place.at("children", node), node, cast)
        for node, scripts in parts.get("children", {}).items()
    }
    script = _script(parts.get("nodes", {}), place.at("nodes"), cast)
    return Scenario(script=script, text=json.dumps(data), children=children)


def _script(data: dict[str, Any], place: SettingPlace, cast: Cast) -> Script:
    found: dict[str, tuple[ScriptedResult, ...]] = {}
    for node, results in data.items():
        here = place.at(node)
        if node not in cast.nodes:
            here.key_fault(f"the pipeline has no node {node!r}", _near(node, cast.nodes))
        elif node in cast.unasked:
            message = f"node {node!r} asks no agent; its scripted result would never be used"
            here.key_fault(message, "take it out, or script the node before it")
        else:
            found[node] = _results(results, here, node, cast)
    return found


def _times(scripts: Any, place: SettingPlace, node: str, cast: Cast) -> tuple[Scenario, ...]:
    """The scripts of a node's child, one for each time that it is run."""
    if node not in cast.children:
        place.key_fault(f"the pipeline has no node {node!r} that runs a child", _near(node, cast.children))
        return ()
    child = cast.children[node]
    if cast.tools is None:
        child = replace(child, tools=None, unasked=())
    if isinstance(scripts, list) and scripts:
        return tuple(_scenario(each, place.at(index), child) for index, each in enumerate(scripts))
    return (_scenario(scripts, place, child),)


def _near(node: str, known: Collection[str]) -> str:
    near = get_close_matches(node, list(known), n=1)
    return f"did you mean {near[0]!r}?" if near else ""


def _results(results: Any, place: SettingPlace, node: str, cast: Cast) -> tuple[ScriptedResult, ...]:
    if isinstance(results, dict):
        return (_result(results, place, node, cast),)
    if not isinstance(results, list) or not results:
        place.fault("expected a list of results", 'write it as [{text: "…"}]')
        return ()
    return tuple(_result(one, place.at(index), node, cast) for index, one in enumerate(results))


def _result(given: Any, place: SettingPlace, node: str, cast: Cast) -> ScriptedResult:
    if not isinstance(given, dict):
        place.fault("a result is keys and values, such as {status: fail}")
        return ScriptedResult()
    result = Section(ScriptedResult)(given, place)
    _check_kind(given, place, node, cast)
    if result.error and result.failure_class == FailureClass.CANCELED:
        place.at("failure_class").fault("an exception is transient or terminal, not canceled")
    if "exit_code" in given and "status" in given:
        place.at("status").key_fault("status and exit_code say the same", "leave one of them out")
    _check_label(result.label, place, cast)
    return result


def _check_kind(given: dict[str, Any], place: SettingPlace, node: str, cast: Cast) -> None:
    """Refuse keys that a node of this kind does not have."""
    if cast.tools is None:
        return
    command = node in cast.tools
    others = ONLY_AGENTS if command else ONLY_COMMANDS
    known = ", ".join(each.name for each in fields(ScriptedResult) if each.name not in others)
    for name in others & given.keys():
        place.at(name).key_fault(f"is not for {'commands' if command else 'agents'}", f"known here: {known}")
    if command and given.get("status", "fail") not in ("success", "fail"):
        place.at("status").fault("a command ends with success or fail")


def _check_label(label: str, place: SettingPlace, cast: Cast) -> None:
    """Refuse a label that no edge has and that one nearly has: it would choose nothing."""
    labels = {normalize_label(each): each for each in cast.labels}
    wanted = normalize_label(label)
    near = nearest(wanted, labels) if label and wanted not in labels else None
    if near:
        place.at("label").fault(f"no edge has the label {label!r}", f"did you mean {labels[near]!r}?")
