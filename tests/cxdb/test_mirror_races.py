"""A killed sender leaves a request on the wire, which the server handles after the next sender (S22)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from test_mirror import ANSWERS, FAN, content, run, send, server_at, told
from wire_proxy import UP, Proxy, through

import warm
from orchestra.app.stores import on_server
from orchestra.config.server import Server
from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.serve import serving
from orchestra.engine.loading import history
from orchestra.engine.sessions import rows
from served_memory import ServedMemory

NAMED = os.environ.get("ORCHESTRA_TEST_CXDB", "")


@asynccontextmanager
async def server() -> AsyncIterator[Server]:
    """Our server, or the one of ``ORCHESTRA_TEST_CXDB``."""
    if NAMED:
        binary, web = (address.rsplit(":", 1) for address in NAMED.split(","))
        yield Server(http_host=web[0], http_port=int(web[1]), host=binary[0], port=int(binary[1]), patience=5.0)
        return
    async with serving(ServedMemory(), guard=Guard()) as at:
        yield server_at(at)


def connections(at: Server) -> int:
    with urllib.request.urlopen(f"http://{at.http_host}:{at.http_port}/v1/contexts?limit=0") as answer:
        return len(json.load(answer)["active_sessions"])


async def until_idle(at: Server) -> None:
    """Until the server has handled what was sent, and noticed the end of each connection.

    CXDB never notices the end of one that ends before its answer.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(1.0 if NAMED else 60.0):
            while await asyncio.to_thread(connections, at):
                await asyncio.sleep(0.02)


async def killed_at(mark: bytes, folder: Path, at: Server) -> Proxy:
    """Kill a sender when the request with these bytes is on its way, and let the next one send everything."""
    proxy = Proxy(at.host, at.port, direction=UP, silent_at=mark)
    async with through(proxy) as (host, port):
        (folder / "orchestra.yaml").write_text(
            f"cxdb: {{mirror: 'http://{at.http_host}:{at.http_port}', address: '{host}:{port}', patience: 5s}}\n"
        )
        sender = warm.Popen(
            [sys.executable, "-m", "orchestra", "cxdb", "mirror", "--store", str(folder / "store")],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdout=subprocess.DEVNULL,
        )
        while not proxy.silent:
            assert sender.poll() is None
            await asyncio.sleep(0.005)
        sender.kill()
        sender.wait()
        await send(folder, at)
        proxy.silent = False
        await until_idle(at)
    return proxy


@pytest.mark.parametrize(
    "mark", [b"kind:mirror", b"PipelineStarted", b"BranchMirrored", b"ParallelBranchCompleted"]
)
async def test_what_a_killed_sender_had_on_the_wire_doubles_no_session_and_no_branch(
    tmp_path: Path, mark: bytes
) -> None:
    session = await run(tmp_path, FAN, ANSWERS)
    async with server() as at:
        proxy = await killed_at(mark, tmp_path, at)
        assert proxy.passed[UP]
        ours, theirs = EmbeddedStore.open(tmp_path / "store", read_only=True), on_server(at, 5.0)
        (original,) = await rows(ours)
        if NAMED:  # CXDB appends what comes late once more; the next sender gives the session a new context
            await send(tmp_path, at)
        for _ in range(2):
            (copy,) = [row for row in await rows(theirs) if row.session == session]
            assert content(await history(theirs, copy.context_id)) == content(
                await history(ours, original.context_id)
            )
            assert await told(theirs, copy) == await told(ours, original)
            again = await send(tmp_path, at)
        assert [one.sent for one in again] == [0]
        await ours.close()
        await theirs.close()
