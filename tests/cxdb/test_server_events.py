"""The event stream, with many readers, and of what other processes do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
from wire_client import Client, served

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format import frames
from orchestra.ports import NewTurn

Event = tuple[str, dict[str, Any]]


async def events(pieces: AsyncIterator[bytes]) -> AsyncIterator[Event]:
    async for piece in pieces:
        name, data = piece.decode().removesuffix("\n\n").split("\n")
        yield name.removeprefix("event: "), msgspec.json.decode(data.removeprefix("data: "))


@asynccontextmanager
async def listening(client: Client) -> AsyncIterator[AsyncIterator[Event]]:
    async with client.web.stream("/v1/events") as pieces:
        told = events(pieces)
        assert await anext(told) == ("connected", {})
        yield told


async def take(told: AsyncIterator[Event], count: int) -> list[Event]:
    async with asyncio.timeout(30):
        return [await anext(told) for _ in range(count)]


async def test_what_a_client_does_is_reported() -> None:
    first = msgspec.msgpack.encode({30: {1: "tag", 2: "title", 3: ["a"]}})
    async with served() as client, listening(client) as told:
        await client.ask(frames.HELLO, frames.hello("me"))
        await client.ask(frames.CREATE, frames.number(0))
        await client.append(1, first)
        await client.append(1, b"\x80")
        client.writer.close()
        found = await take(told, 6)
        found[1][1].pop("created_at")
        assert found == [
            ("client_connected", {"session_id": "1", "client_tag": "me"}),
            ("context_created", {"context_id": "1", "session_id": "1", "client_tag": "me"}),
            (
                "turn_appended",
                {
                    "context_id": "1",
                    "turn_id": "1",
                    "parent_turn_id": "0",
                    "depth": 0,
                    "declared_type_id": "t",
                    "declared_type_version": 1,
                },
            ),
            (
                "context_metadata_updated",
                {
                    "context_id": "1",
                    "client_tag": "tag",
                    "title": "title",
                    "labels": ["a"],
                    "has_provenance": False,
                },
            ),
            (
                "turn_appended",
                {
                    "context_id": "1",
                    "turn_id": "2",
                    "parent_turn_id": "1",
                    "depth": 1,
                    "declared_type_id": "t",
                    "declared_type_version": 1,
                },
            ),
            ("client_disconnected", {"session_id": "1", "client_tag": "me", "contexts": ["1"]}),
        ]


async def test_what_another_process_does_is_reported(tmp_path: Path) -> None:
    served_store = EmbeddedStore.open(tmp_path)
    other = EmbeddedStore.open(tmp_path)
    async with served(served_store) as client, listening(client) as told:
        await other.create()
        await other.append(1, [NewTurn(type_id="t", type_version=1, payload=b"\x80")] * 2)
        found = await take(told, 3)
        assert [name for name, _ in found] == ["context_created", "turn_appended", "turn_appended"]
        assert [data["turn_id"] for _, data in found[1:]] == ["1", "2"]
        await client.append(1, b"\x80")
        assert (await other.head(1)).turn_id == 3
    await other.close()
    await served_store.close()


async def told_when(told: AsyncIterator[Event], count: int) -> list[tuple[object, float]]:
    clock = asyncio.get_running_loop().time
    async with asyncio.timeout(10):
        return [((await anext(told))[1]["context_id"], clock()) for _ in range(count)]


async def test_the_news_of_another_context_comes_apart_so_that_a_page_sees_both(tmp_path: Path) -> None:
    store = EmbeddedStore.open(tmp_path)
    turn = NewTurn(type_id="t", type_version=1, payload=b"\x80")
    first, second = await store.create(), await store.create()
    async with served(store) as client, listening(client) as told:
        await store.append(first.context_id, [turn] * 3)
        await store.append(second.context_id, [turn])
        found = await told_when(told, 4)
        assert [context for context, _ in found] == ["1", "1", "1", "2"]
        times = [when for _, when in found]
        assert times[3] - times[2] > 0.03
    await store.close()


async def test_many_events_are_reported_without_a_pause(tmp_path: Path) -> None:
    store = EmbeddedStore.open(tmp_path)
    turn = NewTurn(type_id="t", type_version=1, payload=b"\x80")
    contexts = [(await store.create()).context_id for _ in range(2)]
    async with served(store) as client, listening(client) as told:
        for number in range(200):
            await store.append(contexts[number % 2], [turn])
        found = await told_when(told, 200)
        assert [context for context, _ in found] == ["1", "2"] * 100
        assert found[-1][1] - found[0][1] < 4
    await store.close()


async def test_a_thousand_readers_get_the_same() -> None:
    async with served() as client:
        await client.ask(frames.CREATE, frames.number(0))

        async def reader(ready: asyncio.Semaphore) -> list[str]:
            async with listening(client) as told:
                ready.release()
                return [data["turn_id"] for _, data in await take(told, 5)]

        ready = asyncio.Semaphore(0)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(reader(ready)) for _ in range(1000)]
            for _ in tasks:
                await ready.acquire()
            for number in range(5):
                await client.append(1, b"%d" % number)
        assert all(task.result() == ["1", "2", "3", "4", "5"] for task in tasks)


async def test_a_reader_that_does_not_read_holds_nobody_up() -> None:
    async with served() as client:
        reader, writer = await asyncio.open_connection(client.at.http_host, client.at.http_port)
        writer.write(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await reader.readuntil(b"connected")
        await client.ask(frames.CREATE, frames.number(0))
        async with asyncio.timeout(10):
            for number in range(3000):
                await client.append(1, b"%d" % number, type_id="t" * 200)
        writer.close()
