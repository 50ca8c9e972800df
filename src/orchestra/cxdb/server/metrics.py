"""The metrics that ``/v1/metrics`` reports, with CXDB's field names."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from orchestra.cxdb.server.core import Core
from orchestra.cxdb.server.meters import now_ms

IDLE_MS = 300_000


def snapshot(core: Core, content_bytes: int) -> dict[str, object]:
    """Return all metrics; ``content_bytes`` is the size of the attached file trees."""
    counts = core.store.counts()
    types, bundles = core.types().counts()
    active = core.sessions.active()
    now = now_ms()
    idle = sum(now - session.active_ms > IDLE_MS for session in active)
    sizes = counts.sizes
    disk = _disk(core)
    return {
        "ts": datetime.fromtimestamp(now / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "uptime_seconds": (now - core.started_ms) / 1000,
        "memory": _memory(),
        "sessions": {
            "total": core.sessions.total,
            "active": len(active) - idle,
            "idle": idle,
            "last_activity_unix_ms": max((session.active_ms for session in active), default=0),
        },
        "objects": {
            "contexts_total": counts.contexts,
            "turns_total": counts.turns,
            "blobs_total": counts.blobs,
            "registry_types_total": types,
            "registry_bundles_total": bundles,
            "heads_total": counts.heads,
        },
        "storage": {
            "turns_log_bytes": sizes.get("turns/turns.log", 0),
            "turns_index_bytes": sizes.get("turns/turns.idx", 0),
            "turns_meta_bytes": sizes.get("turns/turns.meta", 0),
            "heads_table_bytes": sizes.get("turns/heads.tbl", 0),
            "blobs_pack_bytes": sizes.get("blobs/blobs.pack", 0),
            "blobs_index_bytes": sizes.get("blobs/blobs.idx", 0),
            "data_dir_total_bytes": disk[0],
            "data_dir_free_bytes": disk[1],
        },
        "filesystem": {
            "snapshots_total": counts.trees,
            "index_bytes": sizes.get("fs/roots.idx", 0),
            "content_bytes": content_bytes,
        },
        "perf": core.meters.as_json(),
        "errors": {"total": sum(core.meters.errors.values()), "by_type": core.meters.errors},
    }


def _disk(core: Core) -> tuple[int, int]:
    place = core.store.folder()
    if place is None:
        return 0, 0
    found = os.statvfs(place)
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def _kilobytes(path: str) -> dict[str, int]:
    """The lines of a table in /proc, in bytes; empty where there is none."""
    try:
        with open(path, encoding="ascii") as file:
            rows = [line.split() for line in file]
    except OSError:
        return {}
    return {row[0].rstrip(":"): int(row[1]) * 1024 for row in rows if len(row) == 3 and row[2] == "kB"}


def _memory() -> dict[str, object]:
    system, own = _kilobytes("/proc/meminfo"), _kilobytes("/proc/self/status")
    total = system.get("MemTotal", 0)
    budget = total * 7 // 10
    rss = own.get("VmRSS", 0)
    ratio = rss / budget if budget else 0.0
    return {
        "sys_total_bytes": total,
        "sys_available_bytes": system.get("MemAvailable", 0),
        "sys_free_bytes": system.get("MemFree", 0),
        "sys_cached_bytes": system.get("Cached", 0),
        "sys_swap_total_bytes": system.get("SwapTotal", 0),
        "sys_swap_free_bytes": system.get("SwapFree", 0),
        "process_rss_bytes": rss,
        "process_vmem_bytes": own.get("VmSize"),
        "process_heap_bytes": own.get("VmData"),
        "process_open_fds": _open_files(),
        "budget_bytes": budget,
        "budget_pct": 0.7,
        "hard_cap_bytes": 0,
        "pressure_ratio": ratio,
        "pressure_level": _level(ratio),
        "spill_threshold_bytes": budget * 85 // 100,
        "spill_critical_bytes": budget * 95 // 100,
    }


def _level(ratio: float) -> str:
    for bound, name in ((0.95, "CRITICAL"), (0.85, "HOT"), (0.7, "WARN")):
        if ratio >= bound:
            return name
    return "OK"


def _open_files() -> int | None:
    try:
        return sum(1 for _ in os.scandir("/proc/self/fd"))
    except OSError:
        return None
