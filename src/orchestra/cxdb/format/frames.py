"""CXDB's binary protocol, byte for byte: values in, bytes out, and back.

Everything here computes; nothing touches a socket. Integers are little-endian. Whatever does not fit is
``Malformed``, with the code and the words that CXDB has for it; no length is believed before it is bounded.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from orchestra.cxdb.format.packing import digest_of

HELLO, CREATE, FORK, GET_HEAD, APPEND, GET_LAST, GET_BEFORE, GET_RANGE, GET_BLOB, ATTACH_FS, PUT_BLOB = range(1, 12)
"""Message numbers. Nobody implements ``GET_BEFORE`` and ``GET_RANGE``."""

ERROR = 255

WITH_ROOT = 1
"""Flag of an append that carries the root of a file tree."""

MORE = 2
"""Our own flag of an append or a blob: it belongs to one batch with the frame after it.

CXDB looks at no flag but the first, so it takes such frames one by one. Our server keeps the batch whole for
clients that greet it with ``BATCHES``, and ignores the flag of others.
"""

BATCHES = '"orchestra.batches"'
"""A client whose greeting has this in its JSON may use ``MORE``."""

TOKEN = "orchestra.token"
"""The key in a greeting's JSON under which a client names the token of a server that wants one."""

TIMES = '"orchestra.times"'
"""A client whose greeting has this in its JSON is told of turns also when they were appended.

The eight bytes for each follow the fields of an answer, where other clients do not read. CXDB reads
no client's JSON.
"""

LARGEST = 64 * 1024 * 1024
"""Bytes of the largest payload of a request, and of what a compressed one may become."""

PROTOCOL = 1
HASH_SIZE = 32

HEADER = struct.Struct("<IHHQ")
_U64 = struct.Struct("<Q")
_HEAD = struct.Struct("<QQI")
_GET_LAST = struct.Struct("<QII")
_IDS = struct.Struct("<QQ")
_DECLARED = struct.Struct("<IIII")
_APPENDED = struct.Struct("<QQI32s")
APPENDED_SIZE = _APPENDED.size
"""Bytes of the answer to an append."""

_LINKS = struct.Struct("<QQI")
_HELLO_ANSWER = struct.Struct("<QH")
_U32 = struct.Struct("<I")
_U16 = struct.Struct("<H")


class Malformed(Exception):
    """Bytes that are no message, or a message that is refused; the codes are those of HTTP."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Frame(NamedTuple):
    """One message of either direction."""

    kind: int
    flags: int
    request: int
    payload: bytes


class Header(NamedTuple):
    """The first 16 bytes of a message."""

    length: int
    kind: int
    flags: int
    request: int


class Hello(NamedTuple):
    """What a client says of itself."""

    version: int
    tag: str
    meta: str = ""


class Append(NamedTuple):
    """A turn to append; ``payload`` is as sent, compressed where ``compression`` is 1."""

    context_id: int
    parent: int
    type_id: str
    type_version: int
    encoding: int
    compression: int
    raw_size: int
    digest: bytes
    payload: bytes
    key: bytes = b""
    root: bytes | None = None


class GetLast(NamedTuple):
    """The newest turns of a context."""

    context_id: int
    limit: int
    payloads: bool


class AppendAnswer(NamedTuple):
    """The answer to an append."""

    context_id: int
    turn_id: int
    depth: int
    digest: bytes


class WireHead(NamedTuple):
    """The answer to a create, a fork and a get-head."""

    context_id: int
    turn_id: int
    depth: int


class WireTurn(NamedTuple):
    """A turn in the answer to a get-last; ``payload`` is None where none was asked for."""

    turn_id: int
    parent: int
    depth: int
    type_id: str
    type_version: int
    encoding: int
    compression: int
    raw_size: int
    digest: bytes
    payload: bytes | None


class PayloadReader:
    """Reads one field after another; a field that is not all there is ``Malformed``."""

    __slots__ = ("_at", "_data", "_short")

    def __init__(self, data: bytes, short: Malformed | None = None) -> None:
        self._data = data
        self._at = 0
        self._short = short

    def left(self) -> int:
        """Bytes that have not been read."""
        return len(self._data) - self._at

    def take(self, size: int) -> bytes:
        """So many bytes."""
        end = self._at + size
        if end > len(self._data):
            raise self._short or Malformed(500, "failed to fill whole buffer")
        piece = self._data[self._at : end]
        self._at = end
        return piece

    def u16(self) -> int:
        """Two bytes."""
        return int(_U16.unpack(self.take(2))[0])

    def u32(self) -> int:
        """Four bytes."""
        return int(_U32.unpack(self.take(4))[0])

    def u64(self) -> int:
        """Eight bytes."""
        return int(_U64.unpack(self.take(8))[0])

    def sized_bytes(self) -> bytes:
        """Read bytes after their length."""
        return self.take(self.u32())

    def text(self, name: str) -> str:
        """Read text after its length."""
        return utf8(self.sized_bytes(), name)


def utf8(data: bytes, name: str) -> str:
    """Text, or ``Malformed`` that names what is not."""
    try:
        return str(data, "utf-8")
    except UnicodeDecodeError:
        raise Malformed(422, f"{name} not utf8") from None


def frame(kind: int, payload: bytes, request: int = 0, flags: int = 0) -> bytes:
    """A message."""
    return HEADER.pack(len(payload), kind, flags, request) + payload


def read_header(data: bytes) -> Header:
    """The beginning of a message; its length is not bounded yet."""
    return Header(*HEADER.unpack(data))


def check_header(data: bytes, most: int = LARGEST) -> Header:
    """The beginning of a message that is not too large."""
    header = read_header(data)
    if header.length > most:
        raise Malformed(422, f"frame size {header.length} exceeds maximum {most}")
    return header


def error(code: int, text: str) -> bytes:
    """The payload of an error."""
    detail = text.encode()
    return struct.pack("<II", code, len(detail)) + detail


def read_error(payload: bytes) -> tuple[int, str]:
    """An error's code and text."""
    cursor = PayloadReader(payload)
    return cursor.u32(), str(cursor.sized_bytes(), "utf-8", "replace")


