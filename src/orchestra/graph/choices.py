"""The choices of a human gate: one per outgoing edge, each with a unique key (H3)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from orchestra.graph.conditions import ACCELERATOR
from orchestra.graph.model import Edge

_ALPHABET = "abcdefghijklmnopqrstuvwxyz0123456789"


class Choice(NamedTuple):
    """One choice: the key that picks it, the label without its accelerator, the edge it takes.

    ``wanted`` is the key that the label asks for, in lower case; it differs from ``key`` when an earlier
    choice has it already.
    """

    key: str
    label: str
    edge: Edge
    wanted: str


def accelerator(label: str) -> tuple[str, str]:
    """The key that a label names (``[K] Label``, ``K) Label``, ``K - Label``), or "", and the rest of it."""
    label = label.strip()
    match = ACCELERATOR.match(label)
    if match is None:
        return "", label
    key = match[1] or match[2] or match[3]
    return key, label[match.end() :] or key


def choices(edges: Iterable[Edge]) -> tuple[Choice, ...]:
    """The choices that these edges offer, in their order; an edge for free text (H6) is none.

    Keys that labels name are given out first. A label without one gets its first letter, and on a clash
    the next letter of it that is free, then the next of the alphabet, then its number.
    """
    offered = [edge for edge in edges if edge.get("human.freeform") not in {True, "true"}]
    named = keys_of_labels([edge.label or edge.target for edge in offered])
    return tuple(
        Choice(key, label, edge, wanted) for (key, label, wanted), edge in zip(named, offered, strict=True)
    )


def keys_of_labels(labels: Sequence[str]) -> list[tuple[str, str, str]]:
    """Key, label without its accelerator, and wanted key (see ``Choice``) of each label, in their order."""
    read = [accelerator(label) for label in labels]
    taken: dict[str, int] = {}
    for number, (key, _label) in enumerate(read):
        if key:
            taken.setdefault(key.lower(), number)
    found = []
    for number, (key, label) in enumerate(read):
        wanted = key.lower() or next((c.lower() for c in label if c.isalnum()), "")
        if taken.get(wanted, number) != number or not wanted:
            key = _free(label, taken, number)
        else:
            key = key or label[_at(label, wanted)]
        taken.setdefault(key.lower(), number)
        found.append((key, label, wanted))
    return found


def _at(label: str, letter: str) -> int:
    return next(place for place, c in enumerate(label) if c.lower() == letter)


def _free(label: str, taken: dict[str, int], number: int) -> str:
    for letter in label.lower() + _ALPHABET:
        if letter.isalnum() and letter not in taken:
            return letter
    number += 1
    while str(number) in taken:
        number += 1
    return str(number)
