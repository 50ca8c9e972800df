"""A store's folder, served as a CXDB server (S30)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.cxdb.format.layout import LOG, PATHS
from orchestra.cxdb.server.http import Guard
from orchestra.cxdb.server.serve import Addresses, serving
from orchestra.cxdb.server.types import faults
from orchestra.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSetup:
    """What is served, where, and to whom; ``origins`` are web pages that may read the answers."""

    folder: Path
    bind: str
    http: str
    token_file: Path | None
    hosts: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    @property
    def is_new(self) -> bool:
        """Whether the folder holds no store yet."""
        return not (self.folder / PATHS[LOG]).exists()


def address(text: str) -> tuple[str, int]:
    """``HOST:PORT``. Raises ``ConfigError``."""
    host, colon, port = text.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65_535:
        raise ConfigError(f"{text!r} is not an address", fix="write it as HOST:PORT, such as 127.0.0.1:9009")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_local(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def token_in(file: Path | None) -> str | None:
    """The token in a file: its first line. Raises ``ConfigError``."""
    if file is None:
        return None
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(
            f"cannot read the token in {file}: {why}", fix=f"openssl rand -hex 32 > {file}"
        ) from error
    token = lines[0].strip() if lines else ""
    if len(token) < 16:
        raise ConfigError(f"the token in {file} has fewer than 16 characters", fix=f"openssl rand -hex 32 > {file}")
    return token


async def serve(what: ServerSetup, tell: Callable[[Addresses], None], warn: Callable[[str], None]) -> None:
    """Serve until the process is stopped; ``warn`` gets what of the folder cannot be served.

    Raises ``ConfigError`` and ``StoreError``.
    """
    bind, http_bind, token = address(what.bind), address(what.http), token_in(what.token_file)
    for host, _ in (bind, http_bind):
        if token is None and not is_local(host):
            raise ConfigError(
                f"{host} is reachable from other machines, and anyone who reaches it could read and write",
                fix="bind to 127.0.0.1, or require a token with --token-file",
            )
    if bind == http_bind and bind[1]:
        raise ConfigError(
            f"{what.bind} is used for both the binary protocol and HTTP", fix="choose another port with --http"
        )
    guard = Guard(hosts=frozenset(what.hosts), origins=frozenset(what.origins), token=token)
    store = EmbeddedStore.open(what.folder)
    try:
        for fault in faults((f"{path.parent.name}/{path.name}", raw) for path, raw in store.registry.files()):
            warn(fault)
        async with serving(store, bind=bind, http_bind=http_bind, guard=guard) as addresses:
            tell(addresses)
            await _wait_for_signal()
    finally:
        await store.close()


async def _wait_for_signal() -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
