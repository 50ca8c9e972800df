"""What a durable step and a newest page cost on our server over loopback, beside the embedded store.

    python benchmarks/remote_step.py [FOLDER]

The server is a process of its own. Times are medians of wall time; the disk's sync is part of both. Then the same
over a link that delays every byte by 20 ms in each direction: twenty turns in a batch cost what one turn does.
"""

from __future__ import annotations

import asyncio
import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.remote.requests import ServerPlace
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.ports import NewTurn, Store

STEPS = 300
FAR_STEPS = 40
DELAY = 0.02
"""Seconds that the far link takes in each direction."""

STEP = [NewTurn(type_id="dev.orchestra.NodeExecution", type_version=1, payload=bytes(range(200)) * 3)] * 4
ONE = STEP[:1]
TWENTY = STEP * 5


async def median(act: Callable[[], Awaitable[object]], times: int = STEPS) -> float:
    """Milliseconds of a call."""
    took = []
    for _ in range(times):
        began = time.perf_counter()
        await act()
        took.append((time.perf_counter() - began) * 1000)
    return statistics.median(took)


async def measure(name: str, store: Store) -> None:
    context = (await store.create()).context_id
    await store.append(context, ONE)
    figures = {
        "one turn": await median(lambda: store.append(context, ONE)),
        "a step of four": await median(lambda: store.append(context, STEP)),
        "twenty turns": await median(lambda: store.append(context, TWENTY)),
        "newest 64": await median(lambda: store.turns(context)),
        "head": await median(lambda: store.head(context)),
    }
    print(f"{name:10}" + "".join(f"  {what} {ms:6.2f} ms" for what, ms in figures.items()))
    await store.close()


@asynccontextmanager
async def delayed(place: ServerPlace) -> AsyncIterator[ServerPlace]:
    """The same server's binary door at the far end of a slow link."""
    server = await asyncio.start_server(lambda *ends: _link(place, *ends), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield replace(place, host=host, port=port)
    finally:
        server.close()


async def _link(place: ServerPlace, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    there = await asyncio.open_connection(place.host, place.port)
    with contextlib.suppress(asyncio.CancelledError):  # the measurement is over
        await asyncio.gather(_carry(reader, there[1]), _carry(there[0], writer))


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Each piece arrives as much later as it was sent, however many are on their way."""
    loop = asyncio.get_running_loop()
    while piece := await reader.read(65536):
        loop.call_later(DELAY, writer.write, piece)
    loop.call_later(DELAY, writer.close)


async def remote(folder: Path) -> None:
    command = [sys.executable, "-m", "orchestra", "cxdb", "serve", "--path", str(folder)]
    server = subprocess.Popen(
        [*command, "--bind", "127.0.0.1:0", "--http", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        server.stdout.readline()
        words = server.stdout.readline().split()
        (host, port), (http, http_port) = words[1].split(":"), words[3].removeprefix("http://").split(":")
        place = ServerPlace(host=host, port=int(port), http_host=http, http_port=int(http_port))
        await measure("remote", RemoteStore(place))
        async with delayed(place) as far:
            store = RemoteStore(far)
            context = (await store.create()).context_id
            await store.append(context, ONE)
            one = await median(lambda: store.append(context, ONE), FAR_STEPS)
            twenty = await median(lambda: store.append(context, TWENTY), FAR_STEPS)
            print(f"20 ms away  one turn {one:6.2f} ms  twenty turns {twenty:6.2f} ms  ratio {twenty / one:.2f}")
            await store.close()
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        asyncio.run(measure("embedded", EmbeddedStore.open(Path(name) / "embedded")))
        asyncio.run(remote(Path(name) / "remote"))


if __name__ == "__main__":
    main()
