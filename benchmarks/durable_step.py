"""What a durable step costs: a loop of 200 nodes with 1 KB of response each, on the embedded store.

    python benchmarks/durable_step.py            the figures below, in one run
    python benchmarks/durable_step.py --walk N   N steps and nothing else (for strace)

Prints CPU and wall time per step beside the floor (the same bytes appended to one file with one fdatasync
per step, on the same disk in the same run, rounds interleaved), the syncs per step as strace counts them,
and CPU and bytes per step of a long run beside a short one. Ratios are what to look at: wall times of a
shared disk move by a factor of two.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestra.app.pipelines import compile_pipeline
from orchestra.app.runs import Run, RunSetup, start
from orchestra.app.stores import open_store
from orchestra.config.settings import Settings
from orchestra.errors import Source

NODES = 200
RESPONSE = 1024
WORDS = [
    "".join(random.Random(n).choices("abcdefghijklmnopqrstuvwxyz", k=random.Random(n + 1).randint(3, 9)))
    for n in range(3000)
]


def response(seed: int) -> str:
    """About 1 KB of random words, the same for the same seed."""
    return " ".join(random.Random(seed).choices(WORDS, k=160))[:RESPONSE]


def pipeline(steps: int) -> Source:
    """A loop of 200 nodes that ``max_steps`` ends."""
    nodes = "\n".join(f'    n{i} [prompt="Do step {i} of the loop"]' for i in range(NODES))
    chain = " -> ".join(f"n{i}" for i in range(NODES))
    text = (
        f'digraph loop {{\n    graph [goal="Measure", max_steps={steps}]\n'
        f"    start [shape=Mdiamond]\n    exit [shape=Msquare]\n{nodes}\n    start -> {chain}\n"
        f'    n{NODES - 1} -> n0 [condition="context.done!=1"]\n'
        f'    n{NODES - 1} -> exit [condition="context.done=1"]\n}}\n'
    )
    return Source("loop.dot", text)


def script() -> Source:
    """Ten scripted answers per node; the last repeats."""
    lines = ["nodes:"]
    for node in range(NODES):
        lines.append(f"  n{node}:")
        lines.extend(f'    - {{text: "{response(node * 10 + turn)}"}}' for turn in range(10))
    return Source("loop.yaml", "\n".join(lines))


@dataclass(frozen=True)
class Cost:
    """Per step: seconds of wall time and of CPU, and bytes that the store's files grew by."""

    wall: float
    cpu: float
    size: float


def files(folder: Path) -> Mapping[Path, int]:
    """The sizes of CXDB's own files; the write-ahead log is preallocated and cut, so it is left out."""
    return {p: p.stat().st_size for p in folder.rglob("*") if p.is_file() and p.name != "wal"}


async def walk(steps: int, folder: Path) -> Cost:
    """Run ``steps`` steps on a new store in ``folder``."""
    checked = compile_pipeline(pipeline(steps), (), variables={}, secrets={})
    settings = Settings(store=folder)
    store = open_store(settings)
    run: Run = await start(RunSetup(store=store, settings=settings), checked, variables={}, simulation=script())
    before = sum(files(folder).values())
    gc.collect()
    wall, cpu = time.perf_counter(), time.process_time()
    await run.walk()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    size = sum(files(folder).values()) - before
    await store.close()
    return Cost(wall / steps, cpu / steps, size / steps)


def floor(steps: int, size: int, folder: Path, pause: float = 0) -> Cost:
    """Append ``size`` bytes and sync them, ``steps`` times.

    Before each, the processor works for ``pause`` seconds that do not count: a disk and a cache that wait for a
    program's own work answer more slowly than those that are asked again at once.
    """
    data = os.urandom(size)
    fd = os.open(folder / "floor", os.O_CREAT | os.O_WRONLY | os.O_APPEND | os.O_TRUNC)
    wall = cpu = 0.0
    for _ in range(steps):
        end = time.perf_counter() + pause
        while time.perf_counter() < end:
            response(1)
        began, used = time.perf_counter(), time.process_time()
        os.write(fd, data)
        os.fdatasync(fd)
        wall, cpu = wall + time.perf_counter() - began, cpu + time.process_time() - used
    os.close(fd)
    return Cost(wall / steps, cpu / steps, size)


