"""How a blob is stored: raw, or compressed with zstd if that is shorter."""

from __future__ import annotations

import sys
from collections.abc import Callable

from blake3 import blake3

from orchestra.cxdb.format.layout import RAW, ZSTD

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

SMALL = 256
"""Bytes below which a blob is stored raw: compressing one costs more than it saves."""

LARGEST = 0xFFFF_FFFF
"""Bytes of the largest blob that the format can hold."""


def digest_of(data: bytes) -> bytes:
    """The name of a blob: the BLAKE3-256 of its bytes."""
    return blake3(data).digest()


def packer(smallest: int = SMALL) -> Callable[[bytes], tuple[int, bytes]]:
    """A function that gives a blob's codec and stored bytes; it keeps one compressor, not thread-safe.

    The frames are those that CXDB writes: level 1, streamed, so without content size.
    """
    compressor = zstd.ZstdCompressor(level=1)
    compress, flush = compressor.compress, compressor.flush

    def pack(data: bytes) -> tuple[int, bytes]:
        if len(data) < smallest:
            return RAW, data
        stored = compress(data) + flush()
        return (ZSTD, stored) if len(stored) < len(data) else (RAW, data)

    return pack


def unpack(codec: int, stored: bytes, raw_size: int) -> bytes | None:
    """The blob's bytes, or None where the stored ones do not give ``raw_size`` bytes.

    Any frame is read, several in a row too; never more than ``raw_size`` bytes are made of it.
    """
    if codec == RAW:
        return stored if len(stored) == raw_size else None
    out: list[bytes] = []
    left, rest = raw_size, stored
    while rest:
        frame = zstd.ZstdDecompressor()
        try:
            piece = frame.decompress(rest, max_length=left + 1)
        except zstd.ZstdError:
            return None
        left -= len(piece)
        if left < 0 or not frame.eof:
            return None
        out.append(piece)
        rest = frame.unused_data
    return b"".join(out) if left == 0 and codec == ZSTD else None


def zstd_fault(stored: bytes, most: int) -> str:
    """Return why bytes are not whole zstd frames of at most ``most`` bytes; empty if they are."""
    left, rest = most, stored
    while rest:
        frame = zstd.ZstdDecompressor()
        try:
            left -= len(frame.decompress(rest, max_length=left + 1))
        except zstd.ZstdError as error:
            return str(error)
        if left < 0:
            return ""
        if not frame.eof:
            return "incomplete frame"
        rest = frame.unused_data
    return "" if stored else "no frame"
