"""Payloads as typed data, as CXDB renders them."""

from __future__ import annotations

import math

import msgspec
import pytest

from orchestra.cxdb.format.frames import Malformed
from orchestra.cxdb.format.registry import bundle
from orchestra.cxdb.server.msgpack import read_value
from orchestra.cxdb.server.projection import Rendering, project
from orchestra.cxdb.server.types import Types

pack = msgspec.msgpack.encode


def types(fields: dict[int, dict[str, object]], **others: dict[int, dict[str, object]]) -> Types:
    described = {
        name: {"versions": {"1": {"fields": {str(tag): field for tag, field in each.items()}}}}
        for name, each in {"T": fields, **others}.items()
    }
    raw = pack_json(
        {"registry_version": 1, "bundle_id": "b", "types": described, "enums": {"E": {"1": "one", "2": "two"}}}
    )
    found = Types().put(raw)[1]
    assert found is not None
    return found


def pack_json(value: object) -> bytes:
    return msgspec.json.encode(value)


def shown(kind: str, value: object, **how: object) -> object:
    known = types({1: {"name": "f", "type": kind, **({"enum": "E"} if how.pop("enum", False) else {})}})
    version = known.version("T", 1)
    assert version is not None
    data, _ = project(pack({1: value}), version, known, Rendering(**how))  # type: ignore[arg-type]
    assert isinstance(data, dict)
    return data["f"]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("u64", 2**64 - 1, "18446744073709551615"),
        ("int64", -1, None),
        ("int32", -1, -1),
        ("u8", 300, 300),
        ("u32", 2**63, None),
        ("u64", "5", None),
        ("string", "text", "text"),
        ("string", 5, None),
        ("bool", True, True),
        ("bool", 1, None),
        ("u32", True, None),
        ("bytes", b"\x00\xff", "AP8="),
        ("bytes", "AP8=", None),
        ("array", [1, -1, "x", None], ["1", -1, "x", None]),
        ("array", {}, None),
        ("unix_ms", 1_700_000_000_000, "2023-11-14T22:13:20+00:00"),
        ("unix_ms", 1_700_000_000_123, "2023-11-14T22:13:20.123+00:00"),
        ("unix_ms", -1, "1969-12-31T23:59:59.999+00:00"),
        ("unix_ms", 2**62, None),
        ("any", 7, "7"),
        ("i64", -7, -7),
        ("f64", math.nan, 0),
        ("f64", 1.5, 1.5),
        ("map", {1: 2, "k": b"x", -5: 0}, {"1": "2", "k": "eA==", "": "0"}),
        ("any", msgspec.msgpack.Ext(5, b"x"), None),
        ("u64", None, None),
    ],
)
def test_values_are_rendered_by_their_type(kind: str, value: object, expected: object) -> None:
    assert shown(kind, value) == expected


def test_a_query_says_how_values_are_rendered() -> None:
    assert shown("u64", 5, u64_as="number") == 5
    assert shown("bytes", b"\x00\xff", bytes_as="hex") == "00ff"
    assert shown("bytes", b"\x00\xff", bytes_as="len_only") == 2
    assert shown("unix_ms", 5, time_as="unix_ms") == 5
    assert shown("u32", 1, enum=True) == "one"
    assert shown("u32", 1, enum=True, enum_as="number") == 1
    assert shown("u32", 1, enum=True, enum_as="both") == {"label": "one", "value": 1}
    assert shown("u32", 3, enum=True) == 3


def test_keys_may_be_texts_and_unknown_ones_are_reported_on_request() -> None:
    known = types({1: {"name": "a", "type": "string"}})
    version = known.version("T", 1)
    assert version is not None
    payload = pack({"01": "x", 9: 5, -3: 1, "k": 2}) + b"\xc1"
    assert project(payload, version, known, Rendering()) == ({"a": "x"}, {})
    assert project(payload, version, known, Rendering(unknown=True)) == ({"a": "x"}, {"9": "5"})


def test_references_are_projected_with_the_newest_version_of_their_type() -> None:
    known = types(
        {
            1: {"name": "one", "type": "ref", "ref": "U"},
            2: {"name": "many", "type": "array", "items": {"type": "ref", "ref": "U"}},
            3: {"name": "none", "type": "ref", "ref": "nowhere"},
            4: {"name": "texts", "type": "array", "items": "string"},
        },
        U={1: {"name": "n", "type": "u64"}},
    )
    more = {"U": {"versions": {"2": {"fields": {"2": {"name": "later", "type": "string"}}}}}}
    later = known.put(pack_json({"registry_version": 1, "bundle_id": "c", "types": more}))[1]
    assert later is not None
    version = later.version("T", 1)
    assert version is not None
    inner = {1: 5, 2: "x"}
    data, _ = project(pack({1: inner, 2: [inner, 7], 3: inner, 4: ["a", 1]}), version, later, Rendering())
    assert data == {
        "one": {"later": "x"},
        "many": [{"later": "x"}, "7"],
        "none": {"1": "5", "2": "x"},
        "texts": ["a", None],
    }


@pytest.mark.parametrize("payload", [b"", b"\x91\x01", b"\xc0", b"\x81\x01", b"\x91" * 5000, b"\x81\x01" * 5000])
def test_what_is_no_map_is_refused(payload: bytes) -> None:
    known = types({1: {"name": "a", "type": "any"}})
    version = known.version("T", 1)
    assert version is not None
    with pytest.raises(Malformed) as refused:
        project(payload, version, known, Rendering())
    assert refused.value.code == 422


def test_every_form_of_msgpack_is_read() -> None:
    for value in (
        None,
        True,
        False,
        0,
        127,
        128,
        255,
        65_535,
        2**32,
        2**64 - 1,
        -1,
        -32,
        -33,
        -129,
        -(2**31),
        -(2**63),
    ):
        assert read_value(pack(value)) == value
    for value in (
        "",
        "x" * 31,
        "x" * 32,
        "x" * 256,
        "x" * 65_536,
        b"",
        b"x" * 256,
        b"x" * 65_536,
        0.5,
        [0] * 16,
        [0] * 65_536,
    ):
        assert read_value(pack(value)) == value
    assert read_value(b"\xca\x3f\x80\x00\x00") == 1.0
    assert read_value(b"\xa2\xff\xfe") == ""


def test_our_own_bundle_is_taken_once() -> None:
    bundle_id, raw = bundle()
    known = Types().put(raw)[1]
    assert known is not None
    assert known.newest == bundle_id
    assert known.version("dev.orchestra.PipelineLifecycle", 1) is not None
    assert known.put(raw)[1] is None
