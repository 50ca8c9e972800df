"""Our server's binary protocol does what CXDB's does, except for the differences in docs/cxdb.md (S30)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from wire_client import Client, served

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format import frames
from orchestra.cxdb.format.packing import digest_of, packer


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with served() as connected:
        yield connected


async def test_the_first_answers_have_cxdbs_bytes(client: Client) -> None:
    assert (await client.ask(frames.HELLO, frames.hello("x"))).hex() == "01000000000000000100"
    assert (await client.ask(frames.CREATE, frames.number(0))).hex() == "01000000" + "00" * 16


async def test_a_greeting_is_not_needed_and_a_second_one_changes_nothing(client: Client) -> None:
    await client.ask(frames.CREATE, frames.number(0))
    await client.ask(frames.HELLO, frames.hello("late"))
    sessions = (await client.json("/v1/contexts"))["active_sessions"]
    assert [(s["session_id"], s["client_tag"], s["context_count"]) for s in sessions] == [("1", "", 1)]


async def test_an_append_goes_after_the_head_and_a_named_parent_moves_it(client: Client) -> None:
    await client.ask(frames.CREATE, frames.number(0))
    first = await client.append(1, b"a")
    second = await client.append(1, b"b")
    aside = await client.append(1, b"c", parent=first.turn_id)
    assert [(t.turn_id, t.depth) for t in (first, second, aside)] == [(1, 0), (2, 1), (3, 1)]
    turns = frames.read_page(await client.ask(frames.GET_LAST, frames.get_last(1, 10)), True)
    assert [(t.turn_id, t.parent, t.payload) for t in turns] == [(1, 0, b"a"), (3, 1, b"c")]


async def test_a_page_without_payloads_has_no_payload_lengths(client: Client) -> None:
    await client.ask(frames.CREATE, frames.number(0))
    await client.append(1, b"abc")
    turns = frames.read_page(await client.ask(frames.GET_LAST, frames.get_last(1, 10, False)), False)
    assert [(t.raw_size, t.payload, t.digest) for t in turns] == [(3, None, digest_of(b"abc"))]


async def test_compressed_payloads_are_stored_raw(client: Client) -> None:
    await client.ask(frames.CREATE, frames.number(0))
    raw = b"again and again " * 100
    request = frames.plain_append(1, 0, "t", 1, raw)._replace(compression=1, payload=packer()(raw)[1])
    await client.ask(frames.APPEND, frames.append(request))
    (turn,) = frames.read_page(await client.ask(frames.GET_LAST, frames.get_last(1, 1)), True)
    assert (turn.payload, turn.compression) == (raw, 0)


async def test_the_compression_that_a_writer_declared_comes_back(tmp_path: Path) -> None:
    raw = b"again and again " * 100
    request = frames.plain_append(1, 0, "t", 1, raw)._replace(compression=1, payload=packer()(raw)[1])
    for again in (False, True):
        store = EmbeddedStore.open(tmp_path)
        async with served(store) as client:
            if not again:
                await client.ask(frames.CREATE, frames.number(0))
                await client.ask(frames.APPEND, frames.append(request))
                await client.append(1, b"plain")
            turns = frames.read_page(await client.ask(frames.GET_LAST, frames.get_last(1, 2, False)), False)
            assert [turn.compression for turn in turns] == [1, 0]
            shown = await client.json("/v1/contexts/1/turns?view=raw")
            assert [turn["compression"] for turn in shown["turns"]] == [1, 0]
        await store.close()


async def test_what_is_no_zstd_is_refused_as_that(client: Client) -> None:
    await client.ask(frames.CREATE, frames.number(0))
    whole = packer()(b"again and again " * 100)[1]
    for sent in (b"garbage, not zstd", whole[:-5], b""):
        plain = frames.plain_append(1, 0, "t", 1, b"again and again " * 100)
        await client.send(frames.APPEND, frames.append(plain._replace(compression=1, payload=sent)))
        code, text = frames.read_error((await client.answer()).payload)
        assert (code, text[:21]) == (422, "zstd decode failed: " + text[20:21])


async def test_a_payload_that_grows_beyond_what_it_says_is_refused(client: Client) -> None:
    await client.ask(frames.CREATE, frames.number(0))
    bomb = packer()(bytes(60_000_000))[1]
    plain = frames.plain_append(1, 0, "t", 1, b"")._replace(compression=1, payload=bomb)
    for size in (0, 1000, frames.LARGEST + 1, 4_294_967_295):
        code, _ = await client.refused(frames.APPEND, frames.append(plain._replace(raw_size=size)))
        assert code == 422


async def test_errors_are_answered_and_the_connection_stays(client: Client) -> None:
    await client.ask(frames.CREATE, frames.number(0))
    plain = frames.plain_append(1, 0, "t", 1, b"x")
    refusals = [
        (frames.GET_HEAD, frames.number(9), 404, "context"),
        (frames.GET_LAST, frames.get_last(9, 1), 404, "context"),
        (frames.CREATE, frames.number(9), 404, "base turn"),
        (frames.APPEND, frames.append(plain._replace(context_id=9)), 404, "context"),
        (frames.APPEND, frames.append(plain._replace(parent=9)), 404, "parent turn"),
        (frames.APPEND, frames.append(plain._replace(digest=bytes(32))), 422, "content hash mismatch"),
        (frames.APPEND, frames.append(plain._replace(raw_size=9)), 422, "uncompressed length mismatch"),
        (frames.APPEND, frames.append(plain._replace(compression=7)), 422, "unsupported compression: 7"),
        (frames.GET_BLOB, bytes(32), 404, "blob"),
        (frames.GET_BLOB, bytes(33), 422, "invalid blob hash length"),
        (frames.PUT_BLOB, frames.put_blob(bytes(32), b"x"), 422, "blob hash mismatch"),
        (frames.ATTACH_FS, frames.attach_fs(9, bytes(32)), 404, "turn"),
        (frames.GET_BEFORE, b"", 422, "unknown msg_type"),
        (frames.GET_RANGE, b"", 422, "unknown msg_type"),
        (frames.ERROR, b"", 422, "unknown msg_type"),
        (99, b"", 422, "unknown msg_type"),
    ]
    for kind, payload, code, text in refusals:
        assert await client.refused(kind, payload) == (code, text)
    assert (await client.append(1, b"x")).turn_id == 1


async def test_a_tree_that_is_not_stored_is_refused_before_anything_is_appended(client: Client) -> None:
    await client.ask(frames.CREATE, frames.number(0))
    request = frames.append(frames.plain_append(1, 0, "t", 1, b"x")._replace(root=bytes(32)))
    assert await client.refused(frames.APPEND, request, frames.WITH_ROOT) == (404, "fs root tree blob")
    assert frames.read_head(await client.ask(frames.GET_HEAD, frames.number(1))).turn_id == 0


async def test_a_blob_is_new_once(client: Client) -> None:
    request = frames.put_blob(digest_of(b"hello blob"), b"hello blob")
    assert [(await client.ask(frames.PUT_BLOB, request))[-1] for _ in range(2)] == [1, 0]
    assert frames.read_blob(await client.ask(frames.GET_BLOB, digest_of(b"hello blob"))) == b"hello blob"


async def test_a_frame_that_is_too_large_is_reported_and_ends_the_connection(client: Client) -> None:
    client.writer.write(frames.HEADER.pack(frames.LARGEST + 1, frames.APPEND, 0, 7))
    answer = await client.answer()
    assert frames.read_error(answer.payload)[0] == 422
    assert await client.reader.read() == b""


async def test_pipelined_requests_are_answered_in_order(client: Client) -> None:
    await client.ask(frames.CREATE, frames.number(0))
    for number in range(300):
        request = frames.append(frames.plain_append(1, 0, "t", 1, b"%d" % number))
        client.writer.write(frames.frame(frames.APPEND, request, number))
    answers = [await client.answer() for _ in range(300)]
    assert [(a.request, frames.read_appended(a.payload).turn_id) for a in answers] == [
        (n, n + 1) for n in range(300)
    ]


async def test_the_same_key_is_one_append(client: Client) -> None:
    await client.ask(frames.CREATE, frames.number(0))
    request = frames.plain_append(1, 0, "t", 1, b"x")._replace(key=b"k")
    answers = [await client.ask(frames.APPEND, frames.append(request)) for _ in range(3)]
    assert len(set(answers)) == 1
    other = frames.plain_append(1, 0, "t", 1, b"y")._replace(key=b"k")
    assert (await client.refused(frames.APPEND, frames.append(other)))[0] == 409
    await client.ask(frames.CREATE, frames.number(0))
    elsewhere = await client.ask(frames.APPEND, frames.append(request._replace(context_id=2)))
    assert frames.read_appended(elsewhere).turn_id == 2


async def test_a_key_is_known_to_the_next_server_over_the_folder(tmp_path: Path) -> None:
    request = frames.append(frames.plain_append(1, 0, "t", 1, b"x")._replace(key=b"k"))
    answers = []
    for number in range(3):
        store = EmbeddedStore.open(tmp_path)
        async with served(store) as client:
            if not number:
                await client.ask(frames.CREATE, frames.number(0))
            answers.append(await client.ask(frames.APPEND, request))
            assert (await store.head(1)).turn_id == 1
        await store.close()
        with (tmp_path / "orchestra/keys").open("ab") as file:
            file.write(b"torn")
    assert len(set(answers)) == 1


GREETING = frames.hello("x", "{" + frames.BATCHES + ":true}")
"""What a client says that sends batches."""


async def test_an_append_of_a_client_that_sends_no_batches_is_answered_whatever_its_flags_are(
    client: Client,
) -> None:
    await client.ask(frames.HELLO, frames.hello("x", '{"other": true}'))
    await client.ask(frames.CREATE, frames.number(0))
    await client.send(frames.APPEND, frames.append(frames.plain_append(1, 0, "t", 1, b"x")), frames.MORE)
    assert (await client.answer()).kind == frames.APPEND


async def test_a_batch_is_stored_whole_or_not_at_all(client: Client) -> None:
    await client.ask(frames.HELLO, GREETING)
    await client.ask(frames.CREATE, frames.number(0))
    plain = frames.plain_append(1, 0, "t", 1, b"x")
    for last, count in ((plain._replace(digest=bytes(32)), 0), (plain, 3)):
        await client.send(frames.PUT_BLOB, frames.put_blob(digest_of(b"b"), b"b"), frames.MORE)
        for _ in range(2):
            await client.send(frames.APPEND, frames.append(plain), frames.MORE)
        await client.send(frames.APPEND, frames.append(last))
        kinds = [(await client.answer()).kind for _ in range(4)]
        assert kinds == ([frames.PUT_BLOB, *[frames.APPEND] * 3] if count else [frames.ERROR] * 4)
        assert len(await client.store.turns(1)) == count
        assert client.store.counts().blobs == (2 if count else 0)


async def test_a_batch_that_is_not_ended_is_forgotten(client: Client) -> None:
    await client.ask(frames.HELLO, GREETING)
    await client.ask(frames.CREATE, frames.number(0))
    await client.send(frames.APPEND, frames.append(frames.plain_append(1, 0, "t", 1, b"x")), frames.MORE)
    await client.send(frames.GET_HEAD, frames.number(1))
    assert (await client.answer()).kind == frames.ERROR
    assert frames.read_head((await client.answer()).payload).turn_id == 0


async def test_a_huge_page_is_cut_to_what_official_clients_take(client: Client) -> None:
    await client.ask(frames.CREATE, frames.number(0))
    for number in range(9):
        await client.append(1, bytes([number]) * 10_000_000)
    answer = await client.ask(frames.GET_LAST, frames.get_last(1, 100))
    assert len(answer) <= frames.LARGEST
    assert [turn.turn_id for turn in frames.read_page(answer, True)] == [4, 5, 6, 7, 8, 9]
