"""Events as CXDB payloads and back (S10): msgpack maps with integer keys in ascending order.

Keys 1 to 8 are the envelope, 10 and up the event's fields, 30 the metadata of a chain's first turn.
Fields that equal their default are left out. A ``json`` field's values that are blob references
stand under the field's tag plus 100, so that no user value can be mistaken for a reference.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec
from blake3 import blake3

from orchestra.run.declare import (
    BY_CLASS,
    EVENTS,
    FIELD_TYPES,
    METADATA_TAG,
    BlobRef,
    Declaration,
    Text,
    change,
    values,
)
from orchestra.run.events import CheckpointSaved, ContextValue, Event, Meta, Recorded, UnreadableEvent
from orchestra.run.secrets import Redactor, clean

ENVELOPE: tuple[tuple[int, str, str], ...] = (
    (1, "event", "string"),
    (2, "event_version", "u32"),
    (3, "session", "string"),
    (4, "epoch", "u32"),
    (5, "sequence", "u64"),
    (6, "at", "unix_ms"),
    (7, "branch", "string"),
    (8, "description", "string"),
)
"""Tag, name and CXDB type of what all events carry."""

REFS = 100
"""Added to a ``json`` field's tag: the tag of its values that are carried by reference."""

FIELD_LIMIT = 64 * 1024
"""Bytes of UTF-8 above which an event's text field goes to a blob of its own."""

VALUE_LIMIT = 16 * 1024
"""Bytes of JSON above which a context value goes to a blob (engine.md#the-context)."""

PREVIEW = 200
"""Characters of a large text that are kept beside its reference."""

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder().decode
_json = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True)
class _WritePlan:
    """How one event class is written: per field, in ascending order, its tag, name, default and kind.

    ``large`` are the names and kinds of the fields that may have to go to a blob. ``words`` are the event's name as
    its description says it, ``said`` the places of the fields that follow; ``way`` those of an edge's two ends.
    """

    declared: Declaration
    fields: tuple[tuple[int, str, object, str], ...]
    large: tuple[tuple[str, str], ...]
    words: str
    said: tuple[int, ...]
    way: tuple[int, int] | None


def _plan(declared: Declaration) -> _WritePlan:
    fields = tuple((f.tag, f.name, f.default, f.type) for f in declared.fields)
    large = ((f.name, f.type) for f in declared.fields if f.type in {"text", "json"})
    places = {field.name: place for place, field in enumerate(declared.fields)}
    return _WritePlan(
        declared,
        fields,
        tuple(item for item in large if item[0] not in _NEVER_BY_REFERENCE),
        words=re.sub(r"(?<=[a-z])(?=[A-Z])", " ", declared.event).lower(),
        said=tuple(places[name] for name in _SAID if name in places),
        way=(places["source"], places["target"]) if {"source", "target"} <= places.keys() else None,
    )


LONGEST = 160
"""Characters of a description."""

_SAID = tuple(
    "node current_node pipeline repo branch branch_id status tool number action choice label failure_reason error "
    "reason message text said response command".split()
)
"""The fields that a description says, in this order, where an event has them and they are not empty."""


_NEVER_BY_REFERENCE = frozenset(
    {"state", "changes", "branches", "candidates", "options", "output_parts", "stderr_parts", "tool_calls"}
)
"""``state`` and ``changes`` are made of what went through here before; what ``candidates`` and
``options`` show is short; ``branches`` are a plan, whose items are wanted at once; parts are references already."""

_PLANS: dict[type, _WritePlan] = {cls: _plan(declared) for cls, declared in BY_CLASS.items()}


def encode(meta: Meta, event: Event, metadata: Mapping[int, object] | None = None) -> bytes:
    """The payload of one event; ``metadata`` goes under key 30 (S13)."""
    plan = _PLANS[type(event)]
    out: dict[int, object] = {
        1: plan.declared.event,
        2: plan.declared.version,
        3: meta.session,
        4: meta.epoch,
        5: meta.sequence,
        6: meta.at,
    }
    if meta.branch:
        out[7] = meta.branch
    given = values(event)
    out[8] = _describe(plan, given)
    ordered = metadata is None
    for (tag, _name, default, kind), value in zip(plan.fields, given, strict=True):
        if value == default:
            continue
        out[tag] = value
        if kind == "json":
            ordered = _put_map(out, tag, value) and ordered
        elif kind == "text" and isinstance(value, BlobRef):
            out[tag] = value.as_map()
    if metadata is not None:
        out[METADATA_TAG] = metadata
    return _pack(out if ordered else {tag: out[tag] for tag in sorted(out)})


