"""The whole server: binary protocol and HTTP on one event loop over one store (S30)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from orchestra.cxdb.server import binary, http, routes
from orchestra.cxdb.server.core import Core
from orchestra.cxdb.server.servable import ServableStore
from orchestra.errors import StoreError

CONNECTIONS = 512
"""Open connections of the binary protocol; further ones are closed at once."""

FILES = 4096
"""How many files a server may have open, connections among them, where the system allows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where the server listens."""

    host: str
    port: int
    http_host: str
    http_port: int

    @property
    def binary(self) -> str:
        """The binary protocol's address, as it is written."""
        return address_text(self.host, self.port)

    @property
    def http(self) -> str:
        """The HTTP address, as it is written."""
        return f"http://{address_text(self.http_host, self.http_port)}"


def address_text(host: str, port: int) -> str:
    """An address as it is written."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(slots=True)
class _Connections:
    """The connections of the binary protocol."""

    core: Core
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, from its beginning to its end."""
        task = asyncio.current_task()
        if task is None or len(self.tasks) >= CONNECTIONS:
            writer.transport.abort()
            return
        self.tasks.add(task)
        try:
            await binary.converse(self.core, reader, writer)
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self.tasks.discard(task)
            with contextlib.suppress(ConnectionError, TimeoutError):
                writer.close()


@asynccontextmanager
async def serving(
    store: ServableStore,
    *,
    bind: tuple[str, int] = ("127.0.0.1", 0),
    http_bind: tuple[str, int] = ("127.0.0.1", 0),
    guard: http.Guard,
) -> AsyncIterator[Addresses]:
    """Serve a store during the block; port 0 is any free port.

    Raises ``StoreError`` if a port is taken.
    """
    _allow_files()
    core = Core(store, token=guard.token)
    opened = _Connections(core)
    async with contextlib.AsyncExitStack() as stack:
        with listening_errors(*bind):
            server = await asyncio.start_server(opened.serve, *bind)
        stack.push_async_callback(_stop, server, opened)
        polling = asyncio.get_running_loop().create_task(core.report_other_processes())
        stack.callback(polling.cancel)
        with listening_errors(*http_bind):
            at = await stack.enter_async_context(http.listening(routes.application(core, guard), *http_bind))
        host, port = server.sockets[0].getsockname()[:2]
        yield Addresses(host=host, port=port, http_host=at[0], http_port=at[1])


def _allow_files() -> None:
    """Raise the process's limit of open files to ``FILES``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextlib.contextmanager
def listening_errors(host: str, port: int) -> Iterator[None]:
    """Raise ``StoreError`` with the reason why an address cannot be used."""
    try:
        yield
    except OSError as error:
        why, fix = _why_not(error)
        raise StoreError(f"cannot listen at {address_text(host, port)}: {why}", fix=fix) from error


def _why_not(error: OSError) -> tuple[str, str]:
    """Return why an address cannot be used, and the fix."""
    if isinstance(error, socket.gaierror):
        return "unknown host name", "use an address of this machine, such as 127.0.0.1"
    match error.errno:
        case errno.EADDRINUSE:
            return "another program is listening there", "stop it, or choose other addresses with --bind and --http"
        case errno.EADDRNOTAVAIL | None:  # Python 3.13 raises it without its number
            return "this machine does not have this address", "use one that it has, such as 127.0.0.1"
        case errno.EACCES:
            return "this port needs root", "choose one from 1024 with --bind and --http"
        case number:
            return os.strerror(number), "choose other addresses with --bind and --http"


async def _stop(server: asyncio.Server, opened: _Connections) -> None:
    server.close()
    for task in tuple(opened.tasks):
        task.cancel()
    await asyncio.gather(*opened.tasks, return_exceptions=True)
