"""Rules about the names of attributes: unknown ones, and those that a node's type never reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

from orchestra.errors import Diagnostic, Edit, Span
from orchestra.graph.attributes import BUILT_IN_TYPES, EDGE, GRAPH, NODE, SHAPES, AttributeScope
from orchestra.graph.lint.dialects import ADVICE, OUR_KEYS
from orchestra.graph.lint.survey import Owner, Survey, quote, swap_edit, warning
from orchestra.graph.model import Attribute, Node
from orchestra.graph.nearest import Vocabulary, edit_distance
from orchestra.graph.parser.typed import Misfit, read_typed
from orchestra.graph.render import literal

_LAYOUTS = frozenset({"circuit", "subset", "mds", "shortpath"})
"""Values of Graphviz' own graph attribute ``model``."""


def unknown_attribute(survey: Survey) -> Iterator[Diagnostic]:
    """An unknown key is not a misspelled, foreign or misplaced known one (language.md#attributes)."""
    for attribute in survey.graph.attributes.values():
        if not _means_something(GRAPH, attribute):
            yield from _key(GRAPH, attribute)
    for key, nodes in survey.on_nodes.items():
        if not _means_something(NODE, nodes[0][1]):
            for node, attribute in survey.node_places(key):
                custom = survey.type_of[node.id] not in BUILT_IN_TYPES
                yield from _key(NODE, attribute, of=node, custom=custom)
    for key, edges in survey.on_edges.items():
        if not _means_something(EDGE, edges[0][1]):
            for edge, attribute in survey.edge_places(key):
                yield from _key(EDGE, attribute, of=edge)


def _means_something(scope: AttributeScope, attribute: Attribute) -> bool:
    key = attribute.key
    if key == "model":  # Graphviz' own on a graph, a common slip everywhere
        return scope is GRAPH and attribute.value in _LAYOUTS
    if key == "stylesheet" and "{" in str(attribute.value):  # Graphviz' own names a file
        return False
    return key in scope.entries or key in scope.aliases or key in scope.old_words or key in scope.drawing


def _key(
    scope: AttributeScope,
    attribute: Attribute,
    *,
    of: Owner | None = None,
    custom: bool = False,
) -> Iterator[Diagnostic]:
    key = attribute.key
    owner = next((other for other in (GRAPH, NODE, EDGE) if key in other.entries), None)
    near = _vocabulary(scope.name).nearest(key)
    close = near and owner is None and edit_distance(key, near, 2) < 2
    word, advice = ("", "") if custom or close else _said_elsewhere(scope, key)
    if not word and near and (owner is None or (edit_distance(key, near, 2) < 2 and _fits(scope, near, attribute))):
        word = near
    if not (word or advice or custom or owner):
        like = _dialect(scope.name).nearest(_fold_key(key))
        if like and edit_distance(_fold_key(key), like, 2) < 2:
            word, advice = _said_elsewhere(scope, like)
    if word == "retry_target" and attribute.value in NODE.entries["error_policy"].choices:
        word = "error_policy"
    edits: tuple[Edit, ...] = ()
    if word or advice:
        message = f"{quote(key)} is unknown on {_ON[scope.name]}, so it would be ignored"
        fix, edits = _renaming(attribute, word) if word else (advice, ())
    elif key.startswith(scope.prefixes) and not custom:
        family = key.partition(".")[0] + "."
        message = f"{quote(key)} is unknown on {_ON[scope.name]}, so it would be ignored"
        fix = f"known are {', '.join(each for each in scope.entries if each.startswith(family))}"
    elif owner is not None and not custom:
        message = f"{quote(key)} belongs on {_ON[owner.name]}; on {_ON[scope.name]} it would be ignored"
        fix = f"write it on {_ON[owner.name]}"
    else:
        return
    yield warning(message, attribute.key_span, of=of, fix=fix, edits=edits)


def _fits(scope: AttributeScope, key: str, attribute: Attribute) -> bool:
    """Whether an attribute's value could be that of another key."""
    try:
        read_typed(scope.entry(key), str(literal(attribute.value)).strip('"'), True)
    except Misfit:
        return False
    return True


_UNITS = {"ms": "ms", "millis": "ms", "s": "s", "sec": "s", "seconds": "s", "mins": "m", "minutes": "m"}


def _renaming(attribute: Attribute, word: str) -> tuple[str, tuple[Edit, ...]]:
    """Return how to write an attribute with our key and value: ``timeout_ms=500`` is ``timeout=500ms``."""
    edits, value = rename_edit(attribute, word), str(attribute.value)
    plain, put = _fold_key(attribute.key), ""
    if value.isdecimal() and len(value) < 10:
        if word == "timeout" and plain.rpartition("_")[2] in _UNITS:
            put = value + _UNITS[plain.rpartition("_")[2]]
        elif plain.endswith("attempts") and int(value) > 0:
            put = str(int(value) - 1)
    if not put:
        return f"did you mean {quote(word)}?", edits
    return f"write {word}={put}", (*edits, Edit(attribute.span, put))


