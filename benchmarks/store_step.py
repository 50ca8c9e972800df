"""What an append costs: a bare append with fdatasync against our append of a step's four turns.

Run: ``python benchmarks/store_step.py [STEPS] [--dir DIR]``. CPU is the process's own, in microseconds per
step; wall times depend on the disk, so their ratio to the bare append (taken in turns) is what counts. Exactly
one sync per append shows under ``strace -f -c -e trace=fdatasync,fsync`` with ``--only append``.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable

from orchestra.cxdb.embedded.store import EmbeddedStore
from orchestra.ports import NewTurn

RECORD = 2200
"""Bytes that a bare append writes: about as many as a step's log record."""


class Timed:
    """Wall and CPU times of one variant."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def run(self, act: Callable[[], None]) -> None:
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        act()
        self.wall.append((time.perf_counter_ns() - wall) / 1000)
        self.cpu.append((time.process_time_ns() - cpu) / 1000)

    def line(self, name: str) -> str:
        wall, cpu = statistics.median(self.wall), statistics.fmean(self.cpu)
        return f"{name:<28} wall {wall:7.0f}  CPU {cpu:6.1f} (median {statistics.median(self.cpu):6.1f})"


def payloads(rng: random.Random, words: list[str], number: int) -> list[bytes]:
    """Four events as a step has them; one carries a response of about 1 KB."""
    text = " ".join(rng.choice(words) for _ in range(170))
    small = f"step {number} of a run, with a node name and a little more, at {number * 977}".encode()
    return [small + b"a" * 60, small + text.encode(), small + b"b" * 90, small + b"c" * 40]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", nargs="?", type=int, default=2000)
    parser.add_argument("--dir", default=None)
    parser.add_argument("--only", choices=["append", "floor"], default=None)
    args = parser.parse_args()
    rng = random.Random(7)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(400)]
    with tempfile.TemporaryDirectory(dir=args.dir) as folder:
        measure(folder, rng, words, args.steps, args.only)


def measure(folder: str, rng: random.Random, words: list[str], steps: int, only: str | None) -> None:
    bare = os.open(f"{folder}/bare", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    ahead = os.open(f"{folder}/ahead", os.O_RDWR | os.O_CREAT)
    os.pwrite(ahead, bytes(1 << 20), 0)
    os.fsync(ahead)
    record = rng.randbytes(RECORD)
    store = EmbeddedStore.open(f"{folder}/store")
    context = send(store.create()).context_id
    floor, prealloc, ours = Timed(), Timed(), Timed()
    quarters: list[float] = []

    def append_bare() -> None:
        os.write(bare, record)
        os.fdatasync(bare)

    def append_ahead() -> None:
        os.pwrite(ahead, record, number % 400 * RECORD)
        os.fdatasync(ahead)

    for number in range(steps):
        turns = [
            NewTurn(type_id="dev.orchestra.NodeExecution", type_version=1, payload=data)
            for data in payloads(rng, words, number)
        ]
        if only != "append":
            floor.run(append_bare)
            prealloc.run(append_ahead)
        if only != "floor":
            ours.run(lambda: send(store.append(context, turns)))  # noqa: B023
    if only != "append":
        print(floor.line("floor: append + fdatasync"))
        print(prealloc.line("floor: written before"))
    if only != "floor":
        print(ours.line("append of a step (4 turns)"))
        quarter = max(1, steps // 4)
        quarters = [statistics.fmean(ours.cpu[at : at + quarter]) for at in range(0, quarter * 4, quarter)]
        print("CPU by quarters:", " ".join(f"{value:.1f}" for value in quarters))
    if only is None:
        ratio = statistics.median(ours.wall) / statistics.median(floor.wall)
        above = statistics.fmean(ours.cpu) - statistics.fmean(prealloc.cpu)
        print(f"wall ratio to a bare append {ratio:.2f}; CPU above a written-before append {above:.0f}")
    size = sum(os.path.getsize(f"{folder}/store/{name}") for name in FILES)
    print(f"bytes per step {size / steps:.0f}")
    asyncio.run(store.close())


FILES = [
    "blobs/blobs.pack",
    "blobs/blobs.idx",
    "turns/turns.log",
    "turns/turns.idx",
    "turns/turns.meta",
    "turns/heads.tbl",
    "orchestra/meta.crc",
]


def send(coroutine: object) -> object:
    """Run a coroutine that never waits."""
    try:
        coroutine.send(None)  # type: ignore[attr-defined]
    except StopIteration as done:
        return done.value
    raise RuntimeError("the store waited")


if __name__ == "__main__":
    main()
