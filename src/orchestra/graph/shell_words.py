"""The words of a command line: its name, and those that another program runs as code.

See engine.md#tool-nodes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

SHELLS = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh"})
"""Commands that take a word, or their input, as shell code."""

_CODE_OPTIONS = {
    **dict.fromkeys(("python", "python2", "python3"), "c"),
    **dict.fromkeys(("perl", "ruby", "node"), "e"),
    "php": "r",
}

SPEAKERS = frozenset({"echo", "printf", "grep", "egrep", "rg"})
"""Commands that read their words as text, whatever these look like."""

_OPENERS = frozenset({"!", "{", "do", "elif", "else", "if", "then", "time", "until", "while"})
_PREFIXES = frozenset({"builtin", "command", "exec"})
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*\+?=", re.ASCII)


@dataclass(slots=True)
class Word:
    """A word of a command as far as it was read: its literal text and the expressions in it."""

    text: str = ""
    expressions: list[int] = field(default_factory=list)


def from_command_word(words: list[Word]) -> list[Word]:
    """The words from the command's name on: without ``if``, ``NAME=value``, ``command`` and the like."""
    for index, word in enumerate(words):
        if word.text in _OPENERS or word.text in _PREFIXES or _ASSIGNMENT.match(word.text):
            continue
        return words[index:]
    return []


def base(word: str) -> str:
    """A command's name without its folder."""
    return word.rpartition("/")[2]


def code_words(words: list[Word]) -> Iterator[tuple[Word, str, str]]:
    """The words that a shell or another interpreter on this command line takes as code."""
    for index, word in enumerate(words):
        name = base(word.text)
        letter = "c" if name in SHELLS else _CODE_OPTIONS.get(name)
        code = None if letter is None else _code_after(words, index + 1, letter)
        if code is not None and name in SHELLS:
            yield code, "sh -c", ""
        elif code is not None:
            yield code, "", f"{name} -{letter}"


def _code_after(words: list[Word], index: int, letter: str) -> Word | None:
    """The word after an option that holds ``letter``, as far as options go."""
    while index < len(words) and words[index].text[:1] in {"-", "+"}:
        option = words[index].text
        index += 1
        if option[:2] != "--" and letter in option[1:]:
            return words[index] if index < len(words) else None
        if option in {"-o", "+o", "-O", "+O"}:
            index += 1
    return None
