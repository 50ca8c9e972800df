"""Rules about words that must mean something: types, shapes, fidelity modes, ids, attribute names."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

from orchestra.errors import Diagnostic, Span
from orchestra.graph.attributes import EDGE, FIDELITIES, GRAPH, NODE, SHAPES, Scope
from orchestra.graph.lint.nearest import Vocabulary, nearest
from orchestra.graph.lint.survey import BUILT_IN_TYPES, Survey, quoted, warning
from orchestra.graph.model import Attribute


def type_known(survey: Survey) -> Iterator[Diagnostic]:
    """Every ``type`` has a handler, and every shape that picks the handler is a known one (language.md 3)."""
    known = sorted(survey.known_types)
    for node, attribute in survey.written_on_nodes("type"):
        kind = str(attribute.value)
        if not kind or kind in survey.known_types:
            continue
        meant = nearest(kind, known)
        yield warning(
            "type_known",
            f"no handler is registered for type {quoted(kind)}:"
            f" {quoted(node.id)} would run as {survey.types[survey.index[node.id]]}",
            attribute.span,
            node=node.id,
            fix=f"did you mean {quoted(meant)}?" if meant else f"use one of {', '.join(known)}",
        )
    yield from _shapes(survey)


def _shapes(survey: Survey) -> Iterator[Diagnostic]:
    for node, attribute in survey.written_on_nodes("shape"):
        shape = str(attribute.value)
        if shape in SHAPES or node.id in survey.starts or node.id in survey.exits:
            continue
        if node.text("type") in survey.known_types and node.text("type"):
            continue
        meant = nearest(shape, SHAPES)
        yield warning(
            "type_known",
            f"shape {quoted(shape)} picks no handler: {quoted(node.id)} would be an LLM node",
            attribute.span,
            node=node.id,
            fix=f"did you mean {quoted(meant)}?"
            if meant
            else f"shapes with a meaning are {', '.join(SHAPES)}; or set `type`",
        )


def fidelity_valid(survey: Survey) -> Iterator[Diagnostic]:
    """Every fidelity is a mode that there is (engine.md 6)."""
    for node, attribute in survey.written_on_nodes("fidelity"):
        yield from _mode(str(attribute.value), attribute.span, node=node.id)
    for edge, attribute in survey.written_on_edges("fidelity"):
        yield from _mode(str(attribute.value), attribute.span, edge=(edge.source, edge.target))
    written = survey.graph.attributes.get("default_fidelity")
    if written is not None:
        yield from _mode(str(written.value), written.span)


def _mode(
    mode: str, span: Span, *, node: str | None = None, edge: tuple[str, str] | None = None
) -> Iterator[Diagnostic]:
    if not mode or mode in FIDELITIES:
        return
    meant = nearest(mode, FIDELITIES)
    yield warning(
        "fidelity_valid",
        f"{quoted(mode)} is no fidelity mode: what the LLM sees of earlier work would be decided without it",
        span,
        node=node,
        edge=edge,
        fix=f"did you mean {quoted(meant)}?" if meant else f"use one of {', '.join(FIDELITIES)}",
    )


def retry_target_exists(survey: Survey) -> Iterator[Diagnostic]:
    """Every retry target names a node."""
    for key in ("retry_target", "fallback_retry_target"):
        for node, attribute in survey.written_on_nodes(key):
            yield from _target(survey, key, str(attribute.value), attribute.span, node.id)
        written = survey.graph.attributes.get(key)
        if written is not None:
            yield from _target(survey, key, str(written.value), written.span, None)


def _target(survey: Survey, key: str, target: str, span: Span, node: str | None) -> Iterator[Diagnostic]:
    if not target or target in survey.index:
        return
    meant = survey.declared.nearest(target)
    owner = f"{quoted(node)} would have no" if node else "unmet goal gates would have no"
    yield warning(
        "retry_target_exists",
        f"{key} names {quoted(target)}, and there is no such node:"
        f" {owner} {'way back' if key == 'retry_target' else 'second way back'}",
        span,
        node=node,
        fix=f"did you mean {quoted(meant)}?" if meant else "name a node of this pipeline",
    )


def unknown_attribute(survey: Survey) -> Iterator[Diagnostic]:
    """A key without meaning is neither a known one misspelt nor one that belongs elsewhere (section 2)."""
    for attribute in survey.graph.attributes.values():
        if not _means_something(GRAPH, attribute.key):
            yield from _key(GRAPH, attribute)
    for key in survey.on_nodes:
        if not _means_something(NODE, key):
            for node, attribute in survey.written_on_nodes(key):
                custom = survey.types[survey.index[node.id]] not in BUILT_IN_TYPES
                yield from _key(NODE, attribute, node=node.id, custom=custom)
    for key in survey.on_edges:
        if not _means_something(EDGE, key):
            for edge, attribute in survey.written_on_edges(key):
                yield from _key(EDGE, attribute, edge=(edge.source, edge.target))


def _means_something(scope: Scope, key: str) -> bool:
    return key in scope.entries or key in scope.aliases or key in scope.old_words or key in scope.drawing


def _key(
    scope: Scope,
    attribute: Attribute,
    *,
    node: str | None = None,
    edge: tuple[str, str] | None = None,
    custom: bool = False,
) -> Iterator[Diagnostic]:
    key = attribute.key
    meant = _vocabulary(scope.name).nearest(key)
    owner = next((other for other in (GRAPH, NODE, EDGE) if key in other.entries), None)
    if meant:
        message = f"{quoted(key)} means nothing on {_ON[scope.name]}, so it would be ignored"
        fix = f"did you mean {quoted(meant)}?"
    elif owner is not None and not custom:
        message = f"{quoted(key)} belongs on {_ON[owner.name]}; on {_ON[scope.name]} it would be ignored"
        fix = f"write it on {_ON[owner.name]}"
    else:
        return
    yield warning("unknown_attribute", message, attribute.key_span, node=node, edge=edge, fix=fix)


_ON = {"graph": "the graph", "node": "a node", "edge": "an edge"}


@cache
def _vocabulary(scope: str) -> Vocabulary:
    entries = {"graph": GRAPH, "node": NODE, "edge": EDGE}[scope]
    return Vocabulary((*entries.entries, *entries.aliases), budget=None)