def syncs(steps: int) -> str:
    """Syncs per step, as strace counts them in a process of its own."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    counted = []
    for number in (steps, 2 * steps):
        command = ["strace", "-f", "-c", "-e", "trace=fdatasync,fsync,sync_file_range,syncfs,msync"]
        done = subprocess.run(
            [*command, sys.executable, __file__, "--walk", str(number)], capture_output=True, text=True, check=True
        )
        rows = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", done.stderr, re.MULTILINE)
        counted.append(sum(int(calls) for calls, name in rows if name != "total"))
    return (
        f"{(counted[1] - counted[0]) / steps:.3f} per step ({counted[0]} in {steps}, {counted[1]} in {2 * steps})"
    )


def main() -> None:
    """Print the figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--walk", type=int, metavar="N", help="walk N steps and print nothing")
    options.add_argument("--steps", type=int, default=1000, help="steps of a round")
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--long", type=int, default=20_000, help="steps of the long run")
    options.add_argument("--folder", type=Path, help="where to write; a disk, not a file system in memory")
    given = options.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder or Path.cwd(), prefix=".bench-") as made:
        place = Path(made)
        if given.walk:
            asyncio.run(walk(given.walk, place / "store"))
            return
        report(given.steps, given.rounds, given.long, place)


def report(steps: int, rounds: int, long: int, place: Path) -> None:
    """Measure and print."""
    ours, floors, busy = [], [], []
    for number in range(rounds):
        ours.append(asyncio.run(walk(steps, place / f"store{number}")))
        size = round(ours[-1].size)
        floors.append(floor(steps, size, place))
        busy.append(floor(steps, size, place, max(0, ours[-1].cpu - floors[-1].cpu)))
    wall, cpu = (statistics.median(getattr(c, name) for c in ours) * 1e6 for name in ("wall", "cpu"))
    base, base_cpu = (statistics.median(getattr(c, name) for c in floors) * 1e6 for name in ("wall", "cpu"))
    print(f"step    {wall:7.0f} µs wall {cpu:7.0f} µs CPU  (least {min(c.cpu for c in ours) * 1e6:.0f} µs CPU)")
    print(f"floor   {base:7.0f} µs wall {base_cpu:7.0f} µs CPU  ({ours[0].size:.0f} bytes and one fdatasync)")
    between = statistics.median(c.wall for c in busy) * 1e6
    print(f"        {between:7.0f} µs wall where the program works between two of them as long as a step does")
    for name, costs in (("floor back to back", floors), ("floor with work between", busy)):
        ratios = sorted(a.wall / b.wall for a, b in zip(ours, costs, strict=True))
        print(f"wall ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})  {name}")
    print(f"syncs   {syncs(300)}")
    short_runs = [asyncio.run(walk(200, place / f"short{n}")) for n in range(5)]
    short = Cost(
        statistics.median(c.wall for c in short_runs),
        statistics.median(c.cpu for c in short_runs),
        short_runs[0].size,
    )
    lengthy = asyncio.run(walk(long, place / "long"))
    print(f"{200:6} steps: {short.cpu * 1e6:6.0f} µs CPU {short.size:6.0f} bytes a step")
    print(f"{long:6} steps: {lengthy.cpu * 1e6:6.0f} µs CPU {lengthy.size:6.0f} bytes a step")
    print(f"ratio        CPU {lengthy.cpu / short.cpu:.2f}  bytes {lengthy.size / short.size:.2f}")


if __name__ == "__main__":
    main()
