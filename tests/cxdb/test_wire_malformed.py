"""Nothing that is sent to our server stops it, or harms those who use it at the same time."""

from __future__ import annotations

import asyncio
import random
import resource

import pytest
from wire_client import Client, served

from orchestra.cxdb.format import frames
from orchestra.cxdb.format.packing import digest_of

ROUTES = [
    b"/v1/contexts", b"/v1/contexts/1/turns", b"/v1/contexts/search?q=id%20=%201", b"/v1/turns/1/fs", b"/healthz",
    b"/v1/metrics", b"/v1/registry/bundles/x", b"/v1/contexts/1/append", b"/v1/contexts/create", b"/v1/turns/1",
]  # fmt: skip
BODIES = [
    b"",
    b"{}",
    b'{"type_id":"t","type_version":1,"data":{}}',
    b"[" * 3000,
    b"\xff\x00",
    b'{"base_turn_id":-1}',
]


def frame(chance: random.Random) -> bytes:
    """A frame that is nearly right, or not at all."""
    plain = frames.plain_append(1, 0, "t", 1, chance.randbytes(chance.randrange(40)))
    whole = {
        frames.HELLO: frames.hello("x"),
        frames.CREATE: frames.number(chance.randrange(3)),
        frames.GET_HEAD: frames.number(1),
        frames.APPEND: frames.append(plain._replace(parent=chance.choice((0, 0, 1, 99)))),
        frames.GET_LAST: frames.get_last(1, chance.choice((0, 1, 5, (1 << 32) - 1))),
        frames.GET_BLOB: bytes(32),
        frames.ATTACH_FS: frames.attach_fs(1, bytes(32)),
        frames.PUT_BLOB: frames.put_blob(digest_of(b"x"), b"x"),
        chance.randrange(65_536): chance.randbytes(chance.randrange(50)),
    }
    kind = chance.choice(list(whole))
    payload = bytearray(whole[kind])
    for _ in range(chance.choice((0, 1, 1, 3))):
        if payload:
            payload[chance.randrange(len(payload))] = chance.choice((0, 1, 127, 255))
    payload = payload[: chance.choice((len(payload), chance.randrange(len(payload) + 1)))]
    length = chance.choice((len(payload),) * 6 + (len(payload) + 5, 1 << 31, frames.LARGEST))
    return frames.HEADER.pack(length, kind, chance.choice((0, 0, 1, 2, 3, 65_535)), 1) + payload


def request(chance: random.Random) -> bytes:
    """An HTTP request that is nearly right, or not at all."""
    body = chance.choice(BODIES)
    method = chance.choice((b"GET", b"PUT", b"POST", b"HEAD", b"X" * 20))
    target = chance.choice(ROUTES) + chance.choice(
        (b"", b"?limit=5&limit=x&view=raw&before_turn_id=%00", b"/../..")
    )
    headers = b"Host: localhost\r\nContent-Length: %d\r\n" % chance.choice((len(body), len(body), 5, 1 << 40))
    if chance.random() < 0.2:
        headers = b"Host: localhost\r\nTransfer-Encoding: chunked\r\n"
        body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    data = bytearray(b"%s %s HTTP/1.1\r\n%s\r\n%s" % (method, target, headers, body))
    for _ in range(chance.choice((0, 0, 1, 4))):
        data[chance.randrange(len(data))] = chance.randrange(256)
    return bytes(data[: chance.choice((len(data), len(data), chance.randrange(len(data) + 1)))])


async def throw(host: str, port: int, data: bytes) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(data)
    writer.write_eof()
    try:
        async with asyncio.timeout(20):
            while await reader.read(1 << 20):
                pass
    except ConnectionError:
        pass
    writer.close()


async def bystander(client: Client, stop: asyncio.Event) -> int:
    """Somebody who works all the while."""
    context = frames.read_head(await client.ask(frames.CREATE, frames.number(0))).context_id
    count = 0
    while not stop.is_set():
        answer = await client.append(context, b"\x81\x01%c" % (count % 100))
        assert answer.depth == count
        count += 1
        await asyncio.sleep(0.001)
    return count


async def bombard(count: int) -> None:
    chance = random.Random(count)
    stop = asyncio.Event()
    async with served() as client, asyncio.TaskGroup() as group:
        await client.ask(frames.CREATE, frames.number(0))
        await client.append(1, b"\x80")
        worker = group.create_task(bystander(client, stop))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for _ in range(count // 20):
            async with asyncio.TaskGroup() as some:
                for _ in range(10):
                    data = b"".join(frame(chance) for _ in range(chance.randrange(1, 4)))
                    some.create_task(throw(client.at.host, client.at.port, data))
                    some.create_task(throw(client.at.http_host, client.at.http_port, request(chance)))
        stop.set()
        assert await worker > 0
        assert (await client.get("/healthz")).status == 200
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


async def test_two_thousand_malformed_messages_do_no_harm() -> None:
    await bombard(2000)


@pytest.mark.long
@pytest.mark.timeout(3600)
async def test_a_hundred_thousand_malformed_messages_do_no_harm() -> None:
    await bombard(100_000)