def _fold_key(key: str) -> str:
    """Return a key in lower case with underscores: ``maxRetries`` and ``max-retries`` are one."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[-.]", "_", key).lower()


def _said_elsewhere(scope: AttributeScope, key: str) -> tuple[str, str]:
    """Our word for what other tools call ``key``, and what to do where there is none; empty for neither."""
    plain = _fold_key(key)
    word = _plain_keys(scope.name).get(plain, "") or OUR_KEYS[scope.name].get(plain, "")
    return word if word != key else "", "" if word or scope is EDGE else ADVICE.get(plain, "")


def rename_edit(attribute: Attribute, key: str) -> tuple[Edit, ...]:
    """The edit that gives an attribute another key, in quotes where it stands in quotes now."""
    span = attribute.key_span
    return swap_edit(span, key) if span.text.startswith('"') else (Edit(span, key),)


_ON = {"graph": "the graph", "node": "a node", "edge": "an edge"}


@cache
def _vocabulary(scope: str) -> Vocabulary:
    entries = {"graph": GRAPH, "node": NODE, "edge": EDGE}[scope]
    return Vocabulary((*entries.entries, *entries.aliases), budget=None)


@cache
def _plain_keys(scope: str) -> dict[str, str]:
    entries = {"graph": GRAPH, "node": NODE, "edge": EDGE}[scope].entries
    return {_fold_key(key): key for key in entries}


@cache
def _dialect(scope: str) -> Vocabulary:
    """Other tools' words that are long enough to be recognized when they are misspelt."""
    return Vocabulary((word for word in (*OUR_KEYS[scope], *ADVICE) if len(word) > 4), budget=None)


_READERS = {
    "prompt": frozenset({"codergen", "parallel.fan_in", "stack.manager_loop"}),
    "tool_command": frozenset({"tool"}),
    "join_policy": frozenset({"parallel"}),
    "error_policy": frozenset({"parallel"}),
    "max_parallel": frozenset({"parallel"}),
    "for_each": frozenset({"parallel"}),
    "max_items": frozenset({"parallel"}),
    "k": frozenset({"parallel"}),
    "quorum": frozenset({"parallel"}),
    "merge": frozenset({"parallel.fan_in"}),
    "merge_code": frozenset({"parallel.fan_in"}),
    "human.timeout": frozenset({"wait.human"}),
    "human.default_choice": frozenset({"wait.human"}),
}
"""The handler types that read an attribute; no others do."""

_NAMES = {
    "start": "the start node",
    "exit": "the exit node",
    "conditional": "a diamond",
    "codergen": "an LLM node",
    "wait.human": "a human gate",
    "tool": "a tool node",
    "parallel": "a parallel node",
    "parallel.fan_in": "a fan-in",
    "stack.manager_loop": "a manager",
    "pipeline": "a child pipeline's node",
}


def unused_attribute(survey: Survey) -> Iterator[Diagnostic]:
    """A node has no attribute that its type never reads: no prompt on a diamond, no command on a box."""
    for key, readers in _READERS.items():
        for node, attribute in survey.on_nodes.get(key, ()):
            kind = survey.type_of[node.id]
            if kind in readers or kind not in BUILT_IN_TYPES or attribute.origin != "explicit":
                continue
            if str(attribute.value).strip() and not _has_own_finding(survey, node):
                fix, edits = _instead(key, kind, node, attribute)
                yield warning(
                    f"{quote(node.id)} is {_NAMES[kind]}, which never reads {quote(key)}",
                    attribute.key_span,
                    of=node,
                    fix=fix,
                    edits=edits,
                )

    for key, policy in (("k", "k_of_n"), ("quorum", "quorum")):
        for node, attribute in survey.on_nodes.get(key, ()):
            if node.text("join_policy") != policy and survey.type_of[node.id] == "parallel":
                yield warning(
                    f"{quote(key)} of {quote(node.id)} is read only with `join_policy={policy}`",
                    attribute.key_span,
                    of=node,
                    fix=f"add `join_policy={policy}`, or remove it",
                )


def _has_own_finding(survey: Survey, node: Node) -> bool:
    """Whether ``type_known`` says already that the node is not what its author thinks."""
    kind, shape = node.text("type"), node.text("shape")
    return (bool(kind) and kind not in survey.known_types) or (not kind and shape not in SHAPES)


def _instead(key: str, kind: str, node: Node, attribute: Attribute) -> tuple[str, tuple[Edit, ...]]:
    """What to do about an attribute that is never read."""
    if key == "tool_command" and kind == "codergen":
        return "add `shape=parallelogram`, which makes it a tool node", _shape_edit(
            node, attribute, "parallelogram"
        )
    if key == "prompt" and kind == "tool" and not node.has("tool_command"):
        return "did you mean 'tool_command'?", rename_edit(attribute, "tool_command")
    if key == "prompt" and kind == "wait.human":
        if not node.has("label"):
            return "write it as the `label`: that is the question", rename_edit(attribute, "label")
        return "remove it, or say it in the `label`: that is the question", ()
    if key == "prompt":
        return "move it to an LLM node (`shape=box`) before or after this one", ()
    if key == "tool_command":
        return "move it to a tool node (`shape=parallelogram`)", ()
    (reader,) = _READERS[key]
    shape = next(shape for shape, handler in SHAPES.items() if handler == reader)
    return f"move it to {_NAMES[reader]} (`shape={shape}`)", ()


def _shape_edit(node: Node, attribute: Attribute, shape: str) -> tuple[Edit, ...]:
    written = node.attributes.get("shape")
    if node.has("type"):
        return ()
    if written is not None and written.origin == "explicit":
        return swap_edit(written.span, shape)
    at = attribute.key_span.start
    return (Edit(Span(attribute.key_span.source, at, at), f"shape={shape}, "),)
