"""Find the parent of a turn whose record is damaged, from the recorded heads of contexts (S8).

Each batch leaves a head, and its turns have ids one after the other. So two heads of a context that follow one
another tell which turns were written between them, and which turns those follow.
"""

from __future__ import annotations

from orchestra.cxdb.embedded.directory import Directory
from orchestra.cxdb.format.layout import HEAD_SIZE, HEADS, read_head, strides

_CHUNK = HEAD_SIZE * 16384


def parent_by_heads(directory: Directory, turn_id: int) -> int | None:
    """Return a turn's parent, 0 if it has none; None if uncertain."""
    before: dict[int, tuple[int, int]] = {}
    found: int | None = None
    end = directory.state.lengths[HEADS]
    for start in range(0, end, _CHUNK):
        for _, data in strides(directory.read_all(HEADS, start, min(end, start + _CHUNK)), HEAD_SIZE):
            head = read_head(data)
            if head is None:
                return None  # what it told is missing between two others
            if head.context_id in before:
                parent, depth = before[head.context_id]
                first = head.turn_id + 1 - (head.depth - depth if parent else head.depth + 1)
                if max(first, parent + 1) <= turn_id <= head.turn_id:
                    found = turn_id - 1 if turn_id > first else parent  # a later batch may use an id again
            before[head.context_id] = head.turn_id, head.depth
    return found