def hello(tag: str, meta: str = "") -> bytes:
    """A client's greeting."""
    name, more = tag.encode(), meta.encode()
    return struct.pack("<HH", PROTOCOL, len(name)) + name + _U32.pack(len(more)) + more


def read_hello(payload: bytes) -> Hello:
    """A client's greeting; old clients send an empty one."""
    if not payload:
        return Hello(0, "")
    if len(payload) < 4:
        raise Malformed(422, "hello payload too short")
    cursor = PayloadReader(payload, Malformed(422, "hello payload truncated"))
    version = cursor.u16()
    tag = utf8(cursor.take(cursor.u16()), "client_tag")
    return Hello(version, tag, utf8(cursor.sized_bytes(), "client_meta_json"))


def number(value: int) -> bytes:
    """A request that is one id: create and fork (a turn), get-head (a context)."""
    return _U64.pack(value)


def read_number(payload: bytes) -> int:
    """A request that is one id."""
    return PayloadReader(payload).u64()


def append(request: Append) -> bytes:
    """An append; the flag for a root is the frame's."""
    type_id = request.type_id.encode()
    return b"".join(
        (
            _IDS.pack(request.context_id, request.parent),
            _U32.pack(len(type_id)),
            type_id,
            _DECLARED.pack(request.type_version, request.encoding, request.compression, request.raw_size),
            request.digest,
            _U32.pack(len(request.payload)),
            request.payload,
            _U32.pack(len(request.key)),
            request.key,
            request.root or b"",
        )
    )


def plain_append(context_id: int, parent: int, type_id: str, type_version: int, payload: bytes) -> Append:
    """An append of uncompressed msgpack."""
    digest = digest_of(payload)
    return Append(context_id, parent, type_id, type_version, 1, 0, len(payload), digest, payload)


def read_append(payload: bytes, flags: int) -> Append:
    """An append."""
    cursor = PayloadReader(payload)
    context_id, parent = _IDS.unpack(cursor.take(_IDS.size))
    type_id = cursor.text("declared_type_id")
    version, encoding, compression, raw_size = _DECLARED.unpack(cursor.take(_DECLARED.size))
    digest = cursor.take(HASH_SIZE)
    body, key = cursor.sized_bytes(), cursor.sized_bytes()
    root = cursor.take(HASH_SIZE) if flags & WITH_ROOT else None
    return Append(context_id, parent, type_id, version, encoding, compression, raw_size, digest, body, key, root)


def get_last(context_id: int, limit: int, payloads: bool = True) -> bytes:
    """A request for the newest turns of a context."""
    return _GET_LAST.pack(context_id, limit, int(payloads))


def read_get_last(payload: bytes) -> GetLast:
    """A request for the newest turns of a context."""
    context_id, limit, payloads = _GET_LAST.unpack(PayloadReader(payload).take(_GET_LAST.size))
    return GetLast(context_id, limit, payloads != 0)