def description(event: Event) -> str:
    """Describe an event in one line of at most ``LONGEST`` characters (S13).

    For pages that show a turn by one field, as CXDB's own does: ``stage completed: work, success, All tests pass``.
    """
    return _describe(_PLANS[type(event)], values(event))


def _describe(plan: _WritePlan, given: tuple[Any, ...]) -> str:
    said = ", ".join([_first_line(value) for place in plan.said if (value := given[place])])
    if plan.way is not None:
        way = f"{given[plan.way[0]]} -> {given[plan.way[1]]}"
        said = f"{way}, {said}" if said else way
    text = f"{plan.words}: {said}" if said else plan.words
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _first_line(value: object) -> str:
    """The first line of a value, short."""
    text = value if isinstance(value, str) else value.preview if isinstance(value, BlobRef) else str(value)
    first = text[:LONGEST].strip()
    if "\n" in first:
        first = first.partition("\n")[0].rstrip()
    return first if first.isascii() else first.encode("utf-8", "replace").decode("utf-8")


def _put_map(out: dict[int, object], tag: int, value: object) -> bool:
    """Split a map or a list of values from its references; false if keys are not in ascending order."""
    if isinstance(value, tuple):
        refs = {str(place): item.as_map() for place, item in enumerate(value) if isinstance(item, BlobRef)}
        if refs:
            out[tag] = [None if isinstance(item, BlobRef) else item for item in value]
            out[tag + REFS] = refs
        return not refs
    if type(value) is not dict and not isinstance(value, Mapping):
        return True
    refs = {key: item.as_map() for key, item in value.items() if isinstance(item, BlobRef)}
    if not refs:
        return True
    out[tag] = {key: item for key, item in value.items() if key not in refs}
    out[tag + REFS] = refs
    return False


