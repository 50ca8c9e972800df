"""Servers that go away, come back, come back empty, or never were there (S3, S20, S21)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from test_remote_cuts import BATCHES, EXPECTED, new, place_of, session
from wire_client import served
from wire_proxy import Proxy, through

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.remote.requests import ServerPlace
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.servable import ServableStore
from orchestra.cxdb.server.serve import Addresses, serving
from orchestra.errors import SessionNotFound, StoreAbandoned, StoreError, StoreFull, StoreUnreachable
from orchestra.ports import NewTurn, Turn
from served_memory import ServedMemory


def again(store: ServableStore, at: Addresses) -> object:
    """A server at the same addresses."""
    return serving(store, bind=(at.host, at.port), http_bind=(at.http_host, at.http_port), guard=Guard())


async def test_a_server_that_is_not_there_is_named_with_what_to_do() -> None:
    async with serving(ServedMemory(), guard=Guard()) as at:
        pass
    store = RemoteStore(place_of(at), patience=0.1)
    with pytest.raises(StoreUnreachable) as told:
        await store.create()
    assert str(at.port) in told.value.message
    assert "orchestra cxdb serve" in told.value.fix
    with pytest.raises(StoreUnreachable):
        await store.contexts()
    assert len((await store.health()).findings) == 1


async def test_a_web_server_in_the_place_of_the_http_door_is_reported_as_such() -> None:
    async def page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 8\r\nConnection: close\r\n\r\n<p>no</p>")
        writer.close()

    web = await asyncio.start_server(page, "127.0.0.1", 0)
    port = web.sockets[0].getsockname()[1]
    async with web, serving(ServedMemory(), guard=Guard()) as at:
        store = RemoteStore(replace(place_of(at), http_port=port), patience=0.1)
        for asked in (store.contexts, store.answers, lambda: store.publish_types("x", b"{}")):
            with pytest.raises(StoreUnreachable, match=rf":{port} does not answer like .*: status 404") as told:
                await asked()
            assert "cxdb.url" in told.value.fix
        await store.close()


async def test_the_binary_door_in_the_place_of_the_http_door_is_reported_as_such() -> None:
    async with serving(ServedMemory(), guard=Guard()) as at:
        store = RemoteStore(replace(place_of(at), http_port=at.port), patience=0.1)
        with pytest.raises(StoreUnreachable, match="the answer is not HTTP") as told:
            await store.contexts()
        assert "cxdb.url" in told.value.fix
        await store.close()


async def test_patience_is_kept() -> None:
    async with serving(ServedMemory(), guard=Guard()) as at:
        pass
    began = time.monotonic()
    with pytest.raises(StoreUnreachable):
        await RemoteStore(place_of(at), patience=1.0).create()
    assert 0.5 < time.monotonic() - began < 5


async def test_a_server_that_accepts_and_never_answers_is_given_up_soon() -> None:
    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            pass
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        place = ServerPlace(host="127.0.0.1", port=port, http_host="127.0.0.1", http_port=port)
        calls = [
            lambda store: store.create(),
            lambda store: store.contexts(),
            lambda store: store.append(1, [new(b"a")]),
            lambda store: store.publish_types("x", b"{}"),
            lambda store: store.answers(),
        ]

        async def gives_up(asked: Callable[[RemoteStore], Awaitable[object]]) -> float:
            store, began = RemoteStore(place, patience=60), time.monotonic()
            with pytest.raises(StoreUnreachable, match="no answer in time"):
                await asked(store)
            await store.close()
            return time.monotonic() - began

        assert max(await asyncio.gather(*map(gives_up, calls))) < 20


async def silenced(patience: float) -> AsyncIterator[tuple[RemoteStore, int, Callable[[], None]]]:
    """A store whose server has answered, one of its contexts, and what makes the server silent."""
    async with serving(ServedMemory(), guard=Guard()) as at:
        doors = Proxy(at.host, at.port), Proxy(at.http_host, at.http_port)
        async with through(doors[0]) as binary, through(doors[1]) as web:
            place = ServerPlace(host=binary[0], port=binary[1], http_host=web[0], http_port=web[1])
            store = RemoteStore(place, patience=patience)
            context = (await store.create()).context_id
            await store.append(context, [new(b"a")])
            await store.contexts()

            def stop(*, silent: bool = True) -> None:
                for door in doors:
                    door.silent = silent

            yield store, context, stop
            await store.close()


async def test_a_server_that_falls_silent_is_waited_for_as_long_as_patience_says() -> None:
    async for store, context, stop in silenced(0.4):
        stop()
        for asked in (store.append(context, [new(b"b")]), store.head(context), store.contexts()):
            began = time.monotonic()
            with pytest.raises(StoreUnreachable):
                await asked
            assert 0.35 < time.monotonic() - began < 20


async def test_a_hurry_ends_the_waits_that_have_begun_and_those_that_follow() -> None:
    async for store, context, stop in silenced(60):
        stop()
        waits = [
            asyncio.ensure_future(wait)
            for wait in (store.append(context, [new(b"b")]), store.head(context), store.contexts())
        ]
        await asyncio.sleep(0.1)
        began = time.monotonic()
        store.hurry(0.2)
        found = await asyncio.gather(*waits, store.head(context), return_exceptions=True)
        assert [type(error) for error in found] == [StoreAbandoned] * 4
        assert time.monotonic() - began < 20


async def test_a_silence_of_some_seconds_is_reported_once_with_its_end_and_so_is_the_answer_after_it() -> None:
    told: list[tuple[float, float]] = []
    async for store, context, stop in silenced(30):
        store.on_silence(lambda silent, left: told.append((silent, left)), after=20)
        await store.append(context, [new(b"b")])
        assert told == []
        store.on_silence(lambda silent, left: told.append((silent, left)), after=0.05)
        stop()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await asyncio.gather(store.head(context), store.append(context, [new(b"c")]))
        ((silent, left),) = told
        assert 0.05 <= silent < 5
        assert 20 < left < 30


async def test_a_server_that_answers_again_is_reported_with_how_long_it_was_silent() -> None:
    told: list[float] = []
    async for store, context, stop in silenced(30):
        store.on_silence(lambda _silent, left: told.append(left), after=0.05)
        stop()
        waits = asyncio.ensure_future(store.head(context))
        async with asyncio.timeout(20):
            while not told:
                await asyncio.sleep(0.01)
            stop(silent=False)
            await waits
        assert told[1:] == [0]


async def test_a_wait_for_a_silent_server_can_be_canceled() -> None:
    async for store, context, stop in silenced(60):
        stop()
        waits = asyncio.ensure_future(store.append(context, [new(b"b")]))
        await asyncio.sleep(0.05)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(waits, 1)


async def test_a_run_waits_for_a_server_that_is_started_again(tmp_path: Path) -> None:
    folder = EmbeddedStore.open(tmp_path)
    async with serving(folder, guard=Guard()) as at:
        store = RemoteStore(place_of(at), patience=20)
        context = (await store.create()).context_id
        await store.append(context, [new(b"before")])
    await folder.close()
    waiting = asyncio.get_running_loop().create_task(store.append(context, [new(b"a"), new(b"b")]))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    folder = EmbeddedStore.open(tmp_path)
    async with again(folder, at):
        await asyncio.wait_for(waiting, 10)
        assert [turn.payload for turn in await store.turns(context)] == [b"before", b"a", b"b"]
        await store.close()
    await folder.close()


async def test_a_server_started_again_all_the_while_loses_and_doubles_nothing(tmp_path: Path) -> None:
    folder = EmbeddedStore.open(tmp_path)
    async with serving(folder, guard=Guard()) as at:
        store = RemoteStore(place_of(at), patience=30)
        await store.contexts()
        await store.create()  # both ports have answered once: from then on they are waited for
    working = asyncio.get_running_loop().create_task(session(store))
    while not working.done():
        async with again(folder, at):
            await asyncio.sleep(0.04)
        await asyncio.sleep(0.01)
    chain = await folder.turns(await working, limit=1000)
    assert [turn.payload for turn in chain] == EXPECTED
    await store.close()
    await folder.close()


async def lost(first: list[NewTurn], second: list[NewTurn]) -> StoreError:
    """What an append says when the server came back with other turns than it had."""
    async with serving(ServedMemory(), guard=Guard()) as at:
        store = RemoteStore(place_of(at), patience=5)
        context = (await store.create()).context_id
        await store.append(context, first)
    other = ServedMemory()
    if second:
        await other.create()
        await other.append(1, second)
    async with again(other, at):
        with pytest.raises(StoreUnreachable) as told:
            await store.append(context, [new(b"after")])
        if second:
            assert [turn.payload for turn in await other.turns(1)] == [turn.payload for turn in second]
        await store.close()
    return told.value


@pytest.mark.parametrize(
    "second",
    [[], [new(b"x")], [new(b"x"), new(b"y")], [new(b"x"), new(b"y"), new(b"z")]],
    ids=["empty", "shorter", "as long", "longer"],
)
async def test_a_server_that_came_back_without_its_turns_is_recognised(second: list[NewTurn]) -> None:
    error = await lost([new(b"a"), new(b"b")], second)
    assert "lost data" in error.message


async def test_two_writers_of_one_context_get_their_own_turns() -> None:
    async with serving(ServedMemory(), guard=Guard()) as at:
        one, two = RemoteStore(place_of(at)), RemoteStore(place_of(at))
        context = (await one.create()).context_id

        async def write(store: RemoteStore, name: bytes) -> list[Turn]:
            found: list[Turn] = []
            for number in range(30):
                found += await store.append(context, [new(b"%s %d" % (name, number)), new(b"%s!" % name)])
            return found

        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(write(one, b"one")), group.create_task(write(two, b"two"))]
        written = sorted((turn for task in tasks for turn in task.result()), key=lambda turn: turn.turn_id)
        assert await one.turns(context, limit=1000) == written
        await one.close()
        await two.close()


async def test_a_token_lets_us_in() -> None:
    async with serving(ServedMemory(), guard=Guard(token="secret")) as at:
        place = place_of(at)
        named = ServerPlace(
            host=place.host, port=place.port, http_host=place.http_host, http_port=place.http_port, token="secret"
        )
        store = RemoteStore(named, patience=2)
        await session(store)
        assert len(await store.contexts()) == 2
        await store.close()
        stranger = RemoteStore(place, patience=0.2)
        for refused in (stranger.create(), stranger.contexts(), stranger.publish_types("x", b"{}")):
            with pytest.raises(StoreUnreachable) as told:
                await refused
            assert "ORCHESTRA_CXDB_TOKEN" in told.value.fix
        await stranger.close()


async def test_a_poisoned_registry_is_diagnosed_and_runs_stay_readable() -> None:
    async with served() as client:
        store = RemoteStore(place_of(client.at), patience=2)
        bad = b'{"registry_version":1,"bundle_id":"x","types":{"other.T":{"versions":{"1":{"fields":{"1":'
        bad += b'{"name":"e","type":"u32","enum":"nowhere"}}}}}}}'
        with pytest.raises(StoreError, match="refuses the types"):
            await store.publish_types("x", bad)
        await store.publish_types("ok", b'{"registry_version":1,"bundle_id":"ok"}')
        await session(store)
        await store.close()


@pytest.mark.parametrize("count", [1, 20])
async def test_a_batch_costs_one_round_trip_however_many_turns_it_has(count: int) -> None:
    async with serving(ServedMemory(), guard=Guard()) as at:
        proxy = Proxy(at.host, at.port, delay=0.002)
        async with through(proxy) as (host, port):
            place = place_of(at)
            store = RemoteStore(
                ServerPlace(host=host, port=port, http_host=place.http_host, http_port=place.http_port), patience=5
            )
            context = (await store.create()).context_id
            await store.append(context, [new(b"warm")])
            before = proxy.round_trips
            for _ in range(5):
                await store.append(context, [new(b"x" * 300)] * count)
            assert proxy.round_trips - before == 5
            await store.close()


async def test_a_large_batch_goes_in_parts() -> None:
    async with serving(ServedMemory(), guard=Guard()) as at:
        store = RemoteStore(place_of(at), patience=5)
        context = (await store.create()).context_id
        payloads = [bytes([number]) * 9_000_000 for number in range(8)]
        added = await store.append(context, [new(payload) for payload in payloads], blobs=[b"b" * 9_000_000])
        assert [turn.depth for turn in added] == list(range(8))
        assert [turn.payload for turn in await store.turns(context)] == payloads
        await store.close()


async def test_a_long_batch_does_not_stop_halfway() -> None:
    async with serving(ServedMemory(), guard=Guard()) as at:
        store = RemoteStore(place_of(at), patience=5)
        context = (await store.create()).context_id
        added = await store.append(context, [new(b"%d" % number) for number in range(5000)])
        assert [turn.turn_id for turn in added] == list(range(1, 5001))
        assert len(await store.turns(context, limit=10_000)) == 5000
        await store.close()


async def test_what_the_server_cannot_take_is_reported_as_such(tmp_path: Path) -> None:
    await _made(tmp_path)
    reader = EmbeddedStore.open(tmp_path, read_only=True)
    async with serving(reader, guard=Guard()) as at:
        store = RemoteStore(place_of(at), patience=1)
        with pytest.raises(StoreFull):
            await store.create()
        with pytest.raises(StoreFull):
            await store.append(1, [new(b"x")])
        with pytest.raises(SessionNotFound):
            await store.head(9)
        assert len(await store.turns(1)) == len(BATCHES[0])
        await store.close()
    await reader.close()


async def _made(path: Path) -> None:
    store = EmbeddedStore.open(path)
    await store.create()
    await store.append(1, [new(payload) for payload in BATCHES[0]])
    await store.close()