def read_get_blob(payload: bytes) -> bytes:
    """A request for a blob: its hash and nothing else."""
    if len(payload) != HASH_SIZE:
        raise Malformed(422, "invalid blob hash length")
    return payload


def attach_fs(turn_id: int, root: bytes) -> bytes:
    """A request to attach a file tree, and the answer to it."""
    return _U64.pack(turn_id) + root


def read_attach_fs(payload: bytes) -> tuple[int, bytes]:
    """A turn and the root of its file tree."""
    cursor = PayloadReader(payload, Malformed(422, "attach_fs payload too short"))
    return cursor.u64(), cursor.take(HASH_SIZE)


def put_blob(digest: bytes, data: bytes) -> bytes:
    """A request to store a blob."""
    return digest + _U32.pack(len(data)) + data


def read_put_blob(payload: bytes) -> tuple[bytes, bytes]:
    """A blob's hash and its bytes; the hash is verified."""
    if len(payload) < HASH_SIZE + 4:
        raise Malformed(422, "put_blob payload too short")
    cursor = PayloadReader(payload)
    digest, data = cursor.take(HASH_SIZE), cursor.sized_bytes()
    if digest_of(data) != digest:
        raise Malformed(422, "blob hash mismatch")
    return digest, data


def hello_answer(session_id: int) -> bytes:
    """The answer to a greeting."""
    return _HELLO_ANSWER.pack(session_id, PROTOCOL)


def read_hello_answer(payload: bytes) -> tuple[int, int]:
    """The session's id and the protocol's version."""
    session_id, version = _HELLO_ANSWER.unpack(PayloadReader(payload).take(_HELLO_ANSWER.size))
    return session_id, version


def head(value: WireHead) -> bytes:
    """Where a context stands."""
    return _HEAD.pack(*value)


def read_head(payload: bytes) -> WireHead:
    """Where a context stands."""
    return WireHead(*_HEAD.unpack(PayloadReader(payload).take(_HEAD.size)))


def append_answer(value: AppendAnswer) -> bytes:
    """The answer to an append."""
    return _APPENDED.pack(*value)


def read_appended(payload: bytes) -> AppendAnswer:
    """The answer to an append."""
    return AppendAnswer(*_APPENDED.unpack(PayloadReader(payload).take(_APPENDED.size)))


def page(turns: list[WireTurn]) -> bytes:
    """The answer to a get-last."""
    parts = [_U32.pack(len(turns))]
    for turn in turns:
        type_id = turn.type_id.encode()
        parts += (
            _LINKS.pack(turn.turn_id, turn.parent, turn.depth),
            _U32.pack(len(type_id)),
            type_id,
            _DECLARED.pack(turn.type_version, turn.encoding, turn.compression, turn.raw_size),
            turn.digest,
        )
        if turn.payload is not None:
            parts += (_U32.pack(len(turn.payload)), turn.payload)
    return b"".join(parts)


def read_page(payload: bytes, payloads: bool) -> list[WireTurn]:
    """The turns in the answer to a get-last."""
    return _turns(PayloadReader(payload), payloads)


def read_page_and_rest(payload: bytes) -> tuple[list[WireTurn], bytes]:
    """Return the turns with payloads in the answer to a get-last, and the bytes after them."""
    cursor = PayloadReader(payload)
    return _turns(cursor, True), cursor.take(cursor.left())


def _turns(cursor: PayloadReader, payloads: bool) -> list[WireTurn]:
    found: list[WireTurn] = []
    for _ in range(cursor.u32()):
        turn_id, parent, depth = _LINKS.unpack(cursor.take(_LINKS.size))
        type_id = cursor.text("declared_type_id")
        version, encoding, compression, raw_size = _DECLARED.unpack(cursor.take(_DECLARED.size))
        digest = cursor.take(HASH_SIZE)
        data = cursor.sized_bytes() if payloads else None
        found.append(
            WireTurn(turn_id, parent, depth, type_id, version, encoding, compression, raw_size, digest, data)
        )
    return found


def blob(data: bytes) -> bytes:
    """The answer to a get-blob."""
    return _U32.pack(len(data)) + data


def read_blob(payload: bytes) -> bytes:
    """The bytes of a blob."""
    return PayloadReader(payload).sized_bytes()


def put_blob_answer(digest: bytes, new: bool) -> bytes:
    """The answer to a put-blob."""
    return digest + bytes((new,))
