"""What the server measures: how often and how long its operations take, and the size of file trees."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from orchestra.cxdb.format.frames import Malformed
from orchestra.cxdb.format.fstree import DIRECTORY, read_tree
from orchestra.cxdb.server.servable import ServableStore
from orchestra.errors import StoreError

HISTORY = 60

READ_AT_ONCE = 1000
"""Directories that one look reads; what is left is read by the next one."""


def now_ms() -> int:
    """UTC, in milliseconds."""
    return time.time_ns() // 1_000_000


class LatencyMeter:
    """How often something happens, and how long it takes (ms)."""

    def __init__(self) -> None:
        self.count = 0
        self._recent: deque[tuple[int, float]] = deque(maxlen=10_000)

    def add(self, took_ms: float) -> None:
        """Count one occurrence."""
        self.count += 1
        self._recent.append((now_ms(), took_ms))

    @contextmanager
    def timing(self) -> Iterator[None]:
        """Count the block and how long it took, unless it raises."""
        began = time.monotonic()
        yield
        self.add((time.monotonic() - began) * 1000)

    def rate(self, seconds: int) -> float:
        """Occurrences per second in the last ``seconds``."""
        since = now_ms() - seconds * 1000
        return sum(at >= since for at, _ in self._recent) / seconds

    def history(self) -> list[float]:
        """Occurrences in each of the last 60 seconds, oldest first."""
        now, out = now_ms(), [0.0] * HISTORY
        for at, _ in self._recent:
            age = (now - at) // 1000
            if 0 <= age < HISTORY:
                out[HISTORY - 1 - age] += 1
        return out

    def latency(self) -> dict[str, object]:
        """Percentiles of the duration, in milliseconds."""
        took = sorted(took for _, took in self._recent)
        if not took:
            return {"p50": None, "p95": None, "p99": None, "max": None, "count": 0}
        at = {f"p{part}": took[min(len(took) - 1, len(took) * part // 100)] for part in (50, 95, 99)}
        return {**at, "max": took[-1], "count": len(took)}


class Meters:
    """All meters of one server."""

    def __init__(self) -> None:
        self.append = LatencyMeter()
        self.get_last = LatencyMeter()
        self.get_blob = LatencyMeter()
        self.registry_ingest = LatencyMeter()
        self.http_req = LatencyMeter()
        self.http_errors = LatencyMeter()
        self.errors: dict[str, int] = {}

    def error(self, kind: str) -> None:
        """Count a refused request."""
        self.errors[kind] = self.errors.get(kind, 0) + 1

    def as_json(self) -> dict[str, object]:
        """All meters, under CXDB's names."""
        out: dict[str, object] = {}
        for name in ("append", "get_last", "get_blob", "registry_ingest", "http_req", "http_errors"):
            meter: LatencyMeter = getattr(self, name)
            out |= {f"{name}_tps_1m": meter.rate(60), f"{name}_tps_5m": meter.rate(300)}
            if name not in ("registry_ingest", "http_errors"):
                out[f"{name}_tps_history"] = meter.history()
        out |= {
            "append_latency_ms": self.append.latency(),
            "get_last_latency_ms": self.get_last.latency(),
            "get_blob_latency_ms": self.get_blob.latency(),
            "http_latency_ms": self.http_req.latency(),
        }
        return out


class TreeSizes:
    """The bytes of every file and directory that a tree names, each content once.

    A blob never changes, so none is read twice. Files are not read: their directories tell their sizes.
    """

    def __init__(self, store: ServableStore) -> None:
        self._store = store
        self._place = 0
        self._known: set[bytes] = set()
        self._directories: list[bytes] = []
        self._total = 0

    async def total(self) -> int:
        """The bytes of what was attached so far, as far as it is counted."""
        roots, self._place = self._store.attached_trees(self._place)
        self._note(roots)
        for _ in range(READ_AT_ONCE):
            if not self._directories:
                break
            await self._read(self._directories.pop())
        return self._total

    async def _read(self, directory: bytes) -> None:
        try:
            data = await self._store.get_blob(directory)
            entries = read_tree(data)
        except (Malformed, StoreError):
            return
        self._total += len(data)
        self._note([entry.digest for entry in entries if entry.kind == DIRECTORY])
        for entry in entries:
            if entry.kind != DIRECTORY and entry.digest not in self._known:
                self._known.add(entry.digest)
                self._total += entry.size

    def _note(self, directories: list[bytes]) -> None:
        for digest in directories:
            if digest not in self._known:
                self._known.add(digest)
                self._directories.append(digest)
