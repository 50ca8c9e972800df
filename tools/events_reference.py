"""Writes docs/reference/events.md from the declarations of the events (S10).

Run: ``python tools/events_reference.py``. A test holds the page to what this gives.
"""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from orchestra.run.codec import ENVELOPE, FIELD_LIMIT, PREVIEW, REFS, VALUE_LIMIT
from orchestra.run.declare import EVENTS, METADATA_TAG, Declaration, FieldTag

HEAD = "| key | field | type | meaning |\n|---|---|---|---|"
PAGE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "events.md"

OPENING = f"""\
# Events

Everything that happens in a run is an event. Each is one turn of the session's CXDB context: a msgpack map with
whole numbers as keys, in ascending order, under a declared type. The state of a run (where it is, the context,
the counters) is a fold over these and nothing else. `orchestra log SESSION --json-stream` prints them as JSON
with the names below; a field that equals its default is left out there and in the turn.

This page is written by `tools/events_reference.py` from the declarations in `src/orchestra/run/events.py`.

## What all events carry

{HEAD}
{{envelope}}

Key {METADATA_TAG} is reserved in every type. In the first turn of a session and of its mailbox it holds CXDB's
context metadata: client tag, title, labels and provenance.

## Types of fields

| type | in the turn |
|---|---|
| `string`, `bool`, `array` | as it is; an array holds strings |
| `u32`, `u64` | a whole number of 0 or more |
| `unix_ms` | milliseconds since 1970, UTC |
| `text` | a string; over {FIELD_LIMIT // 1024} KiB of UTF-8 `{{{{hash, size, preview}}}}` of a blob that holds it |
| `json` | a map or a list of plain values |

A context value over {VALUE_LIMIT // 1024} KiB of JSON is a reference to a blob too. Such values stand under the
field's key plus {REFS}, so that no value of yours can be mistaken for a reference. `hash` is BLAKE3-256 in hex,
`size` counts bytes, `preview` is the first {PREVIEW} characters; `json: true` says that the blob is JSON.

Keys and type versions are never used again for something else. A program that meets an event of a newer version
than it knows shows it as unreadable and refuses to go on with the session; it passes over keys that it does not
know.
"""


def page() -> str:
    """The whole page."""
    rows = "\n".join(_row(tag, name, kind, _ENVELOPE[name]) for tag, name, kind in ENVELOPE)
    parts = [OPENING.format(envelope=rows)]
    by_type = sorted(EVENTS.values(), key=lambda declared: _TYPES.index(declared.type_id))
    for (type_id, version), events in groupby(by_type, key=lambda d: (d.type_id, d.version)):
        parts.append(f"## {type_id} v{version}\n")
        parts.extend(_event(declared) for declared in events)
    return "\n".join(parts)


def _event(declared: Declaration) -> str:
    rows = [_row(f.tag, f.name, f.type, f.doc + _shown_default(f)) for f in declared.fields]
    meaning = " ".join((declared.cls.__doc__ or "").split()).replace("``", "`")
    return "\n".join(
        [
            f"### {declared.event}\n",
            f"{meaning}\n",
            "| key | field | type | meaning |",
            "|---|---|---|---|",
            *rows,
            "",
        ]
    )


def _row(tag: int, name: str, kind: str, doc: str) -> str:
    return f"| {tag} | `{name}` | {kind} | {doc} |"


def _shown_default(field: FieldTag) -> str:
    return f" (`{field.default}` unless given)" if not field.required and field.default else ""


_TYPES = list(dict.fromkeys(declared.type_id for declared in EVENTS.values()))

_ENVELOPE = {
    "event": "name of the event",
    "event_version": "its version, as the turn's declared type has it",
    "session": "display id of the session",
    "epoch": "which runner of the session, from 1",
    "sequence": "which event of that runner, from 1",
    "at": "when it happened",
    "branch": "path of the parallel branch; absent outside of one",
    "description": "the event in one line, for pages that show a turn by one field; not read back",
}


if __name__ == "__main__":
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
