"""Rules about single nodes: what a stage needs to do its work."""

from __future__ import annotations

from collections.abc import Iterator

from orchestra.errors import Diagnostic
from orchestra.graph.attributes import SHAPES
from orchestra.graph.choices import Choice, choices
from orchestra.graph.lint.survey import Survey, error, info, list_words, quote, swap_edit, warning
from orchestra.graph.model import Node
from orchestra.graph.nearest import nearest

_ACTIONS = ("observe", "steer", "wait")
_ASKS = ("agent", "agent.task", "agent.role")


def goal_gate_has_retry(survey: Survey) -> Iterator[Diagnostic]:
    """A goal gate has somewhere to send the run when it is not met (E11)."""
    if survey.graph.text("retry_target") or survey.graph.text("fallback_retry_target"):
        return
    for node, attribute in survey.node_places("goal_gate"):
        if attribute.value is not True or node.text("retry_target") or node.text("fallback_retry_target"):
            continue
        yield warning(
            f"neither goal gate {quote(node.id)} nor the graph has a retry target:"
            " if it does not succeed, the run fails",
            attribute.span,
            of=node,
            fix="set `retry_target` on the node or the graph",
        )


def prompt_on_llm_nodes(survey: Survey) -> Iterator[Diagnostic]:
    """An LLM node is told something: a prompt, a label of its own, or an agent's task."""
    for node in survey.by_type["codergen"]:
        if node.declared and not _is_told(survey, node):
            yield warning(
                f"LLM node {quote(node.id)} has no prompt: the whole prompt would be {quote(node.id)}",
                node.span,
                of=node,
                fix='add `prompt="..."`',
            )


def _is_told(survey: Survey, node: Node) -> bool:
    attributes = node.attributes
    if "prompt" in attributes and attributes["prompt"].value:
        return True
    if any(node.text(key) for key in _ASKS):
        return True
    label = node.text("label")
    if label and label != "\\N":
        return True
    # a type or a shape without a handler has its own diagnostic, and may need no prompt
    kind, shape = node.text("type"), node.text("shape")
    return kind not in survey.known_types if kind else bool(shape) and shape not in SHAPES


def tool_command_on_tool_nodes(survey: Survey) -> Iterator[Diagnostic]:
    """A tool node has a command."""
    for node in survey.by_type["tool"]:
        if not node.text("tool_command").strip():
            yield warning(
                f"tool node {quote(node.id)} has no command, so it would fail",
                node.span_of("tool_command", node.span),
                of=node,
                fix='add `tool_command="..."`',
            )


def child_dotfile(survey: Survey) -> Iterator[Diagnostic]:
    """A node that runs a child names its file, or the session that it watches (engine.md#handlers)."""
    for node in (*survey.by_type["pipeline"], *survey.by_type["stack.manager_loop"]):
        watches = survey.type_of[node.id] != "pipeline" and not node.flag("stack.child_autostart")
        if watches and not node.text("stack.child_session"):
            yield warning(
                f"{quote(node.id)} neither starts a child nor names a session to watch, so it would fail",
                node.span_of("stack.child_autostart", node.span),
                of=node,
                fix='add `stack.child_session="..."`',
            )
        elif not watches and not (node.text("stack.child_dotfile") or survey.graph.text("stack.child_dotfile")):
            what = "" if survey.type_of[node.id] == "pipeline" else "; write `shape=box` for an LLM node"
            yield warning(
                f"{quote(node.id)} runs a child pipeline but names no file, so it would fail",
                node.span,
                of=node,
                fix=f'add `stack.child_dotfile="..."`, relative to this file{what}',
            )


def manager_actions(survey: Survey) -> Iterator[Diagnostic]:
    """What a manager does is made of observe, steer and wait (engine.md#handlers)."""
    for node, attribute in survey.node_places("manager.actions"):
        words = [word.strip() for word in str(attribute.value).split(",")]
        strange = [word for word in words if word not in _ACTIONS]
        if strange:
            near = nearest(strange[0], _ACTIONS)
            yield error(
                f"{quote(node.id)} cannot {quote(strange[0])}: a manager can observe, steer and wait",
                attribute.span,
                of=node,
                meant=near,
                fix='write `manager.actions="observe,steer,wait"`, or a part of it',
                edits=swap_edit(attribute.span, ",".join(near if word == strange[0] else word for word in words))
                if near
                else (),
            )


def human_choices(survey: Survey) -> Iterator[Diagnostic]:
    """A human gate offers choices, each under a key of its own (H3), and its default is one of them (H5)."""
    for node in survey.by_type["wait.human"]:
        if not survey.graph.outgoing(node.id):
            yield warning(
                f"human gate {quote(node.id)} has no outgoing edge, so there is nothing to choose: it fails when a"
                " run gets there",
                node.span,
                of=node,
                fix='add an edge for each choice: `-> next [label="[A] Approve"]`',
            )
            continue
        yield from _shared_keys(survey, node)
        yield from _default_choice(survey, node)


def _shared_keys(survey: Survey, node: Node) -> Iterator[Diagnostic]:
    """Edges with different conditions may share a key: they need not be offered together."""
    seen: dict[tuple[str, str], Choice] = {}
    for choice in choices(survey.graph.outgoing(node.id)):
        condition = choice.edge.condition
        text = condition.text if condition else ""
        earlier = seen.get((choice.wanted, text)) or seen.get((choice.wanted, "" if text else "any"))
        seen.setdefault((choice.wanted, text), choice)
        seen.setdefault((choice.wanted, "any"), choice)
        if earlier is None or not choice.wanted:
            continue
        edge = choice.edge
        yield warning(
            f"at {quote(node.id)}, {quote(choice.label)} and {quote(earlier.label)} share the key"
            f" {quote(choice.wanted)}: {quote(choice.label)} gets the key {quote(choice.key)}",
            edge.span_of("label", edge.target_span),
            of=node,
            edge=edge,
            fix=f"choose another key in the label: `[{choice.key.upper()}] {choice.label}`",
            edits=swap_edit(edge.attributes["label"].span, f"[{choice.key.upper()}] {choice.label}")
            if "label" in edge.attributes
            else (),
        )


def _default_choice(survey: Survey, node: Node) -> Iterator[Diagnostic]:
    attribute = node.attributes.get("human.default_choice")
    if attribute is None or not str(attribute.value).strip():
        if node.has("human.timeout"):
            yield info(
                f"human gate {quote(node.id)} has a timeout but no default choice: if nobody answers in time, it"
                " is retried, then it fails",
                node.span_of("human.timeout", node.span),
                of=node,
                fix="set `human.default_choice` to the key, label or target of a choice",
            )
        return
    wanted = str(attribute.value).strip().lower()
    offered = choices(survey.graph.outgoing(node.id))
    if any(wanted in {c.key.lower(), c.label.lower(), c.edge.target.lower()} for c in offered):
        return
    near = nearest(wanted, [word for c in offered for word in (c.edge.target, c.label.lower())])
    yield warning(
        f"the default of {quote(node.id)}, {quote(str(attribute.value))}, is not one of its choices:"
        " if nobody answers in time, the node is retried",
        attribute.span,
        of=node,
        meant=near,
        fix=f"use a key, label or target: {list_words([c.edge.target for c in offered])}",
    )
