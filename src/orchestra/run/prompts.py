"""An agent's prompt: the node's own, then steering instructions (engine.md#handlers, S15)."""

from __future__ import annotations

from orchestra.graph.model import Node

INSTRUCTED = "Instruction from outside, while this was running:\n"
FAILED_BEFORE = "The attempt before this one failed: "


def own_prompt(node: Node) -> str:
    """What the pipeline asks; the label where there is no prompt (Attractor 4.5)."""
    return node.text("prompt") or node.label


def prompt_as_asked(own: str, prompt: str, recorded: str = "") -> str:
    """What a node with this prompt of its own would have asked where ``prompt`` was asked.

    ``recorded`` is its own prompt then: what was put before and after that stays.
    """
    if recorded and recorded in prompt:
        return prompt.replace(recorded, own, 1)
    before, mark, instructions = prompt.partition(f"\n\n{INSTRUCTED}")
    if own in before:  # with a preamble before it, or the failure of an attempt after it
        return prompt
    return own + mark + instructions
