"""Requests to a CXDB server, right and wrong, by category: what `test_probes.py` sends.

A probe is bytes for one of the two doors. Context 1 has three turns of type ``com.x.T`` with file trees at the
first two, context 2 has none, context 3 has a turn with metadata.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import msgspec
import zstandard
from blake3 import blake3

from orchestra.cxdb.format import frames
from orchestra.cxdb.format.frames import (
    APPEND,
    ATTACH_FS,
    CREATE,
    FORK,
    GET_BLOB,
    GET_HEAD,
    GET_LAST,
    HELLO,
    PUT_BLOB,
)
from orchestra.cxdb.format.packing import digest_of

BIG = (2**31, 2**32 - 1)
LARGE = (2**63, 2**64 - 1)


@dataclass(frozen=True)
class Probe:
    """One request: bytes for the binary door, or for the HTTP door. With ``typed`` they are a payload that is
    appended to a new context, whose typed view is asked for; with ``silent`` no answer is expected."""

    name: str
    binary: bytes = b""
    http: bytes = b""
    typed: bytes | None = None
    silent: bool = False


def q(number: int) -> bytes:
    return struct.pack("<Q", number)


def i(number: int) -> bytes:
    return struct.pack("<I", number)


def frame(kind: int, payload: bytes, flags: int = 0, request: int = 7, length: int | None = None) -> bytes:
    return frames.HEADER.pack(len(payload) if length is None else length, kind, flags, request) + payload


def hello(tag: bytes = b"x", meta: bytes = b"", version: int = 1, tag_size: int = -1, meta_size: int = -1) -> bytes:
    sizes = len(tag) if tag_size < 0 else tag_size, len(meta) if meta_size < 0 else meta_size
    return struct.pack("<HH", version, sizes[0]) + tag + i(sizes[1]) + meta


def append(context: int = 1, parent: int = 0, raw: bytes = b"\x81\x01\xa1a", **other: Any) -> bytes:
    """An APPEND_TURN, each of whose fields may be something else."""
    payload, type_id, key = other.get("payload", raw), other.get("type_id", b"t"), other.get("key", b"")
    return b"".join(
        (
            q(context) + q(parent) + i(other.get("type_size", len(type_id))) + type_id,
            i(other.get("version", 1)) + i(other.get("encoding", 1)) + i(other.get("compression", 0)),
            i(other.get("size", len(raw))) + other.get("digest", digest_of(raw)),
            i(other.get("payload_size", len(payload))) + payload,
            i(other.get("key_size", len(key))) + key + other.get("root", b""),
        )
    )


def put_blob(data: bytes, digest: bytes | None = None, size: int | None = None) -> bytes:
    return (digest_of(data) if digest is None else digest) + i(len(data) if size is None else size) + data


def http(target: str, method: str = "GET", body: bytes | None = None, *headers: str) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    lines += [] if body is None else [f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")


# --- what is there -------------------------------------------------------------------------------


def entry(name: bytes, kind: int, mode: int, data: bytes) -> bytes:
    return b"".join(
        (
            b"\x85\xa11" + bytes((0xA0 + len(name),)) + name + b"\xa12\xcc" + bytes((kind,)),
            b"\xa13\xce" + struct.pack(">I", mode) + b"\xa14\xcf" + struct.pack(">Q", 0 if kind else len(data)),
            b"\xa15\xc4\x20" + digest_of(data),
        )
    )


README = b"# Test"
SUB = b"\x91" + entry(b"README.md", 0, 0o644, README)
TREE = b"\x92" + entry(b"README.md", 0, 0o644, README) + entry(b"sub", 1, 0o755, SUB)

KINDS = "string u64 int64 u32 bool bytes unix_ms array any u8 ref f64".split()
MORE: dict[int, dict[str, str]] = {8: {"items": "string"}, 10: {"enum": "E"}, 11: {"ref": "com.x.T"}}
FIELDS = {str(n): {"name": f"f{n}", "type": kind, **MORE.get(n, {})} for n, kind in enumerate(KINDS, 1)}
BUNDLE = {
    "registry_version": 1,
    "bundle_id": "b1",
    "types": {"com.x.T": {"versions": {"1": {"fields": FIELDS}}}},
    "enums": {"E": {"0": "off", "1": "on"}},
}
METADATA = {1: "hi", 30: {1: "tag", 2: "My title", 3: ["env=prod", "x"], 10: {10: "trace1", 20: "ada", 40: "svc"}}}

BEFORE = [
    frame(CREATE, q(0)),
    *(frame(APPEND, append(1, raw=b"\x81\x01\xa1" + one, type_id=b"com.x.T")) for one in (b"a", b"b", b"c")),
    frame(CREATE, q(0)),
    *(frame(PUT_BLOB, put_blob(data)) for data in (README, SUB, TREE)),
    frame(ATTACH_FS, q(1) + digest_of(SUB)),
    frame(ATTACH_FS, q(2) + digest_of(TREE)),
    frame(CREATE, q(0)),
    frame(APPEND, append(3, raw=msgspec.msgpack.encode(METADATA), type_id=b"com.x.T")),
]
"""What makes contexts 1, 2 and 3."""

REGISTER = http("/v1/registry/bundles/b1", "PUT", json.dumps(BUNDLE).encode())


# --- the binary door -----------------------------------------------------------------------------

WHOLE = {
    "hello": (HELLO, hello()),
    "create": (CREATE, q(0)),
    "fork": (FORK, q(1)),
    "get_head": (GET_HEAD, q(1)),
    "get_last": (GET_LAST, frames.get_last(1, 10)),
    "get_blob": (GET_BLOB, digest_of(README)),
    "attach": (ATTACH_FS, q(1) + digest_of(SUB)),
    "put_blob": (PUT_BLOB, put_blob(b"blob")),
    "append": (APPEND, append()),
}
"""A right request of each kind."""

READS = {name: whole for name, whole in WHOLE.items() if name not in ("create", "fork", "append")}

CUTS = {
    "append": [
        0,
        1,
        7,
        8,
        15,
        16,
        19,
        20,
        21,
        24,
        25,
        28,
        29,
        32,
        33,
        36,
        37,
        40,
        41,
        60,
        68,
        69,
        72,
        73,
        76,
        77,
        79,
    ],
    "put_blob": [0, 1, 8, 31, 32, 33, 35, 36, 39],
    "attach": [0, 1, 7, 8, 9, 31, 32, 39],
    "get_blob": [0, 1, 16, 31],
}


def truncated() -> Iterator[Probe]:
    for name, (kind, whole) in WHOLE.items():
        for cut in CUTS.get(name, range(len(whole))):
            yield Probe(f"{name} cut at {cut}", frame(kind, whole[:cut]))
    for name, (kind, whole) in READS.items():
        yield Probe(f"{name} and more bytes", frame(kind, whole + b"extra"))
    yield Probe("create of an unknown turn and more bytes", frame(CREATE, q(999) + b"extra"))


def headers() -> Iterator[Probe]:
    for kind in (0, 7, 8, 12, 13, 20, 100, 254, 255, 256, 257, 1000, 32767, 65535):
        yield Probe(f"type {kind}", frame(kind, q(1)))
        yield Probe(f"type {kind} empty", frame(kind, b""))
    for name, (kind, whole) in READS.items():
        for flags in (1, 2, 0x8000, 0xFFFF):
            yield Probe(f"{name} flags {flags:#x}", frame(kind, whole, flags))
    for flags in (2, 4, 0x8000, 0xFFFE):
        yield Probe(f"append unknown context flags {flags:#x}", frame(APPEND, append(999), flags))
    yield Probe("append flag 1 without root", frame(APPEND, append(), 1))
    yield Probe("append flag 1 half a root", frame(APPEND, append() + bytes(16), 1))
    yield Probe("append root without flag", frame(APPEND, append(999, root=bytes(32))))
    for request in (0, 1, 2**32, *LARGE):
        yield Probe(f"request {request}", frame(GET_HEAD, q(1), request=request))
    for length in (64 * 2**20 + 1, 2**27, *BIG):
        yield Probe(f"length {length}", frame(HELLO, b"", length=length))
    yield Probe("length 64 MiB, not sent", frame(HELLO, b"", length=64 * 2**20), silent=True)
    yield Probe("half a header", frame(HELLO, b"")[:8], silent=True)
    yield Probe("two frames at once", frame(GET_HEAD, q(1)) + frame(GET_HEAD, q(2)))


def ids() -> Iterator[Probe]:
    for kind, name in ((CREATE, "create"), (FORK, "fork"), (GET_HEAD, "get_head")):
        for number in (999, 2**31, 2**32, 2**63 - 1, *LARGE):
            yield Probe(f"{name} {number}", frame(kind, q(number)))
    yield Probe("get_head 0", frame(GET_HEAD, q(0)))
    for number in (0, 2, 999, *LARGE):
        for payloads in (0, 1):
            yield Probe(f"get_last of {number} {payloads}", frame(GET_LAST, q(number) + i(10) + i(payloads)))
    for number in (0, 999, *LARGE):
        yield Probe(f"append to {number}", frame(APPEND, append(number)))
        yield Probe(f"attach to {number}", frame(ATTACH_FS, q(number) + digest_of(SUB)))
    for number in (999, *LARGE):
        yield Probe(f"append behind {number}", frame(APPEND, append(1, number)))
    for limit in (0, 1, 2, 3, 4, 1000, *BIG):
        for payloads in (0, 1, 2, 2**32 - 1):
            yield Probe(f"get_last {limit} {payloads}", frame(GET_LAST, q(1) + i(limit) + i(payloads)))


def hashes() -> Iterator[Probe]:
    for name, digest in (("zeros", bytes(32)), ("ones", b"\xff" * 32), ("other", blake3(b"other").digest())):
        yield Probe(f"append {name}", frame(APPEND, append(digest=digest)))
        yield Probe(f"put_blob {name}", frame(PUT_BLOB, put_blob(b"data", digest)))
        yield Probe(f"get_blob {name}", frame(GET_BLOB, digest))
        yield Probe(f"attach {name}", frame(ATTACH_FS, q(1) + digest))
    yield Probe("put_blob empty", frame(PUT_BLOB, put_blob(b"")))
    yield Probe("put_blob again", frame(PUT_BLOB, put_blob(README)))
    for size in (0, 3, 5, *BIG):
        yield Probe(f"put_blob size {size} for 4", frame(PUT_BLOB, put_blob(b"data", size=size)))


def appends() -> Iterator[Probe]:
    def probe(name: str, **fields: Any) -> Probe:
        return Probe(name, frame(APPEND, append(**fields)))

    for number in (0, 3, 5, *BIG):
        yield probe(f"size {number} for 4", size=number)
        yield probe(f"payload size {number} for 4", payload_size=number)
    for number in (2, 3, 255, *BIG):
        yield probe(f"compression {number}", compression=number)
    for number in (0, 2, 2**32 - 1):
        yield probe(f"encoding {number}", encoding=number)
    for number in (0, 1, 2, 2**16, *BIG):
        if number != 1:
            yield probe(f"type size {number} for 1", type_size=number)
    for number in (1, 2**16, *BIG):
        yield probe(f"key size {number} for 0", key_size=number)
    for text in (b"\xff", b"\xc3", b"a\xff", b"\xed\xa0\x80", b"\xf5\x80\x80\x80"):
        yield probe(f"type {text.hex()}", type_id=text)
    fine: dict[str, dict[str, Any]] = {
        "empty type": {"type_id": b""},
        "type with NUL": {"type_id": b"a\0b"},
        "long type": {"type_id": b"t" * 60_000},
        "type beyond ASCII": {"type_id": "😀".encode()},
        "version 0": {"version": 0},
        "largest version": {"version": 2**32 - 1},
        "empty payload": {"raw": b""},
        "payload that is no msgpack": {"raw": b"\xc1\xc1"},
        "short key": {"key": b"k"},
        "long key": {"key": b"k" * 65_536},
        "binary key": {"key": b"\xff\0"},
        "more bytes": {"root": b"more"},
    }
    for name, fields in fine.items():
        yield probe(name, **fields)
    yield Probe("known root", frame(APPEND, append(root=digest_of(SUB)), 1))
    yield Probe("flag 2", frame(APPEND, append(), 2))


def zstd() -> Iterator[Probe]:
    raw = b"\x81\x01\xa5hello"
    packed = zstandard.ZstdCompressor(level=1).compress(raw)
    packer = zstandard.ZstdCompressor(level=1).compressobj()
    streamed = packer.compress(raw) + packer.flush()
    skippable = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"

    def probe(name: str, payload: bytes, data: bytes = raw, **fields: Any) -> Probe:
        return Probe(name, frame(APPEND, append(raw=data, payload=payload, **{"compression": 1, **fields})))

    yield probe("garbage", b"garbage!")
    yield probe("empty", b"")
    yield probe("beginning only", b"\x28\xb5\x2f\xfd")
    yield probe("last byte missing", packed[:-1])
    yield probe("half", packed[: len(packed) // 2])
    yield probe("bit flipped", packed[:5] + bytes((packed[5] ^ 0x40,)) + packed[6:])
    yield probe("not packed", raw)
    yield probe("packed but not said so", packed, compression=0)
    yield probe("wrong digest", packed, digest=bytes(32))
    yield probe("garbage behind it", packed + b"garbage")
    yield probe("grows to 128 MiB", zstandard.ZstdCompressor(level=1).compress(bytes(2**27)))
    for size in (0, 7, 9, *BIG):
        yield probe(f"size {size} for 8", packed, size=size)
    yield probe("fine", packed)
    yield probe("fine, size unknown", streamed)
    yield probe("fine, two frames", packed + packed, raw + raw)
    yield probe("fine, with a skippable frame", skippable + packed)


def greetings() -> Iterator[Probe]:
    for version in (0, 2, 65535):
        yield Probe(f"version {version}", frame(HELLO, hello(version=version)))
    for size in (0, 2, 2**16 - 1):
        yield Probe(f"tag size {size} for 1", frame(HELLO, hello(tag_size=size)))
    for size in (1, *BIG):
        yield Probe(f"meta size {size} for 0", frame(HELLO, hello(meta_size=size)))
    for name, tag in (("latin-1", b"\xff"), ("NUL", b"a\0b"), ("emoji", "😀".encode()), ("long", b"x" * 60_000)):
        yield Probe(f"tag {name}", frame(HELLO, hello(tag)))
    for meta in (b"{", b"\xff", b"[1]", b"null", b'{"orchestra.token":1}', b"[" * 5000):
        yield Probe(f"meta {meta[:30]!r}", frame(HELLO, hello(meta=meta)))


# --- the HTTP door -------------------------------------------------------------------------------


def routes() -> Iterator[Probe]:
    for method in ("HEAD", "OPTIONS", "DELETE", "PATCH", "PUT", "POST"):
        body = b"{}" if method in ("POST", "PUT", "PATCH") else None
        for target in ("/healthz", "/v1/metrics", "/v1/events", "/v1/registry/renderers", "/v1/turns/1/fs"):
            yield Probe(f"{method} {target}", http=http(target, method, body))
    for target in (
        "/ /v1 /v1/ /v1/contexts /v1/contexts/ /v1//contexts //v1/contexts /health /healthz /v1/stats /v1/metrics"
        " /v1/registry/types /v1/registry/bundles /v1/turns /v1/turns/2/fs/ /v1/contexts/1/turns/"
        " /v1/contexts/1/events /V1/contexts /v1/contexts/1/provenance/ /v1/./contexts /v1/x/../contexts"
        " /v1/contexts? /v1/contexts?limit /%761/contexts /v1/blobs/ /v1/contexts/search/x"
    ).split():
        yield Probe(f"GET {target}", http=http(target))


def numbers() -> Iterator[Probe]:
    for number in [
        *"1 2 3 abc -1 1.5 0 999 18446744073709551615 18446744073709551616 %31 +1 01 1%20 0x1 %EF%BC%91".split(),
        "",
    ]:
        yield Probe(f"turns of {number}", http=http(f"/v1/contexts/{number}/turns"))
        yield Probe(f"provenance of {number}", http=http(f"/v1/contexts/{number}/provenance"))
    for query in (
        "limit=0 limit=1 limit=-1 limit=abc limit= limit=1e1 limit=4294967295 limit=4294967296 limit=1&limit=2"
        " limit=%31 before_turn_id=abc before_turn_id=-1 before_turn_id=0 before_turn_id=1 before_turn_id=2"
        " before_turn_id=999 before_turn_id=18446744073709551616 view=typed view=raw view=both view=x view=RAW"
        " view=%72aw"
        " view=raw&bytes_render=hex view=raw&bytes_render=len_only view=raw&bytes_render=x type_hint_mode=latest"
        " type_hint_mode=explicit type_hint_mode=explicit&as_type_id=com.x.T type_hint_mode=x"
        " type_hint_mode=explicit&as_type_id=com.x.T&as_type_version=1"
        " type_hint_mode=explicit&as_type_id=com.x.T&as_type_version=9"
        " type_hint_mode=explicit&as_type_id=no&as_type_version=1"
        " type_hint_mode=explicit&as_type_id=com.x.T&as_type_version=x include_unknown=1 include_unknown=true"
        " u64_format=number enum_render=both time_render=unix_ms unknown=1"
    ).split():
        for context in (1, 2):
            yield Probe(f"turns of {context}?{query}", http=http(f"/v1/contexts/{context}/turns?{query}"))
    for query in (
        "limit=0 limit=1 limit=-1 limit=x limit=4294967296 tag=tag tag=no tag= tag=t%61g include_provenance=1"
        " include_provenance=true offset=1"
    ).split():
        yield Probe(f"contexts?{query}", http=http(f"/v1/contexts?{query}"))


def files() -> Iterator[Probe]:
    for rest in (
        "1/fs 2/fs 3/fs 999/fs abc/fs -1/fs /fs 0/fs 2/fs?path=sub 2/fs?path=/sub/ 2/fs?path=no 2/fs?path=README.md"
        " 2/fs?path=.. 2/fs?path=./sub 2/fs?path=sub%2F 2/fs/README.md 2/fs/sub/README.md 2/fs/sub 2/fs/no"
        " 2/fs/README.md/x 2/fs/sub/no 2/fs/README.md?format=json 2/fs/README.md?format=x 2/fs//README.md"
        " 2/fs/sub//README.md 2/fs/%52EADME.md 2/fs/../fs"
    ).split():
        yield Probe(rest, http=http(f"/v1/turns/{rest}"))


def put(name: str, body: object) -> Probe:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Probe(f"PUT {name}", http=http("/v1/registry/bundles/x", "PUT", data))


def put_type(name: str, fields: object, version: str = "1", type_id: str = "a") -> Probe:
    types = {type_id: {"versions": {version: {"fields": fields}}}}
    return put(name, {"registry_version": 1, "bundle_id": name, "types": types})


def shapes() -> Iterator[Probe]:
    for body in (b"", b"{", b"[]", b"null", b'"x"', b'{"a":"\xff"}', b"[" * 5000):
        yield put(f"body {body[:10]!r}", body)
    for value in (0, -1, 2**32, 1.5, "1", None, True):
        yield put(f"registry_version {value!r}", {"registry_version": value, "bundle_id": "v"})
    for other in (None, 1, [], {}):
        yield put(f"bundle_id {other!r}", {"registry_version": 1, "bundle_id": other})
    yield put("no registry_version", {"bundle_id": "v"})
    yield put("no bundle_id", {"registry_version": 1})
    for types in ([], None, "x", {"a": None}, {"a": {}}, {"a": {"versions": []}}, {"a": {"versions": {"1": {}}}}):
        yield put(f"types {types!r}", {"registry_version": 1, "bundle_id": f"t{types!r}", "types": types})
    for enums in ([], None, {"X": {"0": 1}}, {"X": []}, {"Y": {"x": "a"}}, {"Z": {"-1": "a"}}):
        yield put(f"enums {enums!r}", {"registry_version": 1, "bundle_id": f"e{enums!r}", "enums": enums})


def types() -> Iterator[Probe]:
    for version in ("x", "-1", "4294967296", "0", "7"):
        yield put_type(f"version {version}", {}, version, "b")
    good = {"name": "a", "type": "string"}
    for tag in ("x", "-1", "18446744073709551616", "0"):
        yield put_type(f"tag {tag}", {tag: good}, type_id=f"c{tag}")
    for field in ("string", {"type": "u8"}, {"name": "a"}, {**good, "name": 1}, {**good, "type": 1}):
        yield put_type(f"field {field!r}", {"1": field}, type_id="d")
    yield put_type("optional yes", {"1": {**good, "optional": "yes"}}, type_id="d")
    for items in (1, None, [], {"type": "ref", "ref": "a"}, {"type": "string"}, {"type": 1}, {"x": 1}):
        yield put_type(f"items {items!r}", {"1": {**good, "items": items}}, type_id=f"i{items!r}")


def bundles() -> Iterator[Probe]:
    yield put("same bytes", json.dumps(BUNDLE).encode())
    yield put("other spaces", json.dumps(BUNDLE, indent=1).encode())
    yield put_type("tag used otherwise", {"1": {"name": "f1", "type": "u64"}}, "2", "com.x.T")
    yield put_type("version changed", {"1": {"name": "other", "type": "string"}}, "1", "com.x.T")
    yield put("enum changed", {"registry_version": 1, "bundle_id": "b4", "enums": {"E": {"0": "off"}}})
    for name in ("", "a/b", "a:b", "a#b", "a_b"):
        yield put(f"id {name!r}", {"registry_version": 1, "bundle_id": name})
    for path in (
        "bundles/b1 bundles/no bundles/ bundles/a/b bundles/a%2Fb bundles/a:b types/com.x.T/versions/1"
        " types/com.x.T/versions/9 types/com.x.T/versions/x types/com.x.T/versions/-1 types/com.x.T/versions/"
        " types/no/versions/1 types//versions/1 types/com.x.T types/com.x.T/versions/01 renderers"
    ).split():
        yield Probe(f"GET {path}", http=http(f"/v1/registry/{path}"))
    whole = f'"{blake3(json.dumps(BUNDLE).encode()).hexdigest()}"'
    for name, tag in (("its own", whole), ("any", "*"), ("weak", f"W/{whole}"), ("other", '"x"')):
        yield Probe(
            f"If-None-Match {name}", http=http("/v1/registry/bundles/b1", "GET", None, f"If-None-Match: {tag}")
        )


QUERIES = r"""
| |tag = "tag"|tag != "tag"|tag = tag|= "x"|tag =|tag = "x|tag == "x"|tag = "tag" AND|AND|tag = "a" OR|NOT
NOT tag = "tag"|NOT NOT tag = "tag"|(tag = "tag")|(tag = "tag"|tag = "tag")|()|tag IN ("tag")|tag IN ()
tag IN ("a",)|tag IN "a"|tag in ("tag","b")|TAG = "tag"|Tag = "x"|nope = 1|tag > "a"|tag >= 1|tag = 1|tag = true
tag ^= "t"|tag ~= "TAG"|tag ^~= "T"|title = "My title"|title ~= "my"|title ^~= "MY"|user = "ada"|service = "svc"
host ~= "BOX"
host = "box"|host ^= "b"|label = "x"|label = "env=prod"|label ~= "x"|label ^= "e"|label IN ("x")|trace_id = "trace1"
trace_id ~= "t"|id = 3|id = "3"|id = -1|id = 3.9|id = 1e3|id > 1|id IN (1,3)|id IN ("1")|id != 3|parent = 1|root = 1
parent > 1|created > 0|created < 0|created = 0|created > "-24h"|created > "-7d"|created > "-30m"|created > "-1w"
created > "-h"|created > "24h"|created > "-99999999999999999999h"|created > "-9223372036854775807d"
created > "2020-01-01"|created > "2020-13-01"|created > "2020-02-30"|created > "2020-01-01T00:00:00Z"
created > "2020-01-01T00:00:00"|created > "yesterday"|created > true|created ~= "x"|created IN (1)|depth = 0
depth >= 0|depth > 99|depth = "0"|depth IN (0)|is_live = true|is_live = false|is_live = TRUE|is_live != true
is_live = "true"|is_live = 1|tag = "\n"|tag = "\q"|tag = 'tag'|tag = 'a"b'|tag = "a\"b"|tag="tag"|tag="tag"and id=3
tag = "tag" id = 3|tag = "tag" ;|tag = "tag" -- x|id = 99999999999999999999|id = 1.2.3|id = -|id = .5|id = 5.
a.b = 1|tag = "é"|tag = "😀"|tag = null"""


def queries() -> Iterator[Probe]:
    for query in QUERIES.strip("\n").replace("\n", "|").split("|"):
        yield Probe(query, http=http(f"/v1/contexts/search?q={quote(query, safe='')}"))
    deep = "(" * 60 + "id = 1" + ")" * 60
    yield Probe("60 parentheses", http=http(f"/v1/contexts/search?q={quote(deep, safe='')}"))
    for rest in ("", "?q", "?x=1", "?q=id+%3D+3&limit=0", "?q=id+%3D+3&limit=x", "?q=id+%3D+3&limit=-1", "?q=%ZZ"):
        yield Probe(f"search{rest}", http=http(f"/v1/contexts/search{rest}"))


PAYLOADS = {
    "not a map": "01",
    "empty": "",
    "nil": "c0",
    "array": "9101",
    "truncated map": "8201a161",
    "truncated str": "8101a56162",
    "reserved byte": "8101c1",
    "more bytes": "8101a161ffff",
    "value that is no UTF-8": "8101a2fffe",
    "key that is no UTF-8": "81a1ff01",
    "ext": "8109d40500",
    "timestamp": "8107d6ff00000001",
    "NaN": "810ccb7ff8000000000000",
    "infinity": "810ccb7ff0000000000000",
    "negative u64": "8102ff",
    "negative int64": "8103ff",
    "largest u64": "8102cf" + "ff" * 8,
    "u32 too large": "8104cf" + "ff" * 8,
    "string that is a number": "810105",
    "bool that is a number": "810501",
    "bytes that are a string": "8106a161",
    "bytes": "8106c403616263",
    "time": "8107cf0000018bcfe5687b",
    "time, whole second": "8107cf0000018bcfe56800",
    "negative time": "8107ff",
    "time out of range": "8107cf7f" + "ff" * 7,
    "time that is a string": "8107a161",
    "list": "810893a16105c0",
    "list that is a number": "810805",
    "any map": "8109830102a16b03ff04",
    "known enum": "810a01",
    "unknown enum": "810a09",
    "enum that is a string": "810aa161",
    "reference": "810b8101a178",
    "reference that is a number": "810b05",
    "reference with an unknown tag": "810b816305",
    "unknown tag": "816305",
    "tag twice": "8201a16101a162",
    "string keys": "82a131a173a23032a17a",
    "key with a plus": "81a22b31a173",
    "key that is a word": "81a178a173",
    "negative key": "81ffa173",
    "90 levels": "8109" + "91" * 90 + "c0",
    "map of 32 bits": "df0000000101a161",
    "map that claims 65535": "deffff01a161",
}


def payloads() -> Iterator[Probe]:
    for name, payload in PAYLOADS.items():
        yield Probe(name, typed=bytes.fromhex(payload))


PROBES: dict[str, Callable[[], Iterator[Probe]]] = {
    "truncated": truncated,
    "headers": headers,
    "ids": ids,
    "hashes": hashes,
    "greetings": greetings,
    "routes": routes,
    "numbers": numbers,
    "files": files,
    "bundles": bundles,
    "shapes of bundles": shapes,
    "types": types,
    "queries": queries,
    "appends": appends,
    "zstd": zstd,
    "payloads": payloads,
}
"""By category; the last ones append turns."""
