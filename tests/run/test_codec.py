"""Events as CXDB payloads and back (S10, S11)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestra.cxdb.format.registry import types
from orchestra.run.codec import ENVELOPE, FIELD_LIMIT, VALUE_LIMIT, blob_value, decode, encode, externalize
from orchestra.run.declare import BY_CLASS, EVENTS, METADATA_TAG, BlobRef
from orchestra.run.event_json import plain
from orchestra.run.events import Event, Meta, Recorded, StageCompleted, StageStarted, UnreadableEvent
from orchestra.run.fold import evolve
from orchestra.run.state import NEW

META = Meta(session="k3x9ab", epoch=2, sequence=7, at=1_700_000_000_000)

TEXTS = st.text(max_size=40)
REFS = st.builds(
    BlobRef, st.from_regex(r"[0-9a-f]{64}", fullmatch=True), st.integers(0, 2**40), TEXTS, st.booleans()
)
NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)
MAPS = st.dictionaries(TEXTS, JSON | REFS, max_size=4)
BY_KIND: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "text": TEXTS | REFS,
    "u32": st.integers(0, 2**32 - 1),
    "u64": st.integers(0, 2**64 - 1),
    "unix_ms": st.integers(0, 2**50),
    "bool": st.booleans(),
    "array": st.lists(TEXTS, max_size=3).map(tuple),
    "json": MAPS,
}
SPECIAL: dict[str, st.SearchStrategy[Any]] = {
    "candidates": st.lists(st.dictionaries(TEXTS, JSON, max_size=3), max_size=3).map(tuple),
    "variables": st.dictionaries(TEXTS, JSON, max_size=3),
    "state": st.none() | st.dictionaries(TEXTS, JSON, max_size=3),
}


@st.composite
def events(draw: st.DrawFn, cls: type) -> Event:
    values = {}
    for field in BY_CLASS[cls].fields:
        if draw(st.booleans()) or _required(cls, field.name):
            values[field.name] = draw(SPECIAL.get(field.name, BY_KIND[field.type]))
    made: Event = cls(**values)
    return made


def _required(cls: type, name: str) -> bool:
    (field,) = (f for f in BY_CLASS[cls].fields if f.name == name)
    return field.required


ANY_EVENT = st.sampled_from(sorted(BY_CLASS, key=lambda cls: cls.__name__)).flatmap(events)
METAS = st.builds(
    Meta,
    session=TEXTS,
    epoch=st.integers(0, 2**32 - 1),
    sequence=st.integers(0, 2**64 - 1),
    at=st.integers(0, 2**50),
    branch=TEXTS,
)


def read(event: Event, payload: bytes) -> Recorded | UnreadableEvent:
    declared = BY_CLASS[type(event)]
    return decode(declared.type_id, declared.version, payload)


@pytest.mark.parametrize("name", sorted(EVENTS))
@settings(max_examples=25, deadline=None)
@given(st.data())
def test_every_event_reads_as_it_was_written(name: str, data: st.DataObject) -> None:
    event, meta = data.draw(events(EVENTS[name].cls)), data.draw(METAS)
    assert read(event, encode(meta, event)) == Recorded(meta, event)


def ascending(keys: list[int]) -> bool:
    return keys == sorted(keys) and len(set(keys)) == len(keys)


@settings(max_examples=100, deadline=None)
@given(ANY_EVENT, METAS, st.none() | st.dictionaries(st.integers(1, 99), TEXTS))
def test_keys_are_whole_numbers_in_ascending_order(
    event: Event, meta: Meta, metadata: dict[int, object] | None
) -> None:
    keys = list(msgspec.msgpack.decode(encode(meta, event, metadata)))
    assert all(type(key) is int for key in keys)
    assert ascending(keys)
    assert (METADATA_TAG in keys) is (metadata is not None)


@settings(max_examples=100, deadline=None)
@given(ANY_EVENT, METAS)
def test_fields_that_equal_their_default_are_not_written(event: Event, meta: Meta) -> None:
    written = set(msgspec.msgpack.decode(encode(meta, event)))
    least = {
        field.name: getattr(event, field.name)
        for field in BY_CLASS[type(event)].fields
        if _required(type(event), field.name)
    }
    plain_one = type(event)(**least)
    for field in BY_CLASS[type(event)].fields:
        same = getattr(event, field.name) == getattr(plain_one, field.name) and field.name not in least
        assert not (same and field.tag in written)


def test_a_plain_event_is_small() -> None:
    assert len(encode(META, StageStarted(node="a", handler="codergen", visit=1))) < 80


def test_a_map_that_looks_like_a_reference_stays_a_map() -> None:
    sham = {"hash": "00" * 32, "size": 3, "preview": "abc", "json": True}
    event = StageCompleted(node="a", handler="h", visit=1, status="success", context_updates={"k": sham})
    found = read(event, encode(META, event))
    assert isinstance(found, Recorded)
    assert found.event == event


# --- what cannot be read ----------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=80), st.sampled_from([d.type_id for d in EVENTS.values()] + ["com.example.Other"]))
def test_garbage_is_reported_as_unreadable_and_never_raises(data: bytes, type_id: str) -> None:
    assert isinstance(decode(type_id, 1, data), UnreadableEvent)


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(EVENTS)),
    st.dictionaries(st.integers(1, 40), JSON | st.binary(max_size=5), max_size=8),
)
def test_a_payload_of_our_type_with_wrong_fields_never_raises(name: str, fields: dict[int, object]) -> None:
    declared = EVENTS[name]
    payload = {3: "s", 4: 1, 5: 1, 6: 0, **fields, 1: name, 2: declared.version}
    found = decode(declared.type_id, declared.version, msgspec.msgpack.encode(payload))
    if isinstance(found, Recorded):
        evolve(evolve(NEW, Recorded(META, StageStarted(node="a", handler="h", visit=1))), found)


@settings(max_examples=100, deadline=None)
@given(ANY_EVENT, METAS, st.data())
def test_a_cut_or_altered_payload_never_raises(event: Event, meta: Meta, data: st.DataObject) -> None:
    payload = bytearray(encode(meta, event))
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] = data.draw(st.integers(0, 255))
    found = read(event, bytes(payload))
    if isinstance(found, Recorded):
        evolve(NEW, found)
    assert isinstance(read(event, bytes(payload[:at])), UnreadableEvent)


def test_an_event_of_a_newer_program_says_so() -> None:
    payload = {1: "StageStarted", 2: 99, 3: "s", 4: 1, 5: 1, 6: 0}
    found = decode("dev.orchestra.NodeExecution", 99, msgspec.msgpack.encode(payload))
    assert isinstance(found, UnreadableEvent)
    assert "newer" in found.reason
    unknown = decode("dev.orchestra.NodeExecution", 1, msgspec.msgpack.encode({**payload, 1: "StageDreamt"}))
    assert isinstance(unknown, UnreadableEvent)
    assert "StageDreamt" in unknown.reason


def test_a_newer_field_of_a_known_version_is_passed_over() -> None:
    event = StageStarted(node="a", handler="h", visit=1)
    payload = {**msgspec.msgpack.decode(encode(META, event)), 77: "new"}
    assert read(event, msgspec.msgpack.encode(payload)) == Recorded(META, event)


def test_an_event_under_a_foreign_type_is_not_ours() -> None:
    payload = encode(META, StageStarted(node="a", handler="h", visit=1))
    assert isinstance(decode("com.example.Other", 1, payload), UnreadableEvent)
    assert isinstance(decode("dev.orchestra.Checkpoint", 1, payload), UnreadableEvent)


# --- large values -----------------------------------------------------------------------------------


def stored(blobs: tuple[bytes, ...], ref: BlobRef) -> Any:
    (found,) = [blob for blob in blobs if blake3(blob).hexdigest() == ref.hash]
    assert len(found) == ref.size
    return blob_value(ref, found)


@pytest.mark.parametrize("unit", ["x", "ü", "€", "😀"])
def test_a_field_over_its_limit_goes_to_a_blob_of_its_own(unit: str) -> None:
    size = len(unit.encode("utf-8", "surrogatepass"))
    for count, out in ((FIELD_LIMIT // size, False), (FIELD_LIMIT // size + 1, True)):
        text = unit * count
        event = StageCompleted(node="a", handler="h", visit=1, status="success", prompt=text)
        small, blobs = externalize(event)
        assert isinstance(small, StageCompleted)
        assert isinstance(small.prompt, BlobRef) is out
        if isinstance(small.prompt, BlobRef):
            assert stored(blobs, small.prompt) == text
            assert len(encode(META, small)) < 2000


@pytest.mark.parametrize(
    "value", ["y" * VALUE_LIMIT, ["item"] * VALUE_LIMIT, {"deep": {"k": "z" * VALUE_LIMIT}}, "\u0001" * VALUE_LIMIT]
)
def test_a_context_value_over_its_limit_goes_to_a_blob_as_json(value: object) -> None:
    updates: Any = {"big": value, "small": [1, 2], "number": 3}
    small, blobs = externalize(
        StageCompleted(node="a", handler="h", visit=1, status="success", context_updates=updates)
    )
    assert isinstance(small, StageCompleted)
    ref = small.context_updates["big"]
    assert isinstance(ref, BlobRef)
    assert stored(blobs, ref) == value
    assert {k: v for k, v in small.context_updates.items() if k != "big"} == {"small": [1, 2], "number": 3}
    assert read(small, encode(META, small)) == Recorded(META, small)


def test_a_response_that_the_context_carries_by_reference_is_stored_as_a_blob_though_the_turn_has_it() -> None:
    text = "r" * (VALUE_LIMIT + 1)
    small, blobs = externalize(StageCompleted(node="a", handler="h", visit=1, status="success", response=text))
    assert isinstance(small, StageCompleted)
    assert small.response == text
    assert blobs == (text.encode(),)


@settings(max_examples=100, deadline=None)
@given(ANY_EVENT)
def test_a_small_event_stays_as_it_is(event: Event) -> None:
    assert externalize(event) == (event, ())


# --- declarations -----------------------------------------------------------------------------------


def test_no_tag_has_two_meanings_and_none_lies_in_the_envelope() -> None:
    envelope = {tag for tag, _name, _kind in ENVELOPE}
    for fields in types().values():
        assert not envelope & set(fields)
        assert METADATA_TAG not in fields


def test_every_field_is_documented() -> None:
    for declared in EVENTS.values():
        assert declared.cls.__doc__
        assert all(field.doc for field in declared.fields)


@settings(max_examples=100, deadline=None)
@given(ANY_EVENT, METAS)
def test_the_json_form_is_json_and_names_the_event(event: Event, meta: Meta) -> None:
    found = plain(Recorded(meta, event, 5, 3))
    assert msgspec.json.decode(msgspec.json.encode(found))["event"] == BY_CLASS[type(event)].event
    assert (found["session"], found["turn"], found["depth"]) == (meta.session, 5, 3)
