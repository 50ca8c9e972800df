"""One recorded turn in full: its fields, its conversation, and how to see what is cut (``show``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestra.cli.terminal import clock_time, many_lines, one_line, say
from orchestra.engine.loading import event_of, resolve
from orchestra.graph.report import plural
from orchestra.ports import Store, Turn
from orchestra.run.codec import from_map, output_name
from orchestra.run.declare import BY_CLASS, BlobRef
from orchestra.run.event_json import plain
from orchestra.run.events import Recorded

_WRITTEN = frozenset({"output", "stderr"})
_LONGEST = 20_000
"""Characters of a command's output that are shown; ``--whole`` and ``--json`` show all."""


def _shorten(field: str, text: str, place: str) -> str:
    left_out = len(text) - _LONGEST
    if left_out <= 0:
        return text
    note = f"[… {plural(left_out, 'character')} omitted; full text: orchestra show {place} --whole {field} …]"
    return f"{text[: _LONGEST // 2]}\n{note}\n{text[-_LONGEST // 2 :]}"


async def whole(store: Store, turn: Turn) -> dict[str, Any]:
    """The turn's event with every reference to a text resolved."""
    found = event_of(turn)
    if not isinstance(found, Recorded):
        return {"event": None, "type": turn.type_id, "version": turn.type_version, "unreadable": found.reason}
    data = plain(found)
    for field in BY_CLASS[type(found.event)].fields:
        value = getattr(found.event, field.name)
        if isinstance(value, BlobRef):
            data[field.name] = await resolve(store, value)
        elif isinstance(value, Mapping):
            for key, item in value.items():
                if isinstance(item, BlobRef):
                    data[field.name][key] = await resolve(store, item)
        elif isinstance(value, tuple):
            for place, item in enumerate(value):
                if isinstance(item, BlobRef):
                    data[field.name][place] = await resolve(store, item)
    return data


def say_turn(turn: Turn, data: Mapping[str, Any], place: str) -> None:
    """Print a turn; ``place`` is the turn as ``orchestra show`` takes it."""
    say(f"turn {turn.turn_id} at depth {turn.depth}, {turn.type_id} v{turn.type_version}")
    for key, value in data.items():
        if key == "messages" and isinstance(value, list):
            _say_conversation(value, place)
        else:
            _say_field(key, _shorten(key, value, place) if key in _WRITTEN else value)


def _say_conversation(messages: Sequence[Any], place: str) -> None:
    """Print messages: who says what, which tools are called, and their results."""
    for message in messages:
        if not isinstance(message, dict):
            continue
        role = str(message.get("role", ""))
        who = f"{message.get('name', 'tool')} {'failed' if message.get('is_error') else 'returned'}"
        say(f"  [{one_line(who if role == 'tool' else role, 80)}]")
        for line in many_lines(str(message.get("text", ""))).splitlines():
            say(f"    {line}")
        for call in message.get("tool_calls", ()):
            given = call.get("invalid") or json.dumps(call.get("arguments", {}), ensure_ascii=False)
            say(f"    → {one_line(str(call.get('name')), 80)} {one_line(given, 2000)}")
        if message.get("parts"):
            say(f"    ({plural(len(message['parts']), 'attached file')})")
        if message.get("whole"):
            name = output_name(_parts_of(message))
            say(f"    ({_whole(message)}: orchestra show {place} --whole {name})")


def _parts_of(message: Mapping[str, Any]) -> list[BlobRef]:
    return [from_map(part) for part in message["whole"]]


def _whole(message: Mapping[str, Any]) -> str:
    """How much of an output is recorded: more than ``KEPT`` is not (A32)."""
    kept, size = sum(part.size for part in _parts_of(message)), int(message.get("whole_bytes") or 0)
    size_said = plural(size, "byte")
    return f"whole output, {size_said}" if kept >= size else f"recorded: the first {kept} of {size_said}"


def _say_field(key: str, value: Any) -> None:
    if isinstance(value, str) and "\n" in value:
        say(f"{key}:")
        for line in many_lines(value).splitlines():
            say(f"    {line}")
    elif isinstance(value, dict | list):
        say(f"{key}:")
        for line in json.dumps(value, ensure_ascii=True, indent=2).splitlines():
            say(f"    {line}")
    else:
        text = one_line(str(value), 10_000_000)
        say(f"{key}: {text}" if key != "at" else f"at: {clock_time(value)} UTC ({value})")
