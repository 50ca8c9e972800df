"""The address of a CXDB server, as people write it (S1)."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

HTTP_PORT = 9010
BINARY_PORT = 9009
PATIENCE = 60.0
"""Seconds that a lost server is waited for (S20)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A CXDB server: its two addresses, and how long it is waited for, in seconds."""

    http_host: str
    http_port: int
    host: str
    port: int
    patience: float = PATIENCE
    token: str | None = None

    def __str__(self) -> str:
        return f"http://{_show_host(self.http_host)}:{self.http_port}"

    @property
    def address(self) -> str:
        """The binary protocol's address."""
        return f"{_show_host(self.host)}:{self.port}"


def server_at(
    url: str, address: str | None = None, *, patience: float = PATIENCE, token: str | None = None
) -> Server:
    """The server with this HTTP address; its binary one is the same host's port 9009 unless given.

    Raises ``ValueError`` with what is wrong, for a person.
    """
    parts = urlsplit(url)
    if parts.scheme == "https":
        raise ValueError(f"{url}: https is not supported; use a tunnel to the server, and http to its local end")
    if parts.scheme != "http" or not parts.hostname:
        raise ValueError(f"{url!r} is not the address of a server; write http://host:{HTTP_PORT}")
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{url}: write only the host and the port, as in http://host:{HTTP_PORT}")
    try:
        port = parts.port or HTTP_PORT
    except ValueError:
        raise ValueError(f"{url}: the port must be a number from 1 to 65535") from None
    host, binary = _address(address) if address is not None else (parts.hostname, BINARY_PORT)
    return Server(http_host=parts.hostname, http_port=port, host=host, port=binary, patience=patience, token=token)


def _address(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or BINARY_PORT
    except ValueError:
        host, port = None, 0
    if not host or parts.path or parts.query or parts.fragment or parts.username:
        raise ValueError(f"{text!r} is not the address of a binary protocol; write host:{BINARY_PORT}")
    return host, port


def _show_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
