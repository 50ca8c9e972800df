"""What a durable step and a newest page cost on our server over loopback, beside the embedded store.

    python benchmarks/remote_step.py [FOLDER]

The server is a process of its own. Times are medians of wall time; the disk's sync is part of both.
"""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from orchestra.cxdb.embedded import EmbeddedStore
from orchestra.cxdb.remote.asking import Place
from orchestra.cxdb.remote.store import RemoteStore
from orchestra.ports import NewTurn, Store

STEPS = 300
STEP = [NewTurn(type_id="dev.orchestra.NodeExecution", type_version=1, payload=bytes(range(200)) * 3)] * 4
ONE = STEP[:1]
TWENTY = STEP * 5


async def median(act: Callable[[], Awaitable[object]]) -> float:
    """Milliseconds of a call."""
    took = []
    for _ in range(STEPS):
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
        place = Place(host=host, port=int(port), http_host=http, http_port=int(http_port))
        await measure("remote", RemoteStore(place))
    finally:
        server.terminate()
        server.wait()


def main() -> None:
    with tempfile.TemporaryDirectory(dir=sys.argv[1] if len(sys.argv) > 1 else None) as name:
        asyncio.run(measure("embedded", EmbeddedStore.open(Path(name) / "embedded")))
        asyncio.run(remote(Path(name) / "remote"))


if __name__ == "__main__":
    main()