def decode(
    type_id: str, type_version: int, payload: bytes, *, turn_id: int = 0, depth: int = 0, parent: int = 0
) -> Recorded | UnreadableEvent:
    """The event that a turn holds, or why it cannot be read; never raises for what a turn can hold."""
    try:
        plain = _unpack(payload)
        name = plain[1]
        declared = EVENTS.get(name)
        if declared is None or declared.type_id != type_id:
            return UnreadableEvent(type_id=type_id, type_version=type_version, reason=f"unknown event {name!r}")
        if plain[2] > declared.version:
            return UnreadableEvent(
                type_id=type_id,
                type_version=type_version,
                reason=f"{name} version {plain[2]} is newer than {declared.version}",
            )
        meta = _meta(plain)
        event = _build(_PLANS[declared.cls], plain)
    except (msgspec.DecodeError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        return UnreadableEvent(type_id=type_id, type_version=type_version, reason=f"not an event: {error}")
    return Recorded(meta, event, turn_id, depth, parent)


def _meta(plain: Mapping[int, Any]) -> Meta:
    session, branch = plain[3], plain.get(7, "")
    epoch, sequence, at = plain[4], plain[5], plain[6]
    if not (isinstance(session, str) and isinstance(branch, str)):
        raise ValueError("its envelope names no session")
    if not (isinstance(epoch, int) and isinstance(sequence, int) and isinstance(at, int)):
        raise ValueError("its envelope counts in no whole numbers")
    return Meta(session=session, epoch=epoch, sequence=sequence, at=at, branch=branch)


def _build(plan: _WritePlan, plain: Mapping[int, Any]) -> Event:
    given: dict[str, object] = {}
    for tag, name, _default, kind in plan.fields:
        value = plain.get(tag)
        if kind == "json" and tag + REFS in plain:
            value = _with_refs(value, {k: from_map(v) for k, v in plain[tag + REFS].items()})
        if value is None:
            continue
        if not isinstance(value, FIELD_TYPES[kind]):
            raise ValueError(f"{name} is a {type(value).__name__}")
        if kind == "text" and isinstance(value, dict):
            value = from_map(value)
        elif isinstance(value, list):
            value = tuple(value)
        given[name] = value
    return cast("Event", plan.declared.cls(**given))


def _with_refs(value: object, refs: Mapping[str, BlobRef]) -> object:
    """A map or a list with its references in their places."""
    if not isinstance(value, list):
        return {**cast("Mapping[str, object]", value or {}), **refs}
    return [refs.get(str(place), item) if item is None else item for place, item in enumerate(value)]


def from_map(value: object) -> BlobRef:
    """The reference that a turn's map stands for; ``ValueError`` where it is none."""
    match value:
        case {"hash": str(digest), "size": int(size), "preview": str(preview), **rest}:
            return BlobRef(digest, size, preview, bool(rest.get("json", False)))
        case _:
            raise ValueError("not a blob reference")


def output_name(parts: Sequence[BlobRef]) -> str:
    """Return the name of a whole output: the beginning of its first part's hash (A32)."""
    return parts[0].hash[:8]


def preview_of(text: Text) -> str:
    """The first characters of a text, whole or not."""
    return text.preview if isinstance(text, BlobRef) else text[:PREVIEW]


def refer(data: bytes, preview: str, *, json: bool = False) -> BlobRef:
    """The reference to a blob with these bytes."""
    return BlobRef(blake3(data).hexdigest(), len(data), preview[:PREVIEW], json)


def to_text(text: Text) -> Text:
    """Return a text as the context carries it: by reference if it has over ``VALUE_LIMIT`` bytes."""
    if isinstance(text, BlobRef) or len(text) * 4 <= VALUE_LIMIT:
        return text
    data = utf8(text)
    return refer(data, text) if len(data) > VALUE_LIMIT else text


def utf8(text: str) -> bytes:
    """The bytes under which a text is stored as a blob."""
    return text.encode("utf-8", "surrogatepass")


def externalize(event: Event) -> tuple[Event, tuple[bytes, ...]]:
    """The event with everything large replaced by a reference, and the blobs to store with it (S11)."""
    moved: dict[str, object] = {}
    blobs: list[bytes] = []
    for name, kind in _PLANS[type(event)].large:
        value = getattr(event, name)
        if not value:
            continue
        small: object = value
        if kind == "json" and isinstance(value, tuple):
            by_place = dict(enumerate(value))
            smaller = _small_values(by_place, blobs)
            small = value if smaller is by_place else tuple(smaller.values())
        elif kind == "json":
            small = _small_values(value, blobs)
        else:
            small = _small_text(value, blobs)
            if name == "response" and isinstance(to_text(small), BlobRef) and isinstance(small, str):
                blobs.append(utf8(small))
        if small is not value:
            moved[name] = small
    return change(event, **moved) if moved else event, tuple(blobs)


def _small_text(value: Text, blobs: list[bytes]) -> Text:
    if isinstance(value, BlobRef) or len(value) * 4 <= FIELD_LIMIT:
        return value
    data = utf8(value)
    if len(data) <= FIELD_LIMIT:
        return value
    blobs.append(data)
    return refer(data, value)


_K = TypeVar("_K", str, int)


def _small_values(values: Mapping[_K, ContextValue], blobs: list[bytes]) -> Mapping[_K, ContextValue]:
    changed: dict[_K, ContextValue] = {}
    for key, value in values.items():
        if isinstance(value, BlobRef) or value is None or isinstance(value, bool | int | float):
            continue
        if isinstance(value, str) and len(value) * 6 <= VALUE_LIMIT:
            continue
        data = _json(value)
        if len(data) > VALUE_LIMIT:
            text = value if isinstance(value, str) else data[: 4 * PREVIEW].decode("utf-8", "replace")
            blobs.append(data)
            changed[key] = refer(data, text, json=True)
    return {**values, **changed} if changed else values


def blob_value(ref: BlobRef, data: bytes) -> Any:
    """What a reference stands for: a text, or a context value."""
    return msgspec.json.decode(data) if ref.json else data.decode("utf-8", "surrogatepass")


OURS = frozenset(
    "node handler status source target edge gate graph_hash config_hash backend version pipeline "
    "current_node next_node kind failure_class rule".split()
)
"""String fields that hold names and ids of ours or of the pipeline's text, which was searched before the run
(S18); every other string may hold a person's or a model's words."""


# a checkpoint renders the state, which is folded from events that went through here
_SEARCHED: dict[type, tuple[str, ...]] = {
    cls: tuple(
        field.name
        for field in declared.fields
        if cls is not CheckpointSaved
        and (field.type in {"text", "json", "array"} or (field.type == "string" and field.name not in OURS))
    )
    for cls, declared in BY_CLASS.items()
}


def in_unicode(event: Event) -> Event:
    """The event with ``?`` for what is no Unicode, such as parts of a file's name (S11)."""
    cleaned = {
        name: _in_unicode(getattr(event, name)) for _tag, name, _default, _kind in _PLANS[type(event)].fields
    }
    return change(event, **cleaned)


def _in_unicode(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, Mapping):
        return {_in_unicode(key): _in_unicode(item) for key, item in value.items()}
    return tuple(map(_in_unicode, value)) if isinstance(value, tuple) else value


def redact_event(event: Event, redactor: Redactor) -> Event:
    """The event without secrets; names and ids of ours are left as they are."""
    cleaned: dict[str, Any] = {}
    for name in _SEARCHED[type(event)]:
        value = getattr(event, name)
        if value and (new := redactor.value(value)) is not value:
            cleaned[name] = new
    return change(event, **cleaned) if cleaned else event
