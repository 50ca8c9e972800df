"""A proxy between a client and a server: cuts the connection once, delays what passes, counts round trips."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

UP, DOWN = 0, 1


class Proxy:
    """Passes bytes on; after ``cut`` bytes in one direction, over all connections, it ends that connection once.

    While it is ``silent`` it passes nothing on, as a stopped server seems to; it falls silent before the first
    request that holds the bytes ``silent_at``.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        direction: int = UP,
        cut: int | None = None,
        delay: float = 0,
        silent_at: bytes | None = None,
    ) -> None:
        self._target = host, port
        self._direction = direction
        self._cut = cut
        self._delay = delay
        self.passed = [0, 0]
        self.round_trips = 0
        self._last = DOWN
        self.was_cut = False
        self.silent = False
        self._silent_at = silent_at
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            back_reader, back_writer = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            self._tasks.discard(task)
            return
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(UP, reader, back_writer, writer))
                group.create_task(self._pass_on(DOWN, back_reader, writer, back_writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            for each in (writer, back_writer):
                each.close()

    async def _pass_on(
        self,
        direction: int,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        other: asyncio.StreamWriter,
    ) -> None:
        while data := await reader.read(65536):
            if direction == UP and self._last == DOWN:
                self.round_trips += 1
            self._last = direction
            if self._silent_at is not None and self._silent_at in data:
                self.silent, self._silent_at = True, None
            while self.silent:
                await asyncio.sleep(0.01)
            if self._delay:
                await asyncio.sleep(self._delay)
            room = self._room(direction)
            if room is not None and len(data) >= room:
                self.was_cut = True
                writer.write(data[:room])
                self.passed[direction] += room
                await writer.drain()
                raise ConnectionAbortedError("cut")
            self.passed[direction] += len(data)
            writer.write(data)
            await writer.drain()
        raise ConnectionAbortedError("ended")

    def _room(self, direction: int) -> int | None:
        if self._cut is None or self.was_cut or direction != self._direction:
            return None
        return self._cut - self.passed[direction]

    async def stop(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def through(proxy: Proxy) -> AsyncIterator[tuple[str, int]]:
    """The proxy's address, as long as the block lasts."""
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        await proxy.stop()
