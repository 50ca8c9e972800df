"""Find the brace that was not closed, by indentation."""

from __future__ import annotations

from orchestra.graph.tokens import TRIVIA, WORD


def find_unclosed_brace(text: str, at: int) -> int | None:
    """The innermost brace, from ``at`` on, whose line is indented otherwise than the line that closes it."""
    opened: list[tuple[int, int]] = []
    line = text[text.rfind("\n", 0, at) + 1 : at]
    indent, first = len(line) - len(line.lstrip()), False
    while at < len(text):
        match = WORD.match(text, at)
        assert match is not None
        if match[0] == "{":
            opened.append((at, indent))
        elif match[0] == "}" and opened:
            begin, wanted = opened.pop()
            if first and indent != wanted:
                return begin
        trivia = TRIVIA.match(text, match.end())
        after = match.end() if trivia is None else trivia.end()
        newline = text.rfind("\n", at, after)
        first = newline >= 0
        indent = after - newline - 1 if first else indent
        at = after
    return None
