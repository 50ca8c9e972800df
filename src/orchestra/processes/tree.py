"""The processes that a command started, also detached ones, and their end.

Everything that a tool starts inherits a marker in its environment. A process belongs to the tool when it carries
the marker, when it is in the session of the tool's shell, or when one that belongs to it is its parent; so a
process that changed its group, its session or its parent is found too, also by a later runner.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Iterable
from typing import NamedTuple

MARKER = "ORCHESTRA_TOOL"
"""The environment variable that carries the markers, those of the tools around this one included."""

PATIENCE = 3.0
"""Seconds between the request to end (SIGTERM) and the end (SIGKILL)."""

_STUBBORN = 5.0
"""Seconds after which a process that survives even that is given up: the system does not let it go."""

_EVERY = 0.02


class _Process(NamedTuple):
    pid: int
    parent: int
    session: int
    marked: bool


def new_marker() -> str:
    """A marker that no other tool has, of this process or of any other."""
    return f"{_of_this_process()}{secrets.token_hex(8)}"


def _of_this_process() -> str:
    """How all markers of this process begin: its pid, and when it was started."""
    try:
        stat = _read("/proc/self/stat")
        began = stat[stat.rindex(b")") + 2 :].split()[19].decode()
    except (OSError, ValueError, IndexError):
        began = "0"
    return f"p{os.getpid()}t{began}-"


def mark_environment(environment: dict[str, str], marker: str) -> dict[str, str]:
    """The environment with one more marker."""
    around = environment.get(MARKER)
    return {**environment, MARKER: f"{around}:{marker}" if around else marker}


def members(marker: str, leader: int = 0) -> list[int]:
    """The living processes that belong to a tool; ``leader`` is its shell's pid, 0 where it is not known."""
    found = _list_processes(marker.encode())
    if found is None:
        return _group(leader)
    spared = _ancestry(found)
    belonging = {p.pid for p in found.values() if p.marked or (leader and leader in (p.pid, p.session))}
    grown = True
    while grown:
        more = {p.pid for p in found.values() if p.parent in belonging} - belonging
        belonging |= more
        grown = bool(more)
    return sorted(belonging - spared)


def _ancestry(found: dict[int, _Process]) -> set[int]:
    """This process and those that it comes from: a runner inside a tool does not end itself."""
    pid, above = os.getpid(), set[int]()
    while pid and pid not in above:
        above.add(pid)
        pid = found[pid].parent if pid in found else 0
    return above


def _list_processes(marker: bytes) -> dict[int, _Process] | None:
    """Return every process but zombies; None on a system without ``/proc``."""
    try:
        names = os.listdir("/proc")  # noqa: PTH208  a Path per process is what this avoids
    except OSError:
        return None
    pids = [int(name) for name in names if name.isdecimal()]
    if not pids:
        return None
    found = (_read_process(pid, marker) for pid in pids)
    return {process.pid: process for process in found if process is not None}


def is_zombie(pid: int) -> bool:
    """Whether a process has ended and its parent has not asked how; a signal still reaches its number then."""
    try:
        return _stat(pid)[0] in b"ZX"
    except (OSError, ValueError):
        return False


def _stat(pid: int) -> tuple[bytes, int, int]:
    """Return a process's state, parent and session. Raises ``OSError`` and ``ValueError`` where there is none."""
    stat = _read(f"/proc/{pid}/stat")
    state, parent, _group_id, session = stat[stat.rindex(b")") + 2 :].split(None, 4)[:4]
    return state, int(parent), int(session)


def _read_process(pid: int, marker: bytes) -> _Process | None:
    try:
        state, parent, session = _stat(pid)
    except (OSError, ValueError):
        return None
    if state in b"ZX":
        return None
    try:
        marked = marker in _read(f"/proc/{pid}/environ")
    except OSError:
        marked = False
    return _Process(pid, parent, session, marked)


def _read(path: str) -> bytes:
    with open(path, "rb", buffering=0) as file:
        return file.read()


def _group(leader: int) -> list[int]:
    """Where the system lists no processes, the tool is the group of its shell."""
    if not leader:
        return []
    try:
        os.killpg(leader, 0)
    except OSError:
        return []
    return [-leader]


def send(pids: Iterable[int], number: signal.Signals) -> list[int]:
    """Signal processes (a group by its negative number); return those that may not be signaled."""
    refused = []
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
        except PermissionError:
            refused.append(pid)
    return refused


async def end(marker: str, leader: int = 0, patience: float = PATIENCE) -> tuple[list[int], list[int]]:
    """End every process of a tool; return those that were running and those that could not be ended.

    A cancellation while they are given time to end by themselves ends them at once.
    """
    there = members(marker, leader)
    if not there:
        return [], []
    send(there, signal.SIGTERM)
    send(there, signal.SIGCONT)
    try:
        await wait_until_gone(marker, leader, patience)
        return there, await _kill(marker, leader)
    except asyncio.CancelledError:
        kill(marker, leader)
        raise


async def _kill(marker: str, leader: int) -> list[int]:
    """Kill the remaining processes; return those that could not be killed."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + _STUBBORN
    while left := members(marker, leader):
        refused = send(left, signal.SIGKILL)
        if len(refused) == len(left) or loop.time() > limit:
            break
        await asyncio.sleep(_EVERY)
    return left


def kill(marker: str, leader: int = 0) -> None:
    """End every process of a tool at once, without waiting."""
    with contextlib.suppress(OSError):
        for _again in range(3):
            send(members(marker, leader), signal.SIGKILL)


def kill_own() -> None:
    """Kill everything that this process's tools started, before it exits."""
    kill(_of_this_process())


async def wait_until_gone(marker: str, leader: int, seconds: float) -> bool:
    """Wait at most some seconds until no process of a tool runs; return whether that is so."""
    loop = asyncio.get_running_loop()
    limit = loop.time() + seconds
    pause = _EVERY / 4
    while members(marker, leader):
        if loop.time() >= limit:
            return False
        await asyncio.sleep(pause)
        pause = min(pause * 2, 0.2)
    return True
