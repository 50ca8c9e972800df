"""Did you mean: the known word closest to a misspelled one."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import pairwise

_DIGITS = re.compile(r"\d+")
_PARTS = 3


def edit_distance(a: str, b: str, bound: int) -> int:
    """Insertions, deletions, replacements and swaps of neighbours from a to b; at most ``bound`` is exact."""
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        older, before, row = before, row, [i] + [0] * len(b)
        for j, y in enumerate(b, 1):
            row[j] = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                row[j] = min(row[j], older[j - 2] + 1)
        if min(row) >= bound:
            return bound
    return row[-1]


def allowed_distance(a: str, b: str, within: int = 2) -> int:
    """How far two words may be apart and still be meant as one: short words are easily near by chance."""
    longer = max(len(a), len(b))
    if longer <= 2:
        return 0
    return 1 if longer <= 4 else within


def is_near(word: str, known: str, within: int = 2) -> bool:
    """Whether ``word`` is ``known`` misspelt. ``step_1`` and ``step_2`` are two names, not one."""
    if word == known:
        return False
    if word.lower() == known.lower():
        return True
    if _DIGITS.sub("0", word) == _DIGITS.sub("0", known):
        return False
    most = allowed_distance(word, known, within)
    return most > 0 and edit_distance(word, known, most + 1) <= most


def nearest(word: str, known: Iterable[str], within: int = 2) -> str:
    """The known word nearest to ``word`` by spelling, the first of equals; empty when none is near."""
    near = [name for name in known if is_near(word, name, within)]
    return min(near, key=lambda name: edit_distance(word, name, within + 1), default="")


class Vocabulary:
    """Many known words, asked often: only those that share a third with the word are compared.

    Two words within distance 2 share one of three parts, at most two places apart; a swap of neighbours
    across a border is the exception that is not found. After ``budget`` comparisons nothing more is found,
    so that a generated graph of a hundred thousand strangers is still read in time.
    """

    __slots__ = ("_budget", "_cuts", "_folded", "_parts")

    def __init__(self, words: Iterable[str], budget: int | None = 30_000) -> None:
        self._budget = budget
        self._folded: dict[str, str] = {}
        self._parts: dict[tuple[int, int, str], list[str]] = {}
        self._cuts: dict[int, list[tuple[int, int]]] = {}
        for word in words:
            self._folded.setdefault(word.lower(), word)
            for part, (start, end) in enumerate(self._cuts.setdefault(len(word), _cuts(len(word)))):
                self._parts.setdefault((len(word), part, word[start:end]), []).append(word)

    def nearest(self, word: str) -> str:
        """The known word nearest to ``word``, the first of equals; empty when none is near."""
        folded = self._folded.get(word.lower(), "")
        if folded and folded != word:
            return folded
        candidates: dict[str, None] = {}
        for size in range(max(len(word) - 2, 1), len(word) + 3):
            for part, (start, end) in enumerate(self._cuts.get(size, ())):
                for shift in range(-2, 3):
                    if start + shift >= 0:
                        key = (size, part, word[start + shift : end + shift])
                        candidates.update(dict.fromkeys(self._parts.get(key, ())[: self._budget]))
        if self._budget is not None:
            self._budget = max(self._budget - len(candidates), 0)
        return nearest(word, candidates)


def _cuts(size: int) -> list[tuple[int, int]]:
    borders = [size * part // _PARTS for part in range(_PARTS + 1)]
    return list(pairwise(borders))
