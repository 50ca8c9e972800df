"""The binary protocol, byte for byte."""

from __future__ import annotations

import random

import pytest

from orchestra.cxdb.format import frames
from orchestra.cxdb.format.frames import Append, Malformed
from orchestra.cxdb.format.packing import digest_of

TYPE = "cxdb.ConversationItem"

VECTORS = {
    "hello, empty tag": (frames.hello(""), "0100000000000000"),
    "hello": (frames.hello("test-client"), "01000b00746573742d636c69656e7400000000"),
    "create": (frames.number(0), "0000000000000000"),
    "fork": (frames.number(123), "7b00000000000000"),
    "get-head": (frames.number(42), "2a00000000000000"),
    "append, no parent": (
        frames.append(frames.plain_append(1, 0, TYPE, 3, b"\x91\x01")),
        (
            "0100000000000000000000000000000015000000637864622e436f6e766572736174696f6e4974656d03000000010000000000"
            "0000020000007d911c8b58f0ac3a109a19007f8dea0f023d55ce8698b947828cb79b3ba0b7b602000000910100000000"
        ),
    ),
    "append, parent": (
        frames.append(frames.plain_append(1, 7, TYPE, 3, b"\x91\x02")),
        (
            "0100000000000000070000000000000015000000637864622e436f6e766572736174696f6e4974656d03000000010000000000"
            "0000020000003cb94a2ed1cdced03ed54d2afc31ca20bcc2b4ad613f4f7158a106f9adec9b3902000000910200000000"
        ),
    ),
    "append, key": (
        frames.append(frames.plain_append(1, 0, TYPE, 3, b"\x91\x03")._replace(key=b"idem-1")),
        (
            "0100000000000000000000000000000015000000637864622e436f6e766572736174696f6e4974656d03000000010000000000"
            "000002000000c64508d46d75fdcd20f5c5914214bb5bc763052b90bc424fcc5383bd3262ce97020000009103060000006964"
            "656d2d31"
        ),
    ),
    "append, root": (
        frames.append(frames.plain_append(1, 0, TYPE, 3, b"\x91\x04")._replace(root=b"\xbb" * 32)),
        (
            "0100000000000000000000000000000015000000637864622e436f6e766572736174696f6e4974656d03000000010000000000"
            "000002000000b38abdb0c819bbff7dd7ea8a0d2d4f3858de2be18c7468df47b6f39a728e05cf02000000910400000000bbbb"
            "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
        ),
    ),
    "get-last without payloads": (frames.get_last(1, 10, False), "01000000000000000a00000000000000"),
    "get-last": (frames.get_last(1, 5), "01000000000000000500000001000000"),
    "attach-fs": (frames.attach_fs(99, b"\xaa" * 32), "6300000000000000" + "aa" * 32),
    "put-blob": (
        frames.put_blob(digest_of(b"hello blob"), b"hello blob"),
        "0c82c44eaf4c3639df7c38503f60a5b609679ddc490c20ea74b4e514a4c25abf0a00000068656c6c6f20626c6f62",
    ),
    "answer to a create": (
        frames.head(frames.WireHead(1, 0, 0)),
        "0100000000000000000000000000000000000000",
    ),
    "answer to a hello": (frames.hello_answer(2), "02000000000000000100"),
    "error": (frames.error(422, "unknown msg_type"), "a601000010000000756e6b6e6f776e206d73675f74797065"),
}


@pytest.mark.parametrize(("written", "expected"), VECTORS.values(), ids=VECTORS.keys())
def test_messages_have_the_bytes_of_the_official_clients(written: bytes, expected: str) -> None:
    assert written.hex() == expected


def test_what_is_written_is_read() -> None:
    request = Append(3, 4, "t", 5, 1, 1, 9, b"h" * 32, b"payload", b"key", b"r" * 32)
    assert frames.read_append(frames.append(request), frames.WITH_ROOT) == request
    assert frames.read_append(frames.append(request), 0) == request._replace(root=None)
    assert frames.read_hello(frames.hello("tag", "{}")) == (1, "tag", "{}")
    assert frames.read_hello(b"") == (0, "", "")
    assert frames.read_get_last(frames.get_last(1, 2, False)) == (1, 2, False)
    assert frames.read_attach_fs(frames.attach_fs(1, b"r" * 32)) == (1, b"r" * 32)
    assert frames.read_put_blob(frames.put_blob(digest_of(b"x"), b"x")) == (digest_of(b"x"), b"x")
    assert frames.read_blob(frames.blob(b"x")) == b"x"
    assert frames.read_error(frames.error(404, "context")) == (404, "context")
    turn = frames.WireTurn(1, 0, 0, "t", 1, 1, 0, 1, b"h" * 32, b"x")
    assert frames.read_page(frames.page([turn, turn]), True) == [turn, turn]
    bare = turn._replace(payload=None)
    assert frames.read_page(frames.page([bare, bare]), False) == [bare, bare]


def test_bytes_after_the_known_fields_are_ignored_but_not_after_a_blob_hash() -> None:
    request = frames.plain_append(1, 0, "t", 1, b"x")
    assert frames.read_append(frames.append(request) + b"more", 0) == request
    assert frames.read_number(frames.number(7) + b"more") == 7
    with pytest.raises(Malformed):
        frames.read_get_blob(bytes(33))


def test_a_message_over_64_mib_is_refused_by_its_header() -> None:
    at_most = frames.HEADER.pack(frames.LARGEST, 5, 0, 1)
    assert frames.check_header(at_most).length == frames.LARGEST
    with pytest.raises(Malformed, match="frame size 67108865 exceeds maximum 67108864"):
        frames.check_header(frames.HEADER.pack(frames.LARGEST + 1, 5, 0, 1))


@pytest.mark.parametrize("payload", ["01", "010000", "0100ff00", "01000100ff00000000", "0100000005000000"])
def test_a_bad_greeting_is_refused(payload: str) -> None:
    with pytest.raises(Malformed):
        frames.read_hello(bytes.fromhex(payload))


def test_any_bytes_are_read_or_refused() -> None:
    chance = random.Random(1)
    readers = (
        frames.read_hello,
        frames.read_number,
        lambda data: frames.read_append(data, 1),
        frames.read_get_last,
        frames.read_get_blob,
        frames.read_attach_fs,
        frames.read_put_blob,
        frames.read_head,
        frames.read_appended,
        lambda data: frames.read_page(data, True),
        frames.read_blob,
        frames.read_error,
    )
    whole = [bytes.fromhex(expected) for _, expected in VECTORS.values()]
    for _ in range(3000):
        data = bytearray(chance.choice(whole))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(len(data))] = chance.choice((0, 1, 255, chance.randrange(256)))
        cut = bytes(data[: chance.randrange(len(data) + 1)])
        for read in readers:
            try:
                read(cut)
            except Malformed:
                continue
