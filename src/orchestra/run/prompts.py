"""What an agent is asked: the node's own prompt, and instructions from outside behind it (engine.md 5, S15)."""

from __future__ import annotations

from collections.abc import Iterable

from orchestra.graph.model import Node

INSTRUCTED = "Instruction from outside, while this was running:\n"


def own_prompt(node: Node) -> str:
    """What the pipeline asks; the label where there is no prompt (Attractor 4.5)."""
    return node.text("prompt") or node.label


def agent_prompt(node: Node, instructions: Iterable[str] = ()) -> str:
    """All that is asked."""
    return "\n\n".join([own_prompt(node), *(INSTRUCTED + text for text in instructions)])


def asks(own: str, prompt: str) -> bool:
    """Whether a recorded prompt is a node's own one, whatever instructions came behind it."""
    return prompt == own or prompt.startswith(f"{own}\n\n{INSTRUCTED}")
